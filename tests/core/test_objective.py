"""Objectives and constraints: what is read, what is refused, what is written is read back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.core.errors import UsageError
from edgenas.core.objective import OBJECTIVES, Constraint, objective


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        ("latency_ms<=2", Constraint("latency_ms", 2.0)),
        ("  latency_ms  <=  2.5  ", Constraint("latency_ms", 2.5)),
        ("latency_ms <= 20 @ 90%", Constraint("latency_ms", 20.0, 0.9)),
        ("latency_ms<=20@0.95", Constraint("latency_ms", 20.0, 0.95)),
        ("latency_ms <= 20 @ 97.5 %", Constraint("latency_ms", 20.0, 0.975)),
        ("accuracy >= .9", Constraint("accuracy", 0.9)),
        ("n_macs<=1e6", Constraint("n_macs", 1e6)),
        ("weights_kib <= 5.5E-1", Constraint("weights_kib", 0.55)),
    ],
)
def test_constraints_are_read(text: str, constraint: Constraint) -> None:
    assert Constraint.parse(text) == constraint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "latency_ms",
        "latency_ms < 2",
        "latency_ms = 2",
        "latency_ms <= ",
        "latency_ms <= two",
        "latency_ms <= 1.2.3",
        "latency_ms <= 1e",
        "latency_ms <= nan",
        "latency_ms <= inf",
        "latency_ms <= 1e999",
        "latency_ms <= 2 @",
        "latency_ms <= 2 @ high",
        "latency_ms <= 2 @ 9.0.1",
        "latency_ms <= 2 90%",
        "latency_ms <= 2; n_macs <= 3",
        "Latency_ms <= 2",
    ],
)
def test_what_is_no_constraint_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a constraint: .*write e.g. 'latency_ms <= 2'"):
        Constraint.parse(text)


@pytest.mark.parametrize("confidence", ["90", "100%", "49%", "0.3", "1", "0%"])
def test_a_confidence_that_promises_nothing_or_everything_is_refused(confidence: str) -> None:
    with pytest.raises(UsageError, match=r"confidence lies in \[50%, 100%\), not"):
        Constraint.parse(f"latency_ms <= 2 @ {confidence}")


def test_a_sign_against_the_objective_is_refused() -> None:
    with pytest.raises(UsageError, match="latency_ms is to minimize: write <="):
        Constraint.parse("latency_ms >= 2")
    with pytest.raises(UsageError, match="accuracy is to maximize: write >="):
        Constraint.parse("accuracy <= 0.5")


def test_costs_of_other_devices_are_objectives_too() -> None:
    found = objective("latency_ms.pixel8")
    assert (found.name, found.unit, found.direction) == ("latency_ms.pixel8", "ms", "minimize")
    constraint = Constraint.parse("energy_mj.my-board <= 3 @ 90%")
    assert (constraint.name, constraint.confidence) == ("energy_mj.my-board", 0.9)
    assert constraint.violation(4.0) == 1.0
    assert Constraint.parse(str(constraint)) == constraint
    with pytest.raises(UsageError, match=r"n_macs is the same on every device; .* '\.pixel8'"):
        objective("n_macs.pixel8")
    for label in ("", "-a", "a b", "ä", "a.b"):
        with pytest.raises(UsageError, match="is no label"):
            objective(f"latency_ms.{label}")


def test_an_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown objective 'latency'.*nearest: latency_ms"):
        Constraint.parse("latency <= 2")
    with pytest.raises(UsageError, match="allowed: accuracy"):
        objective("beauty")


@given(
    name=st.sampled_from(sorted(OBJECTIVES)),
    limit=st.decimals("-1e9", "1e9", places=2).map(float),
    confidence=st.none() | st.integers(500, 999).map(lambda n: n / 1000),
)
def test_what_is_written_is_read_back(name: str, limit: float, confidence: float | None) -> None:
    constraint = Constraint(name, limit, confidence)
    again = Constraint.parse(str(constraint))
    assert again.name == name
    assert again.limit == limit
    assert again.confidence == (None if confidence is None else pytest.approx(confidence))
    assert str(again) == str(constraint)


def test_different_constraints_are_written_differently() -> None:
    assert str(Constraint("n_macs", 12_345_678)) == "n_macs <= 12345678"
    assert str(Constraint("latency_ms", 2.0, 0.975)) == "latency_ms <= 2 @ 97.5%"


def test_a_violation_is_positive_where_the_limit_is_broken() -> None:
    fast, good = Constraint("latency_ms", 2.0), Constraint("accuracy", 0.9)
    assert fast.violation(2.5) == 0.5
    assert fast.violation(2.0) == 0
    assert fast.violation(1.0) < 0
    assert good.violation(0.8) == pytest.approx(0.1)
    assert good.violation(0.95) < 0
    assert math.isnan(fast.violation(math.nan))


def test_less_is_better_once_turned() -> None:
    assert objective("accuracy").minimised(0.9) == -0.9
    assert objective("n_params").minimised(3.0) == 3.0
    assert objective("accuracy").bound == 0.0
