"""MnasNet: published networks, the factorised choices, and what a layer is."""

import numpy as np
import pytest

from edgenas.core.errors import SpaceError
from edgenas.spaces import fold, get
from edgenas.spaces.blocks import expand, mnas_layer
from edgenas.spaces.budget import BudgetProgram


@pytest.mark.parametrize(
    ("name", "n_params", "n_macs"),
    # As the paper states them, rounded to 0.1 million parameters and whole millions of MACs.
    [("mnasnet_a1", 3.9e6, 312e6), ("mnasnet_b1", 4.4e6, 315e6)],
)
def test_published_networks_have_their_counts(name: str, n_params: float, n_macs: float) -> None:
    space = get(name)
    row = space.largest()[None]
    assert BudgetProgram(fold.macs(space)).size() == 1
    assert fold.params(space)(row)[0] == pytest.approx(n_params, rel=0.005)
    assert fold.macs(space)(row)[0] == pytest.approx(n_macs, rel=0.005)


def test_a1_has_the_layers_of_its_block_strings() -> None:
    space = get("mnasnet_a1")
    ops = dict(space.ops(space.largest()))
    counts = [sum(name.startswith(f"block{b}.") for name in ops) for b in range(1, 8)]
    assert counts == [1, 2, 3, 4, 2, 3, 1]
    excited = {name[:6] for name, op in ops.items() if dict(op.attrs).get("se_channels")}
    assert excited == {"block3", "block5", "block6"}
    assert ops["block3.layer0"]["se_channels"] == 24 // 4
    assert ops["block3.layer1"]["mid_channels"] == 3 * 40
    assert ops["head"].in_shape == (320, 7, 7)


def test_the_space_is_as_large_as_its_choices_are_many() -> None:
    # A block of several layers has 4 * 2 * 2 * 3 * 3 networks a depth; one layer has no skip.
    by_depth = 4 * 2 * 2 * 3
    sizes = [
        (1 + 3) * by_depth,  # one or two layers
        (1 + 3 + 3) * by_depth,  # one to three
        *([3 * 3 * by_depth] * 4),
        (1 + 3) * by_depth,
    ]
    assert BudgetProgram(fold.macs(get("mnasnet"))).size() == np.prod(sizes, dtype=object)


def test_layers_of_a_block_are_equal_but_for_the_first() -> None:
    space = get("mnasnet")
    for row in space.sample(20, np.random.default_rng(0)):
        ops = dict(space.ops(row))
        config = space.describe(row)
        for b in range(1, 8):
            n = int(config[f"block{b}.n_layers"])
            own = [ops[f"block{b}.layer{i}"] for i in range(n)]
            assert f"block{b}.layer{n}" not in ops
            assert len(set(own[1:])) <= 1
            assert {op["kernel"] for op in own} == {config[f"block{b}.kernel"]}
            assert {op["out_channels"] for op in own} == {config[f"block{b}.width"]}
            assert [op["stride"] for op in own[1:]] == [1] * (n - 1)
            assert own[0]["skip"] == "none"


def layer(**changes: object) -> list[str]:
    given = {
        "mid_channels": 48,
        "kernel": 5,
        "stride": 1,
        "se_channels": 4,
        "skip": "identity",
        **changes,
    }
    return [node.name for node in expand(mnas_layer((16, 8, 8), 16, **given)).nodes]  # type: ignore[arg-type]


def test_a_layer_is_what_its_choices_say() -> None:
    excited = ["se_pool", "se_reduce", "se_reduce_act", "se_expand", "se_expand_act", "se_scale"]
    depthwise = ["expand", "expand_act", "depthwise", "depthwise_act"]
    assert layer() == [*depthwise, *excited, "project", "shortcut"]
    assert layer(se_channels=0, skip="none") == [*depthwise, "project"]
    assert layer(mid_channels=16, se_channels=0) == [*depthwise[2:], "project", "shortcut"]
    assert layer(mid_channels=0) == ["conv", "conv_act", *excited, "shortcut"]
    assert layer(mid_channels=0, se_channels=0, skip="pool") == [
        "conv",
        "conv_act",
        "pool",
        "shortcut",
    ]


def test_a_skip_needs_a_layer_that_keeps_its_shape() -> None:
    with pytest.raises(SpaceError, match=r"a skip \(pool\) needs a layer that keeps its shape"):
        layer(stride=2, skip="pool")


def test_an_unknown_operator_or_skip_is_refused() -> None:
    spec = {
        "widths": [16],
        "stride": 1,
        "n_layers": [1],
        "ops": ["sepconv"],
        "kernels": [3],
        "se_ratios": [0.0],
        "skips": ["none"],
    }
    with pytest.raises(SpaceError, match="has no sepconv"):
        get("mnasnet", blocks=[spec])
    with pytest.raises(SpaceError, match="has no dense"):
        get("mnasnet", blocks=[{**spec, "ops": ["conv"], "skips": ["dense"]}])
