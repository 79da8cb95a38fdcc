"""Blocks: published MobileNetV3 and ResNet50 counts, rounding of widths, what does not fit."""

import pytest

from edgenas.core import counts, ops
from edgenas.core.errors import RegistryError, SpaceError
from edgenas.core.ops import Graph, OpSpec
from edgenas.spaces.blocks import (
    BLOCKS,
    bottleneck,
    chain,
    conv_block,
    expand,
    make_divisible,
    mbconv,
    mbv3_head,
    out_shape,
    pool_head,
    resnet_stem,
)

# Howard et al. 2019, tables 1 and 2: kernel, expanded width, width, squeeze, activation, stride.
LARGE = [
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "h_swish", 2),
    (3, 200, 80, False, "h_swish", 1),
    (3, 184, 80, False, "h_swish", 1),
    (3, 184, 80, False, "h_swish", 1),
    (3, 480, 112, True, "h_swish", 1),
    (3, 672, 112, True, "h_swish", 1),
    (5, 672, 160, True, "h_swish", 2),
    (5, 960, 160, True, "h_swish", 1),
    (5, 960, 160, True, "h_swish", 1),
]
SMALL = [
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "h_swish", 2),
    (5, 240, 40, True, "h_swish", 1),
    (5, 240, 40, True, "h_swish", 1),
    (5, 120, 48, True, "h_swish", 1),
    (5, 144, 48, True, "h_swish", 1),
    (5, 288, 96, True, "h_swish", 2),
    (5, 576, 96, True, "h_swish", 1),
    (5, 576, 96, True, "h_swish", 1),
]


@pytest.mark.parametrize(
    ("rows", "final", "mix", "n_params", "mega_macs"),
    # Parameters as torchvision publishes them, less the bias that the layer before the classifier
    # has there and not in the networks of Cai et al.
    [(LARGE, 960, 1280, 5_483_032 - 1280, 217), (SMALL, 576, 1024, 2_542_856 - 1024, 57)],
    ids=["large", "small"],
)
def test_mobilenet_v3_has_its_published_counts(
    rows: list[tuple[int, int, int, bool, str, int]],
    final: int,
    mix: int,
    n_params: int,
    mega_macs: int,
) -> None:
    parts = [("stem", conv_block((3, 224, 224), 16, kernel=3, stride=2, activation="h_swish"))]
    for i, (kernel, mid, width, squeeze, activation, stride) in enumerate(rows):
        block = mbconv(
            out_shape(parts[-1][1]),
            width,
            mid_channels=mid,
            kernel=kernel,
            stride=stride,
            activation=activation,
            squeeze_excite=squeeze,
        )
        parts.append((f"block{i}", block))
    last = out_shape(parts[-1][1])
    assert last[1:] == (7, 7)
    head = mbv3_head(last, final_channels=final, mix_channels=mix, n_classes=1000)
    graph = chain([*parts, ("head", head)])
    assert graph.out_shape == (1000,)
    assert counts.n_params(graph) == n_params
    assert round(counts.n_macs(graph) / 1e6) == mega_macs


def resnet50d(resolution: int) -> Graph:
    """Returns ResNet50-D of He et al. 2019, arXiv:1812.01187."""
    stem = resnet_stem((3, resolution, resolution), 64, mid_channels=32, stride=2, residual=True)
    parts = [("stem", stem)]
    for s, (width, n_blocks) in enumerate([(256, 3), (512, 4), (1024, 6), (2048, 3)]):
        for i in range(n_blocks):
            block = bottleneck(
                out_shape(parts[-1][1]),
                width,
                mid_channels=width // 4,
                stride=2 if s > 0 and i == 0 else 1,
                downsample=i == 0,
            )
            parts.append((f"stage{s}.block{i}", block))
    return chain([*parts, ("head", pool_head(out_shape(parts[-1][1]), n_classes=1000))])


def test_resnet50d_has_its_published_counts() -> None:
    # ResNet50 has 25,557,032 parameters; three 3x3 convolutions instead of one 7x7 add 19,232.
    graph = resnet50d(224)
    assert counts.n_params(graph) == 25_557_032 + 19_232
    assert round(counts.n_macs(graph) / 1e8) == 43  # He et al. 2019, table 5: 4.3 G
    assert graph.nodes[-2].op.in_shape == (2048, 7, 7)


def test_bottlenecks_fit_images_of_odd_sizes() -> None:
    for resolution in (225, 97, 33, 65):
        graph = resnet50d(resolution)
        pools = [node.op for node in graph.nodes if node.op.kind == "avg_pool2d"]
        assert len(pools) == 3
        assert any(op.in_shape[1] % 2 for op in pools)
        assert graph.out_shape == (1000,)


def test_shortcuts_of_bottlenecks() -> None:
    plain = bottleneck((16, 7, 7), 16, mid_channels=8, stride=1, downsample=False)
    names = [node.name for node in expand(plain).nodes]
    assert names == [
        "conv1",
        "conv1_act",
        "conv2",
        "conv2_act",
        "conv3",
        "shortcut",
        "shortcut_act",
    ]
    assert expand(plain).nodes[-2].inputs == ("conv3", "input")
    wider = bottleneck((16, 7, 7), 32, mid_channels=8, stride=1, downsample=True)
    assert expand(wider).nodes[0].name == "downsample"  # nothing to pool without a stride
    smaller = bottleneck((16, 7, 7), 32, mid_channels=8, stride=2, downsample=True)
    first, second = expand(smaller).nodes[:2]
    assert first.op.key == "avg_pool2d(16x7x7;ceil=1,kernel=2,padding=0,stride=2)"
    assert (second.name, out_shape(second.op)) == ("downsample", (32, 4, 4))
    for width, stride in ((32, 1), (16, 2)):
        with pytest.raises(SpaceError, match="give downsample=True"):
            bottleneck((16, 7, 7), width, mid_channels=8, stride=stride, downsample=False)
    with pytest.raises(SpaceError, match="stride 1 or 2, got 3"):
        bottleneck((16, 7, 7), 16, mid_channels=8, stride=3, downsample=True)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(1, 8), (8, 8), (11.9, 16), (12, 16), (16 * 1.2, 24), (24 * 1.2, 32), (33, 32), (960, 960)],
)
def test_widths_are_rounded_to_eights(value: float, rounded: int) -> None:
    assert make_divisible(value) == rounded


def test_no_width_loses_more_than_a_tenth() -> None:
    for value in range(1, 2000):
        rounded = make_divisible(value)
        assert rounded % 8 == 0
        assert rounded >= 0.9 * value
        assert rounded - value < 8


def test_shortcuts_and_expansions_only_where_they_belong() -> None:
    def names(**changes: object) -> set[str]:
        settings: dict[str, object] = {
            "mid_channels": 16,
            "kernel": 3,
            "stride": 1,
            "activation": "relu",
            "squeeze_excite": False,
        }
        width = int(str(changes.pop("width", 8)))
        op = mbconv((8, 6, 6), width, **{**settings, **changes})  # type: ignore[arg-type]
        return {node.name for node in expand(op).nodes}

    assert {"expand", "shortcut"} <= names()
    assert "expand" not in names(mid_channels=8)
    assert "shortcut" not in names(stride=2)
    assert "shortcut" not in names(width=16)
    assert "se_scale" in names(squeeze_excite=True)


@pytest.mark.parametrize(("groups", "width"), [(0, 8), (3, 8), (16, 8)])
def test_channels_are_shuffled_in_whole_groups(groups: int, width: int) -> None:
    with pytest.raises(SpaceError, match=f"{width} channels cannot be shuffled in {groups} groups"):
        ops.channel_shuffle((width, 4, 4), groups)


def test_a_convolution_may_have_no_activation() -> None:
    op = conv_block((8, 4, 4), 16, kernel=1, stride=2, activation="none")
    assert [node.op.kind for node in expand(op).nodes] == ["conv2d"]
    assert ops.parse_key(op.key) == op


def test_parts_that_do_not_fit_are_refused() -> None:
    stem = conv_block((3, 8, 8), 16, kernel=3, stride=2, activation="relu")
    wrong = conv_block((16, 8, 8), 16, kernel=3, stride=1, activation="relu")
    with pytest.raises(SpaceError, match=r"second: conv_block.* does not fit after shape \(16, 4"):
        chain([("first", stem), ("second", wrong)])
    with pytest.raises(SpaceError, match=r"first: .*does not fit"):
        chain([("first", stem)], in_shape=(1, 8, 8))


def test_no_parts_are_the_identity() -> None:
    graph = chain([], in_shape=(3, 4, 4))
    assert (graph.in_shape, graph.out_shape, graph.nodes) == ((3, 4, 4), (3, 4, 4), ())


def test_a_chain_runs_primitives_and_blocks_alike() -> None:
    conv = ops.conv2d((3, 8, 8), 4, kernel=3)
    graph = chain([("a", conv), ("b", ops.activation((4, 8, 8), "relu"))])
    assert [node.inputs for node in graph.nodes] == [("input",), ("a.conv2d",)]


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(RegistryError, match=r"unknown block 'mbconw'.*nearest: mbconv"):
        expand(OpSpec.make("mbconw", (3, 8, 8)))


def test_a_block_of_ones_own_is_counted() -> None:
    def twice(op: OpSpec) -> ops.Graph:
        conv = ops.conv2d(op.in_shape, op.in_shape[0], kernel=1)
        nodes = (ops.Node("one", conv, ("input",)), ops.Node("two", conv, ("one",)))
        return ops.Graph(op.in_shape, nodes)

    BLOCKS.add("twice_for_test")(twice)
    try:
        graph = expand(OpSpec.make("twice_for_test", (4, 3, 3)))
    finally:
        del BLOCKS._parts["twice_for_test"]
    assert counts.n_macs(graph) == 2 * 4 * 4 * 9
