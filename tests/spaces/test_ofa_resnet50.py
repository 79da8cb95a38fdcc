"""Once-for-all ResNet50: recorded counts, the parametrised family, names of changed spaces."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenas.core.errors import SpaceError
from edgenas.spaces import fold, from_parameters, get
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.ofa_resnet50 import PRESETS, OfaResnet50Space, Stage, ofa_resnet50

LARGEST: dict[str, Any] = {"d": [2] * 5, "e": [0.35] * 18, "w": [2] * 6}
SMALLEST: dict[str, Any] = {"d": [0] * 5, "e": [0.2] * 18, "w": [0] * 6}


def test_every_recorded_subnet_has_its_counts(bench_data: Path) -> None:
    recorded = json.loads((bench_data / "ofa_oracle" / "ofa_resnet50.json").read_text())["subnets"]
    space = ofa_resnet50("ofa_resnet50")
    rows = np.stack(
        [
            space.from_ofa(
                **(LARGEST if net["config"] == "max" else net["config"]),
                resolution=net["resolution"],
            )
            for net in recorded
        ]
    )
    assert len(rows) >= 8
    assert fold.macs(space)(rows).tolist() == [net["n_macs"] for net in recorded]
    assert fold.params(space)(rows).tolist() == [net["n_params"] for net in recorded]


def test_the_largest_and_smallest_have_the_public_codes_counts() -> None:
    # The first is recorded of the public supernet; kept here so that no recorded file is needed.
    space = ofa_resnet50("ofa_resnet50")
    largest = space.from_ofa(**LARGEST, resolution=192)
    assert fold.params(space)(largest[None]).tolist() == [48_105_992]
    assert fold.macs(space)(largest[None]).tolist() == [5_504_608_256]
    assert np.array_equal(space.from_ofa(**SMALLEST, resolution=160), space.smallest())
    assert np.array_equal(space.from_ofa(**LARGEST, resolution=224), space.largest())


def test_the_space_has_as_many_networks_as_its_choices() -> None:
    space = get("ofa_resnet50", resolutions=[224])
    blocks = [3**2 + 3**3 + 3**4] * 3 + [3**4 + 3**5 + 3**6]
    # Of the widths within the stem, .65 and .8 are both 24 channels.
    assert BudgetProgram(fold.macs(space)).size() == int(np.prod(blocks)) * 2 * 2 * 3**5
    assert space.genes[space.index["stem.inner.width"]].options == (0.65, 1.0)


def test_widths_that_are_the_same_channels_are_one_network() -> None:
    space = ofa_resnet50("ofa_resnet50")
    rows = [
        space.from_ofa(d=[0] * 5, e=[0.2] * 18, w=[inner, 1, 1, 1, 1, 1], resolution=224)
        for inner in (0, 1, 2)
    ]
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


def test_only_the_most_depth_adds_to_the_stem() -> None:
    space = ofa_resnet50("ofa_resnet50")
    rows = [space.from_ofa(**{**SMALLEST, "d": [d, 0, 0, 0, 0]}, resolution=224) for d in (0, 1, 2)]
    assert np.array_equal(rows[0], rows[1])
    stems = [dict(space.ops(row))["stem"]["residual"] for row in rows]
    assert stems == [0, 0, 1]


def test_a_width_is_read_where_it_goes_out_and_where_it_goes_in() -> None:
    space = ofa_resnet50("ofa_resnet50")
    readers = {
        gene.name: [factor.name for factor in space.factors if gene.name in factor.genes]
        for gene in space.genes
        if gene.name.endswith(".width")
    }
    assert readers["stem.inner.width"] == ["stem"]
    assert readers["stem.width"] == ["stem", "stage1.block0"]
    assert readers["stage2.width"] == [
        *(f"stage2.block{i}" for i in range(4)),
        "stage3.block0",
    ]
    assert readers["stage4.width"][-1] == "head"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d": [0] * 4}, "takes 5 depths, 18 expansions and 6 widths, got 4, 18 and 6"),
        ({"e": [0.2] * 17}, "got 5, 17 and 6"),
        ({"w": [0] * 7}, "got 5, 18 and 7"),
        ({"w": [0, 0, 3, 0, 0, 0]}, "index 3 of a width, allowed: 0 to 2"),
        ({"w": [-1, 0, 0, 0, 0, 0]}, "index -1 of a width"),
        ({"e": [0.3] * 18}, "expansion is 0.3, allowed: 0.2, 0.25, 0.35"),
        ({"d": [0, 3, 0, 0, 0]}, "stage1.depth is 5, allowed: 2, 3, 4"),
        ({"resolution": 150}, "resolution is 150, allowed: 160"),
    ],
)
def test_lists_of_another_network_are_refused(changes: dict[str, Any], message: str) -> None:
    space = ofa_resnet50("ofa_resnet50")
    with pytest.raises(SpaceError, match=message):
        space.from_ofa(**{**SMALLEST, "resolution": 224, **changes})


def test_values_of_blocks_that_do_not_run_do_not_matter() -> None:
    space = ofa_resnet50("resnet_tiny")
    common: dict[str, Any] = {"d": [0] * 4, "w": [0] * 5, "resolution": 24}
    one = space.from_ofa(e=[0.25, 0.75, 0.75] * 3, **common)
    assert np.array_equal(one, space.from_ofa(e=[0.25, 0.5, 0.25] * 3, **common))
    assert np.array_equal(one, space.smallest())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expansions": [0.2, 0.25]}, r"width 0.5 x 64 are 8, 8 channels"),
        ({"stages": [{"width": 64, "stride": 1, "depths": [0, 1]}]}, "depths 0, 1; its first"),
        ({"kernels": [3]}, "no setting kernels; allowed: .*widths"),
    ],
)
def test_what_makes_no_space_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        get("resnet_tiny", **changes)


def test_a_changed_space_says_so_in_its_name_and_is_made_again() -> None:
    stages = [{"width": 64, "stride": 2, "depths": [1, 2]}]
    changed = get("resnet_tiny", resolutions=[28], widths=[0.5, 1.0], stages=stages)
    assert changed.name == "resnet_tiny-resolutions=28-stages=64s2d1.2-widths=0.5_1.0"
    again = from_parameters(json.loads(json.dumps(changed.parameters)))
    assert (again.name, again.fingerprint) == (changed.name, changed.fingerprint)


def test_presets_differ() -> None:
    assert len({get(name).fingerprint for name in PRESETS}) == len(PRESETS)


changes_drawn = st.fixed_dictionaries(
    {
        "stages": st.lists(
            st.builds(
                Stage,
                width=st.sampled_from([64, 128]),
                stride=st.sampled_from([1, 2]),
                depths=st.sampled_from([(1,), (2,), (1, 2), (1, 3), (2, 3)]),
            ),
            min_size=1,
            max_size=3,
        )
    },
    optional={
        "stem_width": st.sampled_from([16, 32]),
        "stem_stride": st.sampled_from([1, 2]),
        "expansions": st.sampled_from([(0.5,), (0.25, 1.0), (0.25, 0.5, 0.75)]),
        "widths": st.sampled_from([(1.0,), (0.65, 1.0), (0.5, 0.75, 1.0)]),
        "resolutions": st.sampled_from([(17,), (16, 19), (32, 24, 9)]),
        "input_channels": st.sampled_from([1, 3]),
        "n_classes": st.sampled_from([2, 11]),
    },
)


@settings(max_examples=30)
@given(changes=changes_drawn, seed=st.integers(0, 99))
def test_the_whole_family_holds_together(changes: dict[str, Any], seed: int) -> None:
    space: OfaResnet50Space = ofa_resnet50("resnet_tiny", **changes)
    chosen = space.settings
    sample = space.sample(6, np.random.default_rng(seed))
    rows = np.concatenate([space.smallest()[None], space.largest()[None], sample], dtype=np.int8)
    for row in rows:
        graph, config = space.network(row), space.describe(row)
        resolution = config["resolution"]
        assert graph.in_shape == (chosen.input_channels, resolution, resolution)
        assert graph.out_shape == (chosen.n_classes,)
        depths = [int(config[f"stage{s}.depth"]) for s in range(1, len(chosen.stages) + 1)]
        assert len(space.ops(row)) == 2 + sum(depths)
        assert np.array_equal(space.parse(config), row)
    macs = fold.macs(space)
    program = BudgetProgram(macs)
    n_widths = np.prod([len(g.options) for g in space.genes if g.name.endswith(".width")])
    n_blocks = [sum(len(chosen.expansions) ** d for d in stage.depths) for stage in chosen.stages]
    n_networks = len(chosen.resolutions) * 2 * int(n_widths) * int(np.prod(n_blocks))
    assert program.size() == n_networks
    assert program.least()[0] <= macs(rows).min()
    assert macs(rows).max() <= program.greatest()[0]


def test_networks_under_a_budget_are_counted_and_drawn_exactly() -> None:
    stages = [{"width": 64, "stride": 2, "depths": [1, 2]}]
    space = get("resnet_tiny", stages=stages, resolutions=[8, 12], widths=[0.5, 1.0])
    everything = np.indices(space.n_options.tolist()).reshape(space.n_genes, -1).T.astype(np.int8)
    rows = np.unique(space.canonical(everything), axis=0)
    macs = fold.macs(space)
    program = BudgetProgram(macs)
    assert program.size() == len(rows)
    assert program.least()[0] == macs(rows).min()
    assert program.greatest()[0] == macs(rows).max()
    budget = float(np.median(macs(rows)))
    under = {row.tobytes() for row in rows[macs(rows) <= budget]}
    drawn = {row.tobytes() for row in program.sample(2000, budget, np.random.default_rng(0))}
    assert drawn <= under
    assert len(drawn) > 0.9 * len(under)
    assert 0.95 * len(under) <= program.count(budget) <= len(under)
