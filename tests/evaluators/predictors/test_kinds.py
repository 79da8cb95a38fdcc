"""Every kind of regression: learns, is its arrays, agrees with an independent formula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import approx_fprime
from sklearn.ensemble import GradientBoostingRegressor

from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.evaluators.predictors import boosting, ensemble
from edgenas.evaluators.predictors.boosting import Boosting
from edgenas.evaluators.predictors.features import Features
from edgenas.evaluators.predictors.kinds import KINDS, kind_named
from edgenas.evaluators.predictors.process import START, Distances, GaussianProcess, _loss
from edgenas.evaluators.predictors.regression import Regression
from edgenas.evaluators.predictors.report import spearman
from edgenas.evaluators.predictors.ridge import Ridge
from edgenas.spaces.base import SearchSpace

Evaluated = tuple[Genes, npt.NDArray[np.float64]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "_EPOCHS", 60)
    monkeypatch.setattr(boosting, "_TREES", 150)


def scaled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return (values - values.mean()) / values.std()


def fitted(
    kind: type[Regression], space: SearchSpace, data: Evaluated
) -> tuple[Features, Regression]:
    features = Features.scaled_to(space, data[0])
    return features, kind.fit(features, features(data[0]), scaled(data[1]), seed=3)


@pytest.mark.parametrize("name", KINDS)
def test_learns_the_order_and_is_its_arrays(
    name: str, space: SearchSpace, evaluated: Evaluated, truth: object
) -> None:
    assert callable(truth)
    features, regression = fitted(KINDS[name], space, evaluated)
    new = features(space.sample(300, np.random.default_rng(5)))
    found = regression(new)
    assert found.shape == (300,)
    assert found.dtype == np.float64
    assert spearman(truth(space.sample(300, np.random.default_rng(5))), found) > 0.85
    again = KINDS[name].from_arrays(regression.arrays())
    np.testing.assert_array_equal(again(new), found)
    _, second = fitted(KINDS[name], space, evaluated)
    np.testing.assert_array_equal(second(new), found)  # the same seed, the same fit


@pytest.mark.parametrize("name", KINDS)
def test_arrays_that_do_not_fit_are_refused(
    name: str, space: SearchSpace, evaluated: Evaluated
) -> None:
    arrays = dict(fitted(KINDS[name], space, evaluated)[1].arrays())
    last = sorted(arrays)[-1]
    with pytest.raises(KeyError):
        KINDS[name].from_arrays({key: arrays[key] for key in arrays if key != last})
    wrong = "products" if name == "ridge" else "thresholds" if name == "boosting" else "weights"
    wrong = "biases1" if name == "ensemble" else wrong
    with pytest.raises(ValueError, match=r"shape|mismatch|follow"):
        KINDS[name].from_arrays({**arrays, wrong: arrays[wrong][:-1]})


@pytest.mark.parametrize("name", KINDS)
def test_options_that_are_words_are_learnt(name: str) -> None:
    space = spaces.get("nas_bench_macro")
    rows = np.unique(space.sample(60, np.random.default_rng(0)), axis=0)
    weights = np.random.default_rng(1).normal(size=int(space.n_options.sum()))
    features, regression = fitted(KINDS[name], space, (rows, space.encode(rows) @ weights))
    new = space.sample(200, np.random.default_rng(2))
    assert spearman(space.encode(new) @ weights, regression(features(new))) > 0.8


def test_unknown_kinds_are_named() -> None:
    with pytest.raises(UsageError, match="allowed: boosting, ensemble, gaussian_process, ridge"):
        kind_named("forest")


def test_ridge_is_the_function_that_it_says(space: SearchSpace, evaluated: Evaluated) -> None:
    features, regression = fitted(Ridge, space, evaluated)
    assert isinstance(regression, Ridge)
    rows = features(space.sample(20, np.random.default_rng(4)))
    for column, found in zip(rows.T.astype(np.float64), regression(rows), strict=True):
        wanted = (
            regression.level + regression.linear @ column + column @ regression.products @ column
        )
        assert found == pytest.approx(wanted, abs=1e-4)
    gene = np.repeat(np.arange(space.n_genes), space.n_options)
    left, right = np.nonzero(regression.products[: features.n_options, : features.n_options])
    assert len(left)
    for i, j in zip(left, right, strict=True):  # only genes of one stage are multiplied
        names = space.genes[gene[i]].name, space.genes[gene[j]].name
        assert gene[i] != gene[j]
        assert names[0].partition(".")[0] == names[1].partition(".")[0]


def test_process_is_the_posterior_mean(space: SearchSpace, evaluated: Evaluated) -> None:
    features, regression = fitted(GaussianProcess, space, evaluated)
    assert isinstance(regression, GaussianProcess)
    rows, new = features(evaluated[0]), features(space.sample(30, np.random.default_rng(4)))
    v1, v2, l1, l2, v3, l3, noise = np.exp(regression.numbers)

    def parts(one: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], ...]:
        place, n = regression.projection(one[:, None])[0], features.n_options
        return place, place[:n], place[n:], one[n:].astype(np.float64)

    def covariance(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
        a, o, s, c = parts(one)
        b, p, t, d = parts(other)
        near = np.exp(-l1 * ((o - p) ** 2).sum() - l2 * ((s - t) ** 2).sum())
        return float(v1 * a @ b + v2 * near + v3 * np.exp(-l3 * ((c - d) ** 2).sum()))

    own = np.array([[covariance(a, b) for b in rows.T] for a in rows.T])
    cross = np.array([[covariance(a, b) for b in rows.T] for a in new.T])
    np.testing.assert_allclose(regression.covariance(new, rows), cross, rtol=1e-8)
    own += (noise + 1e-6) * np.eye(len(own))
    wanted = cross @ np.linalg.solve(own, scaled(evaluated[1]))
    np.testing.assert_allclose(regression(new), wanted, atol=2e-3)  # single precision
    assert regression.noise == noise


def test_gradient_of_the_evidence(space: SearchSpace, evaluated: Evaluated) -> None:
    features, regression = fitted(GaussianProcess, space, evaluated)
    assert isinstance(regression, GaussianProcess)
    place = (regression.coordinates, regression.counts)
    distances = Distances.between(place, place, features.n_options)
    target = scaled(evaluated[1])
    at = START + 0.3
    found = _loss(at, distances, target)[1]
    wanted = approx_fprime(at, lambda x: _loss(x, distances, target)[0], 1e-6)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_trees_are_those_that_were_fitted(space: SearchSpace, evaluated: Evaluated) -> None:
    features, regression = fitted(Boosting, space, evaluated)
    model = GradientBoostingRegressor(
        n_estimators=150,
        max_depth=3,
        learning_rate=0.05,
        subsample=0.5,
        max_features=0.3,
        random_state=3,
    ).fit(features(evaluated[0]).T, scaled(evaluated[1]))
    new = features(space.sample(300, np.random.default_rng(4)))
    np.testing.assert_allclose(regression(new), model.predict(new.T), atol=1e-9)


def test_a_few_architectures_are_enough_to_fit(space: SearchSpace, evaluated: Evaluated) -> None:
    few = (evaluated[0][:6], evaluated[1][:6])
    features, regression = fitted(GaussianProcess, space, few)
    assert np.isfinite(regression(features(evaluated[0]))).all()
