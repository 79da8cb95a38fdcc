"""Fitting: the choice of the kind, repeats, held-out figures, intervals, refusals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.core.architecture import Genes
from edgenas.core.errors import DataError, SpaceError, UsageError
from edgenas.evaluators.predictors import boosting, ensemble, fit_predictor, fitting
from edgenas.evaluators.predictors.fitting import cross_validated, distinct
from edgenas.evaluators.predictors.kinds import KINDS
from edgenas.spaces.base import SearchSpace

Evaluated = tuple[Genes, npt.NDArray[np.float64]]
FAST = ("ridge", "gaussian_process")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "_EPOCHS", 20)
    monkeypatch.setattr(boosting, "_TREES", 60)


def test_the_kind_that_ranks_best_unseen_is_taken(
    space: SearchSpace, evaluated: Evaluated, truth: object
) -> None:
    assert callable(truth)
    told: list[tuple[str, int, int]] = []
    predictor = fit_predictor(space, *evaluated, n_folds=3, progress=lambda *a: told.append(a))
    report = predictor.report
    assert set(report.candidates) == set(KINDS)
    best = max(figures.spearman.value for figures in report.candidates.values())
    assert report.cross_validated.spearman.value == best
    assert predictor.regression.kind == report.kind
    assert (report.n_architectures, report.n_evaluations) == (len(evaluated[0]),) * 2
    assert report.accuracy_range == [evaluated[1].min(), evaluated[1].max()]
    assert report.noise is None
    assert report.held_out is None
    assert [step[1:] for step in told] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    new = space.sample(200, np.random.default_rng(8))
    assert np.abs(predictor(new) - truth(new)).mean() < 0.004
    again = fit_predictor(space, *evaluated, n_folds=3)
    np.testing.assert_array_equal(again(new), predictor(new))
    assert again.report == report


def test_out_of_fold_predictions_did_not_see_their_fold(
    space: SearchSpace, evaluated: Evaluated
) -> None:
    rows, accuracy = evaluated
    folds = np.arange(len(rows)) % 4
    first = cross_validated(space, rows, accuracy, folds, kind="ridge", seed=0)
    moved = accuracy.copy()
    moved[folds == 2] += np.linspace(0, 0.1, int((folds == 2).sum()))
    second = cross_validated(space, rows, moved, folds, kind="ridge", seed=0)
    np.testing.assert_array_equal(first[folds == 2], second[folds == 2])
    assert (first[folds != 2] != second[folds != 2]).all()


def test_repeats_are_averaged_and_tell_the_noise(
    space: SearchSpace, evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, accuracy = evaluated
    repeats = np.vstack([rows, rows[:10]])
    values = np.concatenate([accuracy, accuracy[:10] + 0.002])
    seen: list[int] = []

    def spy(space: SearchSpace, rows: Genes, *args: object, **kwargs: object) -> object:
        seen.append(len(np.unique(rows, axis=0)) - len(rows))
        return cross_validated(space, rows, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "cross_validated", spy)
    report = fit_predictor(space, repeats, values, kinds=("ridge",)).report
    assert seen == [0]  # no architecture stands in two folds
    assert (report.n_architectures, report.n_evaluations) == (len(rows), len(rows) + 10)
    assert report.noise is not None
    assert report.noise.n_repeated == 10
    assert report.noise.deviation == pytest.approx(0.002 / np.sqrt(2), rel=1e-4)


def test_distinct_sees_through_inactive_genes(space: SearchSpace) -> None:
    row = space.smallest()
    inactive = row.copy()
    inactive[space.index["stage1.block2.kernel"]] = 2
    rows, mean, group = distinct(space, np.stack([row, inactive]), [0.5, 0.7])
    np.testing.assert_array_equal(rows, row[None])
    np.testing.assert_allclose(mean, [0.6])
    np.testing.assert_array_equal(group, [0, 0])


def test_held_out_figures_are_of_unseen_architectures(
    space: SearchSpace, evaluated: Evaluated, truth: object
) -> None:
    assert callable(truth)
    new = np.unique(space.sample(40, np.random.default_rng(8)), axis=0)
    known = {row.tobytes() for row in evaluated[0]}
    n_new = sum(row.tobytes() not in known for row in new)
    both = np.vstack([new, evaluated[0][:15]])
    predictor = fit_predictor(space, *evaluated, kinds=FAST, held_out=(both, truth(both)))
    found = predictor.report.held_out
    assert found is not None
    assert found.n_architectures == n_new
    with pytest.raises(UsageError, match="at least 3"):
        fit_predictor(space, *evaluated, kinds=("ridge",), held_out=evaluated)


def test_intervals_hold_new_evaluations(
    space: SearchSpace, evaluated: Evaluated, truth: object
) -> None:
    assert callable(truth)
    predictor = fit_predictor(space, *evaluated, kinds=FAST)
    assert predictor.has_intervals
    new = space.sample(400, np.random.default_rng(9))
    accuracy = truth(new, seed=1)
    value, low, high = predictor.predict(new, coverage=0.8)
    np.testing.assert_array_equal(value, predictor(new))
    assert ((low <= value) & (value <= high)).mean() > 0.99
    assert 0.6 < ((low <= accuracy) & (accuracy <= high)).mean() < 0.95
    _, lower, higher = predictor.predict(new, coverage=0.95)
    assert (lower <= low).all()
    assert (higher >= high).all()
    assert len(predictor(new[:0])) == 0


def test_interval_ends_are_fractions(space: SearchSpace, evaluated: Evaluated) -> None:
    rows, accuracy = evaluated
    near_one = 1 - 0.02 * (accuracy.max() - accuracy) / np.ptp(accuracy)
    predictor = fit_predictor(space, rows, near_one, kinds=("ridge",))
    _, low, high = predictor.predict(rows, coverage=0.99)
    assert high.max() <= 1
    assert low.min() >= 0


def test_what_cannot_be_fitted_is_refused(space: SearchSpace, evaluated: Evaluated) -> None:
    rows, accuracy = evaluated
    with pytest.raises(DataError, match=r"19 distinct architectures .* at least 20"):
        fit_predictor(space, rows[:19], accuracy[:19])
    with pytest.raises(DataError, match="1 distinct accuracies"):
        fit_predictor(space, rows, np.full(len(rows), 0.5))
    with pytest.raises(DataError, match="divide percents by 100"):
        fit_predictor(space, rows, 100 * accuracy)
    with pytest.raises(DataError, match="architecture 3 is nan"):
        fit_predictor(space, rows, np.where(np.arange(len(rows)) == 3, np.nan, accuracy))
    with pytest.raises(DataError, match=r"allowed: \(\d+,\)"):
        fit_predictor(space, rows, accuracy[:-1])
    with pytest.raises(SpaceError, match=r"gene stage1\.block0\.kernel is 9"):
        fit_predictor(space, np.where(np.arange(space.n_genes) == 0, 9, rows), accuracy)
    with pytest.raises(UsageError, match="'forest'"):
        fit_predictor(space, rows, accuracy, kinds=("forest",))
    with pytest.raises(UsageError, match="0 kinds"):
        fit_predictor(space, rows, accuracy, kinds=())
    with pytest.raises(UsageError, match="1 folds"):
        fit_predictor(space, rows, accuracy, n_folds=1)
