"""FBNet: published counts, the geometry of both presets, genes from blocks and numbers."""

import numpy as np
import pytest

from edgenas.core.errors import SpaceError
from edgenas.core.ops import OpSpec
from edgenas.spaces import fold, get
from edgenas.spaces.blocks import expand
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fbnet import BLOCKS, HW_NAS_BENCH_ORDER, OPTIONS, FbnetSpace, fbnet
from edgenas.testing.space_contract import every_genes


@pytest.mark.parametrize(
    ("name", "n_macs", "n_weights"),
    # MACs and weights (without batch norms and biases) as the authors' model zoo states them.
    [
        ("fbnet_a", 249_921_848, 4_286_480),
        ("fbnet_b", 295_561_032, 4_777_296),
        ("fbnet_c", 382_984_480, 5_520_784),
    ],
)
def test_published_networks_have_their_counts(name: str, n_macs: int, n_weights: int) -> None:
    space = get(name)
    assert isinstance(space, FbnetSpace)
    row = space.largest()
    nodes = space.network(row).nodes
    convolutions = [node.op for node in nodes if node.op.kind == "conv2d"]
    weights = sum(
        op.integer("out_channels")
        * (op.in_shape[0] // op.integer("groups") * op.integer("kernel") ** 2)
        for op in convolutions
    )
    weights += space.settings.head_width * 1000
    assert BudgetProgram(fold.macs(space)).size() == 1
    assert fold.macs(space)(row[None])[0] == n_macs
    assert weights == n_weights


def test_blocks_of_a_given_network_are_one_a_layer_and_options() -> None:
    with pytest.raises(SpaceError, match=r"stage7\.layer0 has no block: 21 are given"):
        get("fbnet", blocks=["k3_e1"] * 21)
    with pytest.raises(SpaceError, match="has 22 layers, got 23 blocks"):
        get("fbnet", blocks=["k3_e1"] * 23)
    with pytest.raises(SpaceError, match="has no option k7_e1; "):
        get("fbnet", blocks=["k7_e1"] * 22)


def test_the_space_has_its_published_size() -> None:
    # 9^22 lists of blocks; in a stage the last three layers are a list without skips.
    lists = sum(8**n for n in range(4))
    for name in ("fbnet", "fbnet_cifar"):
        assert BudgetProgram(fold.macs(get(name))).size() == 9**2 * (9 * lists) ** 5


@pytest.mark.parametrize(
    ("name", "n_classes", "sizes", "head"),
    [
        ("fbnet", 1000, [112, 112, 56, 28, 14, 14, 7, 7], 1984),
        ("fbnet_cifar", 100, [32, 32, 32, 16, 8, 8, 4, 4], 1504),
    ],
)
def test_presets_have_their_geometry(
    name: str, n_classes: int, sizes: list[int], head: int
) -> None:
    space = get(name)
    parts = dict(space.ops(space.largest()))
    assert len(parts) == space.n_genes + 2 == 24
    firsts = [parts[f"stage{s}.layer0"] for s in range(1, 8)]
    assert [op.in_shape[1] for op in firsts] == sizes[:-1]
    assert parts["head"].in_shape == (352, sizes[-1], sizes[-1])
    assert [op["out_channels"] for op in firsts] == [16, 24, 32, 64, 112, 184, 352]
    assert (parts["head"]["width"], parts["head"]["n_classes"]) == (head, n_classes)


def test_the_small_space_reads_small_grey_images() -> None:
    space = get("fbnet_tiny")
    lists = sum(8**n for n in range(3))
    assert BudgetProgram(fold.macs(space)).size() == 9 * (9 * lists) ** 3
    assert space.input_shape(space.largest()) == (1, 28, 28)
    parts = dict(space.ops(space.largest()))
    assert [parts[f"stage{s}.layer0"].in_shape[1] for s in range(1, 5)] == [14, 14, 14, 7]
    assert (parts["head"].in_shape, parts["head"]["n_classes"]) == ((48, 7, 7), 10)


def test_a_skip_runs_nothing_where_the_shape_is_kept() -> None:
    space = get("fbnet_cifar")
    parts = dict(space.ops(space.smallest()))
    # Every stage but the first widens, so its first skip is a 1x1 convolution.
    assert list(parts) == ["stem", *(f"stage{s}.layer0" for s in range(2, 8)), "head"]
    for s, stride in zip(range(2, 8), (1, 2, 2, 1, 2, 1), strict=True):
        op = parts[f"stage{s}.layer0"]
        assert (op.kind, op["kernel"], op["stride"]) == ("conv_block", 1, stride)
        assert [node.op.kind for node in expand(op).nodes] == ["conv2d", "activation"]


@pytest.mark.parametrize("option", BLOCKS)
def test_blocks_are_what_their_names_say(option: str) -> None:
    space = get("fbnet_cifar")
    names = [option] * space.n_genes
    op = dict(space.ops(space.from_blocks(names)))["stage3.layer1"]  # type: ignore[attr-defined]
    nodes = {node.name: node.op for node in expand(op).nodes}
    kernel, expansion = int(option[1]), int(option[4])
    groups = 2 if option.endswith("g2") else 1
    assert nodes["expand"]["out_channels"] == 32 * expansion
    assert nodes["depthwise"]["kernel"] == kernel
    assert nodes["expand"]["groups"] == nodes["project"]["groups"] == groups
    assert ("shuffle" in nodes) == (groups > 1)
    assert list(nodes)[-1] == "shortcut"


def test_layers_that_keep_the_shape_change_places_with_skips() -> None:
    space = fbnet("fbnet_cifar")
    names = ["k3_e1"] * 22
    first, second, third = list(names), list(names), list(names)
    first[2:5] = ["skip", "k5_e6", "k3_e3"]
    second[2:5] = ["k5_e6", "skip", "k3_e3"]
    third[2:5] = ["k3_e3", "skip", "k5_e6"]  # another order is another network
    rows = [space.from_blocks(blocks).tolist() for blocks in (first, second, third)]
    assert rows[0] == rows[1] != rows[2]
    # The first layer of a stage stays where it is: its skip is a convolution.
    names[1] = "skip"
    assert space.from_blocks(names)[1] == 0


def test_equal_networks_are_equal_genes_in_a_whole_small_space() -> None:
    space = fbnet("fbnet_cifar", resolution=8, stages=[_stage(16, 1, 1), _stage(24, 2, 3)])
    everything = every_genes(space)
    canonical = space.canonical(everything)
    networks: dict[tuple[OpSpec, ...], set[tuple[int, ...]]] = {}
    for raw, genes in zip(everything, canonical, strict=True):
        ops = tuple(op for _, op in space.ops(raw))
        networks.setdefault(ops, set()).add(tuple(genes.tolist()))
    assert all(len(genes) == 1 for genes in networks.values())
    assert len(networks) == 9 * 9 * (1 + 8 + 64) == BudgetProgram(fold.macs(space)).size()


def _stage(width: int, stride: int, n_layers: int) -> dict[str, int]:
    return {"width": width, "stride": stride, "n_layers": n_layers}


def test_numbers_of_hw_nas_bench_are_read() -> None:
    space = fbnet("fbnet_cifar")
    assert set(HW_NAS_BENCH_ORDER) == set(OPTIONS)
    numbers = [0, 1, 2, 3, 4, 5, 6, 7, *range(8), *range(6)]
    names = [HW_NAS_BENCH_ORDER[number] for number in numbers]
    assert np.array_equal(space.from_hw_nas_bench(numbers), space.from_blocks(names))
    with pytest.raises(SpaceError, match="block number 9, allowed: 0 to 8"):
        space.from_hw_nas_bench([9] * 22)


def test_wrong_lists_are_refused() -> None:
    space: FbnetSpace = fbnet("fbnet")
    with pytest.raises(SpaceError, match="has 22 layers, got 3 blocks"):
        space.from_blocks(["skip"] * 3)
    with pytest.raises(SpaceError, match=r"stage1\.layer0 is 'k7_e6', allowed: skip, k3_e1_g2"):
        space.from_blocks(["k7_e6"] * 22)
