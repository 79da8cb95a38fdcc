"""What a run says of a differentiable search that went wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgenas.study.context import Run
from edgenas.study.steps import differentiable


def run_with(**changes: Any) -> Run:
    """Return as much of a run as its warnings read: one distribution."""
    one: dict[str, Any] = {
        "limits": ["latency_ms <= 0.1"],
        "settled": {"latency_ms": 0.0991},
        "entropy": 0.4,
        "on_budget": True,
        "most_likely": [0, 1],
        "drift": None,
        **changes,
    }
    return cast(Run, SimpleNamespace(read=lambda _: {"method": "darts", "distributions": [one]}))


def test_a_search_that_went_well_warns_of_nothing() -> None:
    assert differentiable.warnings(run_with()) == []
    assert differentiable.summary(run_with()) == (
        "darts: latency_ms <= 0.1: expected latency_ms 0.0991, entropy 0.40"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drift": "the most likely network skips 9 of 10"}, "The most likely network skips"),
        (
            {"on_budget": False, "settled": {"latency_ms": 0.2}},
            "within latency_ms <= 0.1 did not end on its budget: expected costs are latency_ms 0.2",
        ),
        ({"most_likely": None}, "No network within latency_ms <= 0.1 was found"),
    ],
)
def test_what_went_wrong_is_told(changes: dict[str, Any], message: str) -> None:
    (told,) = differentiable.warnings(run_with(**changes))
    assert message in told


def test_a_drift_is_in_the_summary_too() -> None:
    assert "drifted to operators without weights" in differentiable.summary(run_with(drift="it"))
