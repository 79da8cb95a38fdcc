"""Told architectures as arrays."""

import math

import numpy as np

from edgenas.core.architecture import Architecture
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import objective
from edgenas.searchers.told import Told, violation

GOALS = (objective("accuracy"), objective("latency_ms"))


def evaluation(gene: int, accuracy: float, latency_ms: float) -> Evaluation:
    values = {"accuracy": accuracy, "latency_ms": latency_ms}
    return Evaluation(Architecture("s", (gene,)), "complete", values)


def failed(gene: int) -> Evaluation:
    return Evaluation(Architecture("s", (gene,)), "failed", error="no power")


def infeasible(gene: int, amount: float) -> Evaluation:
    return Evaluation(Architecture("s", (gene,)), "infeasible", {}, None, amount)


def test_points_are_minimised_and_missing_values_nan() -> None:
    told = Told.of([evaluation(0, 0.9, 2.0), infeasible(1, 0.5)], GOALS, 1)
    assert told.points[0].tolist() == [-0.9, 2.0]
    assert np.isnan(told.points[1]).all()
    assert told.violations.tolist() == [0.0, 0.5]
    assert violation(failed(2)) == math.inf


def test_front_holds_the_complete_and_undominated_by_the_first_objective() -> None:
    told = Told.of(
        [evaluation(0, 0.7, 1.0), evaluation(1, 0.9, 2.0), evaluation(2, 0.8, 2.5), failed(3)],
        GOALS,
        1,
    )
    assert told.front().genes[:, 0].tolist() == [1, 0]


def test_nothing_told_has_an_empty_front() -> None:
    assert len(Told.of([], GOALS, 3).front()) == 0
    assert len(Told.of([failed(0)], GOALS, 1).front()) == 0


def test_best_takes_fronts_then_the_lonelier_then_the_least_infeasible() -> None:
    told = Told.of(
        [
            failed(0),
            infeasible(1, 2.0),
            infeasible(2, 1.0),
            evaluation(3, 0.5, 3.0),
            *(evaluation(4 + i, 0.9 - 0.01 * i, 2.0 - 0.01 * i) for i in range(3)),
        ],
        GOALS,
        1,
    )
    assert told.best(2).genes[:, 0].tolist() == [4, 6]
    assert told.best(7).genes[:, 0].tolist() == [4, 6, 5, 3, 2, 1, 0]


def test_a_tournament_of_all_has_the_best_and_of_one_anyone() -> None:
    told = Told.of([evaluation(0, 0.5, 3.0), evaluation(1, 0.9, 2.0), failed(2)], GOALS, 1)
    rng = np.random.default_rng(0)
    assert set(told.tournament(50, 40, rng).tolist()) == {1}
    assert set(told.tournament(200, 1, rng).tolist()) == {0, 1, 2}


def test_equals_win_equally_often_whoever_was_told_first() -> None:
    told = Told.of([failed(i) for i in range(3)], GOALS, 1)
    wins = np.bincount(told.tournament(3000, 2, np.random.default_rng(0)), minlength=3)
    assert wins.min() > 900
