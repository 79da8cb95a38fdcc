"""The regression against brute force: evidence, its slopes, posterior, drift."""

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.core.errors import UsageError
from edgenas.costs.regression import NOISE, Amplitude, Prior, Regression, centred, design_of

Floats = npt.NDArray[np.float64]
VALUES = {"own": 0.3, NOISE: 0.05, "fast": 0.1, "fast_length": 3.0, "slow": 0.2, "slow_length": 9.0}


def make(seed: int = 0, *, drift: bool = True, doubt: float | None = None) -> Regression:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 3, (12, 4)).astype(float)
    times = 1 + counts @ np.array([1.0, 2.0, 3.0, 0.5]) * (1 + 0.05 * rng.normal(size=12))
    given = np.diag([0.2, 0.0, 0.0, 0.0, 0.0])
    prior = Prior(
        mean_ms=np.array([0.5, 1.0, 1.5, 3.0, 1.0]),
        given=given,
        parts={"own": np.diag([0.0, 1.0, 2.0, 3.0, 1.0])},
        amplitudes={
            name: Amplitude(value, 1e-3, 100, doubt)
            for name, value in VALUES.items()
            if drift or name in ("own", NOISE)
        },
    )
    at = np.cumsum(rng.uniform(0.5, 2, 12)) if drift else None
    weights = rng.uniform(0.5, 1.5, 12)
    return Regression(prior, design_of(counts, times), times, times * 0.9, at, weights)


def total_covariance(one: Regression) -> Floats:
    assert one.at is not None
    distance = np.abs(one.at[:, None] - one.at[None])
    scale = np.outer(one.level_ms, one.level_ms)
    drift = np.zeros((12, 12))
    middle = np.eye(12) - 1 / 12
    for name in ("fast", "slow"):
        kernel = np.exp(-distance / VALUES[f"{name}_length"])
        drift += VALUES[name] ** 2 * scale * (middle @ kernel @ middle)
    weights_covariance = one.prior.given + VALUES["own"] ** 2 * one.prior.parts["own"]
    assert one.weights is not None
    noise = np.diag((VALUES[NOISE] * one.level_ms) ** 2 / one.weights)
    return np.asarray(one.design @ weights_covariance @ one.design.T + drift + noise)


def test_the_evidence_is_the_density_of_the_times() -> None:
    one = make()
    names = list(one.prior.amplitudes)
    found, _ = one._negative_evidence(np.log([VALUES[name] for name in names]), names)
    total = total_covariance(one)
    expected = 0.5 * one.residual_ms @ np.linalg.inv(total) @ one.residual_ms
    expected += 0.5 * np.linalg.slogdet(total)[1]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("doubt", [None, 0.7])
def test_slopes_are_those_of_finite_differences(doubt: float | None) -> None:
    one = make(doubt=doubt)
    names = list(one.prior.amplitudes)
    logs = np.log([VALUES[name] for name in names]) + 0.1
    _, gradient = one._negative_evidence(logs, names)
    for k in range(len(names)):
        step = np.zeros(len(names))
        step[k] = 1e-5
        above, _ = one._negative_evidence(logs + step, names)
        below, _ = one._negative_evidence(logs - step, names)
        assert gradient[k] == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-6)


def test_the_posterior_is_that_of_weighted_least_squares_with_a_prior() -> None:
    one = make(drift=False)
    values = {"own": 0.3, NOISE: 0.05}
    found = one.posterior(values)
    prior = one.prior.covariance(values) + 1e-12 * np.eye(5)
    precision = np.diag(1 / one.noise_variance(values))
    covariance = np.linalg.inv(np.linalg.inv(prior) + one.design.T @ precision @ one.design)
    mean = one.prior.mean_ms + covariance @ one.design.T @ precision @ one.residual_ms
    assert found.mean_ms == pytest.approx(mean, rel=1e-5)
    assert found.covariance == pytest.approx(covariance, abs=1e-8)


def test_a_posterior_of_some_networks_ignores_the_others() -> None:
    one = make()
    seen = np.arange(12) < 8
    before = one.posterior(VALUES, seen).mean_ms
    one.network_ms = np.where(seen, one.network_ms, 100.0)
    assert one.posterior(VALUES, seen).mean_ms == pytest.approx(before)


def test_costs_and_drift_add_up_to_what_is_explained() -> None:
    one = make()
    cost, drift, variance = one.split(VALUES)
    both = one.costs_covariance(VALUES) + one.drift_covariance(VALUES)
    total = both + np.diag(one.noise_variance(VALUES))
    explained = one.design @ one.prior.mean_ms + both @ np.linalg.solve(total, one.residual_ms)
    assert cost + drift * one.level_ms == pytest.approx(explained)
    assert drift.mean() == pytest.approx(0, abs=1e-9)
    assert (variance >= 0).all()


@pytest.mark.parametrize("drift", [True, False])
def test_means_are_those_of_the_posterior(drift: bool) -> None:
    one = make(drift=drift)
    values = {name: VALUES[name] for name in one.prior.amplitudes}
    found = one.posterior(values)
    mean, solved = one.means(values)
    assert mean == pytest.approx(found.mean_ms)
    assert solved == pytest.approx(found.solved)


def test_drift_at_other_moments_is_that_of_dense_conditioning() -> None:
    one = make()
    assert one.at is not None
    _, solved = one.means(VALUES)
    _, drift, _ = one.split(VALUES)
    assert one.drift_at(VALUES, one.at, solved) == pytest.approx(drift)
    asked = np.array([-3.0, 2.5, 100.0])
    moments = np.concatenate([one.at, asked])
    distance = np.abs(moments[:, None] - moments[None])
    kernel = sum(
        VALUES[name] ** 2 * np.exp(-distance / VALUES[f"{name}_length"])
        for name in ("fast", "slow")
    )
    middle = np.eye(15) - np.repeat([1 / 12, 0.0], [12, 3])  # off the mean of the networks
    shared = (middle @ kernel @ middle.T)[12:, :12] * one.level_ms
    expected = shared @ np.linalg.solve(total_covariance(one), one.residual_ms)
    assert one.drift_at(VALUES, asked, solved) == pytest.approx(expected)
    without = make(drift=False)
    _, solved = without.means({"own": 0.3, NOISE: 0.05})
    assert without.drift_at({}, asked, solved).tolist() == [0.0, 0.0, 0.0]


def test_centring_takes_the_mean_off() -> None:
    kernel = np.exp(-np.abs(np.subtract.outer(np.arange(5.0), np.arange(5.0))))
    assert centred(kernel).sum(axis=0) == pytest.approx(np.zeros(5))
    assert centred(np.ones((5, 5))) == pytest.approx(np.zeros((5, 5)))


def test_more_evidence_is_found_than_at_the_start() -> None:
    one = make(drift=False)
    names = list(one.prior.amplitudes)
    best = one.maximise()
    start, _ = one._negative_evidence(np.log([VALUES[name] for name in names]), names)
    end, _ = one._negative_evidence(np.log([best[name] for name in names]), names)
    assert end < start


@pytest.mark.parametrize(
    ("counts", "times", "told"),
    [
        (np.ones((4, 2)), np.ones(3), "of shape"),
        (np.ones(4), np.ones(4), "of shape"),
        (np.ones((2, 2)), np.ones(2), "at least 3"),
        (np.ones((3, 2)), np.array([1.0, 0.0, 1.0]), "time it again"),
        (np.ones((3, 2)), np.array([1.0, np.nan, 1.0]), "time it again"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(counts: Floats, times: Floats, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        design_of(counts, times)
