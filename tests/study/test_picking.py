"""Choosing from a front."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from edgenas.core.architecture import Architecture
from edgenas.core.errors import InfeasibleError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import objective
from edgenas.study.picking import front, front_rows, pick

OBJECTIVES = (objective("accuracy"), objective("latency_ms"))


def evaluation(i: int, accuracy: float, latency_ms: float) -> Evaluation:
    values = {"accuracy": accuracy, "latency_ms": latency_ms, "n_params": 1000.0 * i}
    return Evaluation(Architecture("tiny", (i,)), "complete", values)


A, B, C, D = (
    evaluation(0, 0.80, 1.0),
    evaluation(1, 0.90, 1.9),
    evaluation(2, 0.95, 2.5),
    evaluation(3, 0.96, 9.0),
)
DOMINATED = evaluation(4, 0.79, 1.5)
TIED = evaluation(5, 0.90, 1.9)
OTHERS = [
    Evaluation(Architecture("tiny", (6,)), "failed", error="no power"),
    Evaluation(Architecture("tiny", (7,)), "infeasible", {"latency_ms": 0.1}, None, 1.0),
]
FRONT = front([D, DOMINATED, *OTHERS, C, A, B], OBJECTIVES)


def upper(name: str, confidence: float, archs: Sequence[Architecture]) -> np.ndarray:
    assert name == "latency_ms"
    by_arch = {e.arch: e.values[name] for e in (A, B, C, D)}
    return np.array([by_arch[arch] * (1 + confidence / 10) for arch in archs])


def least(name: str, confidence: float | None) -> float:
    return {"latency_ms": 0.5, "n_params": 10.0}[name] + (confidence or 0.0)


def chosen(how: str) -> Evaluation:
    return pick(FRONT, how, objectives=OBJECTIVES, upper=upper, least=least)


def test_the_front_is_complete_non_dominated_and_by_latency() -> None:
    assert FRONT == [A, B, C, D]


def test_ties_stay_and_repeated_evaluations_count_once() -> None:
    both = sorted([B, TIED], key=lambda e: e.arch.id)
    assert front([B, A, TIED, B], OBJECTIVES) == [A, *both]
    assert pick(both, "latency_ms<=2", objectives=OBJECTIVES) == both[0]
    assert pick(both[::-1], "latency_ms<=2", objectives=OBJECTIVES) == both[0]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("latency_ms<=2", B),
        ("latency_ms <= 2.5", C),
        ("latency_ms<=2 @ 90%", A),  # 1.9 has an upper end of 2.07
        ("latency_ms<=2.1 @ 0.9", B),
        ("latency_ms<=100", D),
        ("accuracy>=0.9", D),
        ("n_params<=1500", B),
        ("latency_ms<=3, n_params<=1500", B),
        ("knee", C),
        (B.arch.id, B),
        (B.arch.id[:9].upper(), B),
    ],
)
def test_picks(how: str, expected: Evaluation) -> None:
    assert chosen(how) == expected


def test_without_a_maximised_objective_the_one_that_is_not_limited_decides() -> None:
    goals = (objective("latency_ms"), objective("n_macs"))
    cheap, fast = (
        Evaluation(Architecture("tiny", (i,)), "complete", {"latency_ms": ms, "n_macs": macs})
        for i, (ms, macs) in enumerate([(2.0, 10.0), (1.0, 30.0)])
    )
    assert pick([fast, cheap], "latency_ms<=2", objectives=goals) == cheap
    assert pick([fast, cheap], "latency_ms<=1", objectives=goals) == fast


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("latency_ms<=0.7", r"on the front is 1, the least in the space is 0\.5;"),
        (
            "latency_ms<=0.7 @ 90%",
            r"the least latency_ms @ 90% on the front is 1\.09, the least in the space is 1\.4",
        ),
        ("accuracy>=0.99", r"the greatest accuracy on the front is 0\.96; allow more"),
        ("latency_ms<=1, n_params<=-5", r"keeps together 'latency_ms <= 1'.*'n_params <= -5'"),
    ],
)
def test_a_budget_that_nothing_keeps_is_refused_with_the_least(how: str, message: str) -> None:
    with pytest.raises(InfeasibleError, match=message):
        chosen(how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("kneee", "'kneee' picks nothing.*allowed: 'knee'"),
        ("", "picks nothing"),
        ("latency<=2", "nearest: latency_ms"),
        ("latency_ms>=2", "write <="),
        ("n_macs<=5", "n_macs was not evaluated; there are accuracy, latency_ms, n_params"),
    ],
)
def test_what_cannot_be_read_is_refused(how: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen(how)


def test_the_start_of_several_ids_is_refused_with_them() -> None:
    many = [evaluation(i, 0.5 + i / 1000, 1.0 + i) for i in range(100, 140)]
    letter = many[0].arch.id[0]
    alike = [e.arch.id for e in many if e.arch.id.startswith(letter)]
    assert len(alike) > 1
    with pytest.raises(UsageError, match=f"start of several ids: {', '.join(alike)}"):
        pick(many, letter, objectives=OBJECTIVES)


def test_a_confidence_needs_a_model_and_a_pick_a_front() -> None:
    with pytest.raises(UsageError, match="no cost model with intervals"):
        pick(FRONT, "latency_ms<=2 @ 90%", objectives=OBJECTIVES)
    with pytest.raises(InfeasibleError, match="the front is empty"):
        pick([], "knee", objectives=OBJECTIVES)


def test_rows_are_json_in_the_order_of_the_front() -> None:
    rows = front_rows(FRONT, OBJECTIVES, upper=upper, confidence=0.9)
    assert json.loads(json.dumps(rows)) == rows
    assert [row["id"] for row in rows] == [e.arch.id for e in FRONT]
    assert list(rows[1]) == [
        "id",
        "accuracy",
        "latency_ms",
        "latency_ms_upper",
        "n_params",
        "genes",
    ]
    assert rows[1]["latency_ms_upper"] == pytest.approx(1.9 * 1.09)
    assert "latency_ms_upper" not in front_rows(FRONT, OBJECTIVES)[0]
    assert front_rows([], OBJECTIVES, upper=upper, confidence=0.9) == []
