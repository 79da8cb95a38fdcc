"""Operators: keys read back, shapes, attributes; graphs counted by hand and by simulation."""

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgenas.core import counts, ops
from edgenas.core.errors import SpaceError
from edgenas.core.ops import Graph, Node, OpSpec, parse_key
from edgenas.spaces import fold, get
from edgenas.spaces.blocks import expand

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
words = st.from_regex(r"[a-z_][a-zA-Z0-9_.\- ]{0,8}", fullmatch=True)
shapes = st.lists(st.integers(1, 5000), min_size=1, max_size=4).map(tuple)
specs = st.builds(
    lambda kind, ins, attrs: OpSpec.make(kind, ins[0], *ins[1:], **attrs),
    names,
    st.lists(shapes, min_size=1, max_size=3),
    st.dictionaries(
        names.filter(lambda name: name not in {"kind", "in_shape", "cls"}),
        st.one_of(st.integers(-(10**9), 10**9), st.booleans(), words),
        max_size=4,
    ),
)


@given(specs)
def test_keys_are_read_back(spec: OpSpec) -> None:
    assert parse_key(spec.key) == spec
    assert parse_key(spec.key).key == spec.key


@given(specs, specs)
def test_equal_keys_are_equal_operators(one: OpSpec, other: OpSpec) -> None:
    assert (one.key == other.key) == (one == other)


def test_attributes_are_sorted_and_truths_are_numbers() -> None:
    spec = OpSpec.make("conv", (3, 8, 8), stride=2, bias=True)
    assert spec.key == "conv(3x8x8;bias=1,stride=2)"
    assert spec == OpSpec.make("conv", (3, 8, 8), bias=1, stride=2)
    assert spec.integer("bias") == 1
    assert ops.multiply((4, 2, 2), (4, 1, 1)).key == "multiply(4x2x2+4x1x1)"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "conv2d",
        "conv2d()",
        "conv2d(3x8)x",
        "Conv(3)",
        "conv2d(3xx8)",
        "conv2d(x)",
        "conv2d(3+)",
        "conv2d(03x8)",
        "conv2d(3;)",
        "conv2d(3;b=1,a=2)",
        "conv2d(3;a=1,a=1)",
        "conv2d(3;a=01)",
        "conv2d(3;a)",
        "conv2d(3;=1)",
        "conv2d(٣x8)",
        "conv2d(3) ",
    ],
)
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(SpaceError, match="not an operator key"):
        parse_key(key)


def test_a_missing_attribute_is_an_error() -> None:
    with pytest.raises(SpaceError, match=r"operator add\(2\+2\) has no attribute 'kernel'"):
        ops.add((2,)).integer("kernel")


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(SpaceError, match="unknown activation 'gelu'; allowed: relu"):
        ops.activation((1,), "gelu")


@given(size=st.integers(1, 40), kernel=st.sampled_from([1, 3, 5, 7]), stride=st.integers(1, 3))
def test_a_convolution_has_the_shape_of_its_windows(size: int, kernel: int, stride: int) -> None:
    op = ops.conv2d((2, size, size + 1), 5, kernel=kernel, stride=stride)
    padded = np.zeros((size + 2 * (kernel // 2), size + 1 + 2 * (kernel // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel))
    assert ops.out_shape(op) == (5, *windows[::stride, ::stride].shape[:2])


@given(
    size=st.integers(1, 30),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
    ceil=st.booleans(),
)
def test_a_pool_has_the_shape_of_its_windows(
    size: int, kernel: int, stride: int, padding: int, ceil: bool
) -> None:
    padding = min(padding, kernel // 2)
    width = size + 2 * padding
    least = kernel - (stride - 1 if ceil else 0)
    assume(width >= least)
    starts = [0]
    while True:  # the next is whole or, with ceil, sees pixels that no window has seen
        start, seen = starts[-1] + stride, starts[-1] + kernel
        if not (seen < width and start < size + padding if ceil else start + kernel <= width):
            break
        starts.append(start)
    window: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding, "ceil": ceil}
    for op in (ops.max_pool2d((2, size, 30), **window), ops.avg_pool2d((2, size, 30), **window)):
        assert ops.out_shape(op)[:2] == (2, len(starts))
        far = max(0, starts[-1] + kernel - size - padding)
        assert ops.pool_borders(op)[0] == (padding, far)
        assert parse_key(op.key) == op


@pytest.mark.parametrize(
    "window",
    [
        {"kernel": 0, "stride": 1},
        {"kernel": 2, "stride": 0},
        {"kernel": 3, "stride": 1, "padding": 2},
        {"kernel": 3, "stride": 1, "padding": -1},
        {"kernel": 9, "stride": 2, "ceil": True},
    ],
)
def test_windows_that_see_nothing_are_refused(window: dict[str, Any]) -> None:
    with pytest.raises(SpaceError, match=r"avg_pool2d\(4x6x5;.*padding of at most"):
        ops.avg_pool2d((4, 6, 5), **window)


def test_shapes_of_the_other_primitives() -> None:
    shape = (4, 6, 5)
    assert ops.out_shape(ops.global_avg_pool(shape)) == (4, 1, 1)
    assert ops.out_shape(ops.linear((4, 1, 1), 7)) == (7,)
    for op in (ops.activation(shape, "relu"), ops.add(shape), ops.multiply(shape, (4, 1, 1))):
        assert ops.out_shape(op) == shape
    with pytest.raises(SpaceError, match="is not primitive; primitives: conv2d"):
        ops.out_shape(OpSpec.make("mbconv", shape))


def graph_of(op: OpSpec) -> Graph:
    return Graph(op.in_shape, (Node("op", op, ("input",)),))


def test_counts_by_hand() -> None:
    # 6 filters of 2 x 3 x 3 on 4 x 4 places; scale and shift of the norm; no bias.
    conv = graph_of(ops.conv2d((4, 8, 8), 6, kernel=3, stride=2, groups=2, norm=True))
    assert counts.n_macs(conv) == 6 * 2 * 9 * 16
    assert counts.n_params(conv) == 6 * 2 * 9 + 2 * 6
    assert counts.weight_bytes(conv) == 4 * (6 * 2 * 9 + 6)
    assert counts.weight_bytes(conv, "int8") == 6 * 2 * 9 + 4 * 6
    linear = graph_of(ops.linear((10, 1, 1), 3))
    assert counts.n_macs(linear) == 30
    assert counts.n_params(linear) == 33
    assert counts.weight_bytes(linear, "float16") == 2 * 30 + 4 * 3
    free = graph_of(ops.activation((4, 8, 8), "relu"))
    assert counts.n_macs(free) == counts.n_params(free) == counts.weight_bytes(free) == 0
    pool = graph_of(ops.max_pool2d((4, 8, 8), kernel=3, stride=2, padding=1))
    assert counts.n_macs(pool) == counts.n_params(pool) == counts.weight_bytes(pool) == 0
    assert counts.peak_activation_bytes(pool) == 4 * (4 * 64 + 4 * 16)
    assert counts.n_params(graph_of(ops.conv2d((2, 1, 1), 2, kernel=1, bias=True))) == 4 + 2
    # A lone norm has scale and shift; where it is deployed, a factor and a bias a channel.
    norm, nothing = graph_of(ops.batch_norm((4, 8, 8))), graph_of(ops.zeros((4, 8, 8)))
    assert (counts.n_macs(norm), counts.n_params(norm)) == (0, 8)
    assert counts.n_macs(nothing) == counts.n_params(nothing) == 0
    for graph in (norm, nothing):
        assert counts.weight_bytes(graph, "int8") == 4 + 4 * 4
        assert counts.weight_bytes(graph) == 4 * 4 + 4 * 4


def test_peak_memory_by_hand() -> None:
    nodes = (
        Node("wide", ops.conv2d((1, 4, 4), 8, kernel=3), ("input",)),  # 16 + 128
        Node("act", ops.activation((8, 4, 4), "relu"), ("wide",)),  # + 128, the input kept
        Node("narrow", ops.conv2d((8, 4, 4), 1, kernel=1), ("act",)),
        Node("sum", ops.add((1, 4, 4)), ("narrow", "input")),
    )
    assert counts.peak_activation_bytes(Graph((1, 4, 4), nodes)) == 4 * (16 + 128 + 128)
    # Without the shortcut the input is let go after the first convolution.
    assert counts.peak_activation_bytes(Graph((1, 4, 4), nodes[:3]), "int8") == 128 + 128
    assert counts.peak_activation_bytes(Graph((3, 4, 4), ())) == 4 * 48
    # What is joined is there beside its parts, which are then let go.
    joined = Node("joined", ops.concat((1, 4, 4), (1, 4, 4), (8, 4, 4)), ("sum", "input", "act"))
    last = Node("last", ops.conv2d((10, 4, 4), 30, kernel=1), ("joined",))
    parts, whole = 16 + 16 + 128, 160
    held = counts.peak_activation_bytes(Graph((1, 4, 4), (*nodes, joined)), "int8")
    assert held == parts + whole
    after = counts.peak_activation_bytes(Graph((1, 4, 4), (*nodes, joined, last)), "int8")
    assert after == whole + 480


def simulated_peak(graph: Graph) -> int:
    """Returns the most values held at once by a machine that counts the readers still to come."""
    readers: dict[str, int] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    readers[graph.nodes[-1].name] = 1  # the caller
    memory = {"input": prod(graph.in_shape)}
    peak = sum(memory.values())
    for node in graph.nodes:
        memory[node.name] = prod(ops.out_shape(node.op))
        peak = max(peak, sum(memory.values()))
        for name in node.inputs:
            readers[name] -= 1
            if not readers[name]:
                del memory[name]
    assert list(memory) == [graph.nodes[-1].name]
    return peak


@pytest.mark.parametrize("name", ["mbv3_tiny", "ofa_mbv3_w1.0", "ofa_resnet50"])
def test_peak_memory_of_whole_networks_is_that_of_a_simulated_run(name: str) -> None:
    space = get(name)
    rows = space.sample(25, np.random.default_rng(0))
    wanted = [simulated_peak(space.network(row)) * 4 / 1024 for row in rows]
    assert fold.peak_activation_kib(space)(rows).tolist() == wanted
    for op in space.distinct_ops()[:50]:
        graph = expand(op)
        assert counts.peak_activation_bytes(graph, "int8") == simulated_peak(graph)
