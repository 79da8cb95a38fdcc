"""Which members of a front become finalists, and which of these fall off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgenas.core.architecture import Architecture
from edgenas.core.errors import ExportError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint, objective
from edgenas.study.steps import finalists
from edgenas.study.steps.finalists import Finalist, _chosen, _judged, reranked

OBJECTIVES = (objective("accuracy"), objective("latency_ms"))


def members(n: int) -> list[Evaluation]:
    """A front: slower and better from one to the next."""
    return [
        Evaluation(
            Architecture("space", (i,)),
            "complete",
            {"accuracy": 0.5 + 0.01 * i, "latency_ms": 1.0 + i},
        )
        for i in range(n)
    ]


def run_with(n: int, pick: str = "knee", front: int = 20) -> Any:
    budgets = () if "=" not in pick else tuple(Constraint.parse(t) for t in pick.split(","))
    return SimpleNamespace(
        objectives=OBJECTIVES,
        space=SimpleNamespace(n_genes=1),
        cost_models={},
        other_devices={},
        front=members(front),
        costs=lambda budgets: SimpleNamespace(upper=None, least=None),
        job=SimpleNamespace(
            pick=pick,
            n_finalists=n,
            budgets=lambda: budgets,
            device=SimpleNamespace(precision="int8"),
        ),
    )


@pytest.fixture(autouse=True)
def _front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finalists, "read_front", lambda run: list(run.front))


def places(found: list[Evaluation]) -> list[int]:
    return [member.arch.genes[0] for member in found]


def test_a_short_front_is_taken_whole() -> None:
    assert places(_chosen(run_with(8, front=5))) == list(range(5))


def test_half_are_what_the_pick_prefers_and_the_others_are_spread() -> None:
    found = places(_chosen(run_with(6, "latency_ms <= 10.5")))
    assert len(found) == 6
    assert {7, 8, 9} <= set(found)  # the three best within the limit
    assert min(found) == 0
    assert max(found) == 19
    assert found == sorted(found)


def test_a_named_pick_is_among_them() -> None:
    run = run_with(4)
    wanted = run.front[13].arch.id
    run.job.pick = wanted
    found = _chosen(run)
    assert wanted in {member.arch.id for member in found}
    assert len(found) == 4


def test_a_limit_that_nothing_keeps_leaves_a_spread() -> None:
    assert len(_chosen(run_with(4, "latency_ms <= 0.5"))) == 4


def finalist(member: Evaluation, accuracy: float | None, ms: float | None, **more: Any) -> Finalist:
    return Finalist(
        member.arch.id,
        member.values["accuracy"],
        accuracy,
        member.values["latency_ms"],
        ms,
        **more,
    )


def test_files_of_random_weights_have_the_suffix_of_their_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plug-in's suffix is not its format's name: `.ovz` of openvino."""
    run = run_with(4)
    run.shares_weights, run.job.device.runtime = False, "mine"
    runtimes = {"mine": SimpleNamespace(format="tensorrt"), "onnxruntime": None}
    monkeypatch.setattr(finalists, "RUNTIMES", runtimes)
    assert finalists._suffix(run) == ".engine"


def test_who_is_no_better_in_anything_falls_off() -> None:
    front = members(4)
    found = [
        finalist(front[0], 0.50, 1.0),
        finalist(front[1], 0.49, 2.0),  # its file is worse than the first one's, and slower
        finalist(front[2], None, 2.5),  # nothing is known of the file: what the search saw holds
        finalist(front[3], None, None, error="no such operator"),
    ]
    judged = _judged(run_with(4), front, found)
    assert [one.beaten_by for one in judged] == [None, front[0].arch.id, None, None]


def test_the_pick_is_made_of_those_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(4, front=4)
    front = run.front
    found = [
        finalist(front[0], 0.60, 1.5),
        finalist(front[1], 0.49, 2.0, beaten_by=front[0].arch.id),
        finalist(front[2], None, None, error="no such operator"),
    ]
    monkeypatch.setattr(finalists, "read_finalists", lambda run: found)
    (stays,) = reranked(run)
    assert stays.arch == front[0].arch
    assert stays.values == {"accuracy": 0.60, "latency_ms": 1.5}
    np.testing.assert_equal(len(reranked(run_with(0, front=4))), 4)


def test_without_any_finalist_there_is_nothing_to_pick_from() -> None:
    front = members(2)
    out = [finalist(one, None, None, error="no such operator") for one in front]
    finalists._refuse_none([finalist(front[0], 0.60, 1.5), out[1]], "int8")
    with pytest.raises(ExportError, match=r"written and run in int8: .*: no such operator; .*:"):
        finalists._refuse_none(out, "int8")
