"""Phases: what they open in a space, what they refuse, and spaces that have no use for them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.errors import SpaceError, UsageError
from edgenas.core.ops import OpSpec
from edgenas.oneshot.phases import OpenPart, Phase, phases_of
from edgenas.oneshot.schedules import OFA, OFA_CPU, SCHEDULES, phases_named
from edgenas.spaces.base import Factor, Gene, SearchSpace


def phase(**settings: Any) -> Phase:
    return Phase(**{"name": "one", "epochs": 1, "lr": 0.1, "n_subnets": 1, **settings})


def seen(space: SearchSpace, part: OpenPart, dimension: str) -> set[object]:
    rows = part.sample(300, np.random.default_rng(0))
    described = [space.describe(row) for row in rows]
    return {value for found in described for key, value in found.items() if key.endswith(dimension)}


def test_what_is_not_named_stays_at_its_largest_option() -> None:
    space = spaces.get("mbv3_tiny")
    part = OpenPart(space, phase(elastic={"kernel": "all", "depth": 2}))
    assert seen(space, part, "kernel") == {3, 5, 7}
    assert seen(space, part, "depth") == {2, 3}
    assert seen(space, part, "expansion") == {4}
    assert seen(space, part, "resolution") == {32}
    assert part.largest().tolist() == space.largest().tolist()
    smallest = space.describe(part.smallest())
    assert smallest["stage1.depth"] == 2
    assert smallest["stage1.block1.kernel"] == 3
    assert "stage1.block2.kernel" not in smallest


def test_options_are_opened_by_name() -> None:
    space = spaces.get("mbv3_tiny")
    part = OpenPart(space, phase(elastic={"expansion": (2, 4), "resolution": (24,)}))
    assert seen(space, part, "expansion") == {2, 4}
    assert seen(space, part, "resolution") == {24}
    assert part.sample_size(np.random.default_rng(0)) == (24, 24)
    with pytest.raises(SpaceError, match=r"opens expansion 6, gene stage1\.block0\.expansion of"):
        OpenPart(space, phase(elastic={"expansion": (2, 6)}))


def test_without_dimensions_everything_is_open() -> None:
    space = spaces.get("mbv3_tiny")
    part = OpenPart(space, phase(elastic=None))
    rows = part.sample(4000, np.random.default_rng(0))
    assert np.array_equal(rows, space.canonical(rows))
    assert part.smallest().tolist() == space.smallest().tolist()
    for column in range(space.n_genes):
        assert set(rows[:, column]) == set(range(space.n_options[column]))


def test_a_depth_that_one_stage_lacks_is_opened_in_the_others() -> None:
    space = spaces.get("ofa_proxyless_w1.3")
    part = OpenPart(space, phase(elastic={"depth": (3, 4)}))
    assert seen(space, part, "stage1.depth") == {3, 4}
    assert seen(space, part, "stage6.depth") == {1}


def nothing(*_: object) -> tuple[OpSpec, ...]:
    return ()


def test_genes_of_another_kind_are_refused_but_by_the_sandwich() -> None:
    genes = (Gene("layer", ("a", "b")),)
    factors = (Factor("layer", ("layer",), nothing),)
    space = SearchSpace("other", genes, factors, parameters={}, n_classes=2)
    with pytest.raises(SpaceError, match="gene layer is of no dimension that phases open"):
        OpenPart(space, phase())
    assert OpenPart(space, phase(elastic=None)).largest().tolist() == [1]


def test_a_space_passes_over_phases_that_open_what_it_lacks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    space = spaces.get("mbv3_tiny")
    with caplog.at_level(logging.INFO):
        names = [found.name for found in phases_of(space, OFA)]
    assert names == ["full", "kernel", "depth1", "depth2", "expansion1", "expansion2"]
    assert "mbv3_tiny has no elastic width: no phase width1" in caplog.text
    one = spaces.get("mbv3_tiny", kernels=(5,))
    assert "kernel" not in [found.name for found in phases_of(one, OFA)]
    assert phases_of(space, [phase(epochs=0)]) == ()


def test_resnets_have_depths_expansions_and_widths() -> None:
    space = spaces.get("resnet_tiny")
    found = phases_of(space, OFA)
    names = ["full", "depth1", "depth2", "expansion1", "expansion2", "width1", "width2"]
    assert [p.name for p in found] == names
    n_open = [sum(len(options) > 1 for options in OpenPart(space, p).options) for p in found]
    assert n_open == sorted(n_open)
    assert n_open[-1] == space.n_genes
    assert [p.sort_stage for p in found] == [None, None, None, 0, 1, None, None]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": -1}, "phase one out of range: epochs=-1"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"rule": "best"}, "rule=best"),
        ({"n_subnets": 0}, "n_subnets=0"),
        ({"distillation": -1.0}, "distillation=-1.0"),
        ({"sort_stage": -1}, "sort_stage=-1"),
        ({"batch_size": 1}, "batch_size=1"),
        ({"warmup_fraction": 1.0}, "warmup_fraction=1.0"),
        ({"elastic": {"kernel": 0}}, "0 of kernel; allowed: all, how many"),
        ({"elastic": {"kernel": ()}}, r"\(\) of kernel; allowed: all, how many"),
        ({"elastic": {"kernels": "all"}}, "kernels is no dimension; allowed: kernel, depth"),
        ({"opens": "breadth"}, "breadth is no dimension"),
    ],
)
def test_phases_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        phase(**settings)


def test_the_schedule_of_the_paper() -> None:
    found = {
        p.name: (p.epochs, p.lr, p.n_subnets, p.distillation > 0, p.sort_stage)
        for p in OFA
        if p.opens != "width"
    }
    assert found == {
        "full": (180, 0.08125, 0, False, None),
        "kernel": (120, 0.03, 1, True, None),
        "depth1": (25, 0.0025, 2, True, None),
        "depth2": (120, 0.0075, 2, True, None),
        "expansion1": (25, 0.0025, 4, True, 0),
        "expansion2": (120, 0.0075, 4, True, 1),
    }
    space = spaces.get("ofa_mbv3_w1.0")
    depth1, expansion1 = (OpenPart(space, OFA[i]) for i in (2, 4))
    assert seen(space, depth1, "depth") == {3, 4}
    assert seen(space, depth1, "expansion") == {6}
    assert seen(space, expansion1, "depth") == {2, 3, 4}
    assert seen(space, expansion1, "expansion") == {4, 6}


def test_all_schedules_open_the_same_dimensions_in_turn() -> None:
    names = [p.name for p in OFA]
    for schedule in set(SCHEDULES) - {"sandwich"}:
        assert [p.name for p in phases_named(schedule)] == names
    assert sum(p.epochs for p in OFA_CPU if p.opens != "width") == 30
    with pytest.raises(UsageError, match=r"no schedule 'ofa_gpu'; allowed: .*nearest: ofa_cpu"):
        phases_named("ofa_gpu")
