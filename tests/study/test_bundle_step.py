"""Which files of a proof get a bundle, and why others get none."""

from typing import Any

import pytest

from edgenas.study.steps.bundle import refusal

CHECKS = [{"name": "values", "passed": True}, {"name": "accuracy", "passed": True}]


def entry(**changes: Any) -> dict[str, Any]:
    found = {"target": "onnx", "runtime": "onnxruntime", "budget_kept": True, "checks": CHECKS}
    return {**found, **changes}


def proof(**changes: Any) -> dict[str, Any]:
    return {"runtime": "onnxruntime", "limits": [], **changes}


@pytest.mark.parametrize(
    ("changes", "limits", "words"),
    [
        ({}, [], None),
        ({"budget_kept": None}, [], None),
        ({"budget_kept": False}, [], "it breaks the budget"),
        # A budget is asked of the job's own runtime; of others it is told.
        ({"budget_kept": False, "runtime": "litert"}, [], None),
        ({"runtime": None, "budget_kept": None}, [], None),
        ({"checks": [{"name": "top1", "passed": False}]}, [], "its checks failed: top1"),
        ({"checks": [{"name": "budget_energy_mj", "passed": False}]}, [], "it breaks the budget"),
        ({}, [{"budget": "accuracy >= 0.9", "kept": True}], None),
        ({}, [{"budget": "accuracy >= 0.9", "kept": False}], "the network breaks accuracy >= 0.9"),
    ],
)
def test_refusals(changes: dict[str, Any], limits: list[Any], words: str | None) -> None:
    assert refusal(entry(**changes), proof(limits=limits)) == words
