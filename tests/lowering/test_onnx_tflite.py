"""ONNX and TFLite agree with a plain evaluation, for every operator and awkward size."""

from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgenas.core import ops
from edgenas.core.errors import ExportError, MissingExtraError
from edgenas.core.ops import Graph, OpSpec
from edgenas.lowering import onnx as to_onnx
from edgenas.lowering import tflite as to_tflite
from edgenas.lowering.optimised_tflite import tflite_operators
from edgenas.lowering.tflite_windows import same_is_symmetric
from edgenas.lowering.weights import Weights, random_weights
from edgenas.spaces.blocks import (
    bottleneck,
    conv_block,
    conv_head,
    expand,
    fbnet_block,
    mbconv,
    mnas_layer,
    pool_head,
    resnet_stem,
)
from edgenas.testing.reference import evaluate
from tests.lowering.answers import OPERATORS, answers, run_onnx

LOWERINGS = (to_onnx, to_tflite)


def check_both(graph: Graph, seed: int = 0) -> None:
    weights = random_weights(graph, seed=seed)
    expected, found = answers(graph, weights, seed=seed + 1)
    scale = np.abs(expected).max() or 1.0
    for name, values in found.items():
        assert np.abs(values - expected).max() <= 1e-5 * scale, name
    assert tflite_operators(to_tflite.lower(graph, weights)).outside == ()


@settings(max_examples=60)
@given(
    in_channels=st.integers(1, 20),
    out_channels=st.integers(1, 20),
    mid_channels=st.integers(4, 40),
    kernel=st.sampled_from((1, 3, 5, 7)),
    stride=st.sampled_from((1, 2, 3)),
    height=st.integers(1, 15),
    width=st.integers(1, 15),
    activation=st.sampled_from(ops.ACTIVATIONS),
    squeeze_excite=st.booleans(),
)
def test_random_blocks(
    in_channels: int, out_channels: int, height: int, width: int, **attributes: Any
) -> None:
    check_both(expand(mbconv((in_channels, height, width), out_channels, **attributes)))


@settings(max_examples=40)
@given(
    pairs=st.integers(1, 10),
    out_pairs=st.integers(1, 10),
    expansion=st.sampled_from((1, 3)),
    kernel=st.sampled_from((3, 5)),
    stride=st.sampled_from((1, 2)),
    groups=st.sampled_from((1, 2)),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
)
def test_random_grouped_blocks(
    pairs: int, out_pairs: int, expansion: int, height: int, width: int, **attributes: int
) -> None:
    shape = (2 * pairs, height, width)
    block = fbnet_block(shape, 2 * out_pairs, mid_channels=2 * pairs * expansion, **attributes)
    check_both(expand(block))


@settings(max_examples=40)
@given(
    in_channels=st.integers(1, 20),
    out_channels=st.integers(1, 20),
    expansion=st.sampled_from((0, 1, 3)),
    kernel=st.sampled_from((3, 5)),
    stride=st.sampled_from((1, 2)),
    se_channels=st.sampled_from((0, 3)),
    skip=st.sampled_from(("none", "identity", "pool")),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
)
def test_random_layers_of_mnasnet(
    in_channels: int,
    out_channels: int,
    expansion: int,
    kernel: int,
    stride: int,
    se_channels: int,
    skip: str,
    height: int,
    width: int,
) -> None:
    op = mnas_layer(
        (in_channels, height, width),
        out_channels if skip == "none" else in_channels,
        mid_channels=in_channels * expansion,
        kernel=kernel,
        stride=stride if skip == "none" else 1,
        se_channels=se_channels,
        skip=skip,
    )
    check_both(expand(op))


@settings(max_examples=40)
@given(
    in_channels=st.sampled_from((4, 16, 20)),
    out_channels=st.sampled_from((8, 16, 20)),
    mid_channels=st.sampled_from((4, 8, 16)),
    stride=st.sampled_from((1, 2)),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    keeps_shape=st.booleans(),
)
def test_random_bottlenecks(
    in_channels: int,
    out_channels: int,
    mid_channels: int,
    stride: int,
    height: int,
    width: int,
    keeps_shape: bool,
) -> None:
    op = bottleneck(
        (in_channels, height, width),
        in_channels if keeps_shape else out_channels,
        mid_channels=mid_channels,
        stride=1 if keeps_shape else stride,
        downsample=not keeps_shape,
    )
    check_both(expand(op))


@settings(max_examples=30)
@given(
    stride=st.sampled_from((1, 2)),
    height=st.integers(1, 16),
    width=st.integers(1, 16),
    residual=st.booleans(),
)
def test_random_stems(stride: int, height: int, width: int, residual: bool) -> None:
    shape = (3, height, width)
    check_both(expand(resnet_stem(shape, 16, mid_channels=8, stride=stride, residual=residual)))


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.integers(2, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    ceil=st.booleans(),
    first=st.sampled_from(("relu", "h_swish", "h_sigmoid")),
    second=st.sampled_from(("relu", "h_swish")),
)
def test_random_pools_between_activations(
    size: tuple[int, int], kernel: int, stride: int, first: str, second: str, **window: Any
) -> None:
    """Pools may border values that are never negative with zeros, and others not."""
    shape = (6, *size)
    window["padding"] = min(window["padding"], kernel // 2)
    assume(min(size) + 2 * window["padding"] >= kernel)
    # XNNPACK leaves alone a pool that skips pixels.
    pool = ops.max_pool2d(shape, kernel=kernel, stride=min(stride, kernel), **window)
    nodes = (
        ops.Node("first", ops.activation(shape, first), ("input",)),
        ops.Node("pool", pool, ("first",)),
        ops.Node("second", ops.activation(ops.out_shape(pool), second), ("pool",)),
    )
    check_both(Graph(shape, nodes))


def test_averages_with_padding_have_no_tflite_form() -> None:
    graph = expand(ops.avg_pool2d((4, 6, 6), kernel=3, stride=2, padding=1))
    with pytest.raises(ExportError, match=r"avg_pool2d: TFLite has no padding for .*ceil=1"):
        to_tflite.lower(graph, {})
    image = np.random.default_rng(0).normal(size=(1, 4, 6, 6)).astype(np.float32)
    found = run_onnx(to_onnx.lower(graph, {}), image)
    assert np.abs(found - evaluate(graph, {}, image)).max() <= 1e-6


def test_activations_after_a_shuffle_are_their_own() -> None:
    for function in ops.ACTIVATIONS:
        nodes = (
            ops.Node("conv", ops.conv2d((4, 5, 5), 6, kernel=3), ("input",)),
            ops.Node("shuffle", ops.channel_shuffle((6, 5, 5), 3), ("conv",)),
            ops.Node("act", ops.activation((6, 5, 5), function), ("shuffle",)),
        )
        check_both(Graph((4, 5, 5), nodes))


@pytest.mark.parametrize(
    "op",
    [
        *OPERATORS,
        ops.zeros((8, 5, 6)),
        *(ops.channel_shuffle((8, 5, 6), groups) for groups in (1, 2, 8)),
        conv_block((6, 7, 6), 8, kernel=1, stride=2, activation="none"),
        conv_head((16, 4, 5), width=24, n_classes=7, activation="relu"),
        pool_head((16, 4, 5), n_classes=7),
    ],
    ids=lambda op: op.key,
)
def test_single_operators(op: OpSpec) -> None:
    check_both(expand(op))


def joined_graph(*, of_input: bool) -> Graph:
    """Return a graph that joins values of every origin, twice, and reads the whole."""
    shape = (4, 6, 6)
    whole = (20, 6, 6)
    pool = ops.max_pool2d(shape, kernel=3, stride=1, padding=1)
    nodes = (
        ops.Node("conv", ops.conv2d(shape, 4, kernel=3, bias=True), ("input",)),
        ops.Node("act", ops.activation(shape, "relu"), ("conv",)),
        ops.Node("pool", pool, ("act",)),
        ops.Node("gate", ops.activation(shape, "sigmoid"), ("conv",)),
        ops.Node("shuffle", ops.channel_shuffle(shape, 2), ("act",)),
        ops.Node(
            "joined",
            ops.concat(shape, shape, shape, shape, shape),
            ("input" if of_input else "conv", "act", "pool", "gate", "shuffle"),
        ),
        ops.Node("joined_act", ops.activation(whole, "relu"), ("joined",)),
        ops.Node("again", ops.concat(whole, shape, whole), ("joined_act", "conv", "joined")),
        ops.Node("last", ops.conv2d((44, 6, 6), 6, kernel=1, bias=True), ("again",)),
    )
    return Graph(shape, nodes)


@pytest.mark.parametrize("of_input", [True, False])
def test_values_of_every_origin_are_joined(of_input: bool) -> None:
    check_both(joined_graph(of_input=of_input))


def test_whole_network(tiny_network: Graph) -> None:
    check_both(tiny_network)


def test_value_with_two_readers_is_not_fused() -> None:
    """An activation must not swallow a value that something else reads too."""
    conv = ops.conv2d((4, 5, 5), 4, kernel=3)
    for function in ops.ACTIVATIONS:
        nodes = (
            ops.Node("conv", conv, ("input",)),
            ops.Node("act", ops.activation((4, 5, 5), function), ("conv",)),
            ops.Node("sum", ops.add((4, 5, 5)), ("act", "conv")),
        )
        check_both(Graph((4, 5, 5), nodes))


def test_activation_after_a_sum_and_after_an_activation() -> None:
    for first in ops.ACTIVATIONS:
        nodes = (
            ops.Node("conv", ops.conv2d((4, 5, 5), 4, kernel=3), ("input",)),
            ops.Node("sum", ops.add((4, 5, 5)), ("conv", "input")),
            ops.Node("one", ops.activation((4, 5, 5), first), ("sum",)),
            ops.Node("two", ops.activation((4, 5, 5), "h_sigmoid"), ("one",)),
        )
        check_both(Graph((4, 5, 5), nodes))


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_is_used_only_where_it_is_ours(kernel: int, stride: int) -> None:
    """Where SAME is chosen, every window must start on the pixel where ours starts."""
    for size in range(1, 24):
        ours = list(range(-(kernel // 2), size + kernel // 2 - kernel + 1, stride))
        n_same = len(range(0, size, stride))
        reach = max(0, (n_same - 1) * stride + kernel - size)
        same = [-(reach // 2) + i * stride for i in range(n_same)]
        assert same_is_symmetric(size, kernel=kernel, stride=stride) == (ours == same)


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_same_arguments_give_same_bytes(lowering: Any, tiny_network: Graph) -> None:
    weights = random_weights(tiny_network)
    shuffled = dict(reversed(weights.items()))
    metadata = {"b": "2", "a": "1"}
    first = lowering.lower(tiny_network, weights, metadata=metadata)
    assert first == lowering.lower(tiny_network, shuffled, metadata=metadata)


def test_names_and_metadata(tiny_network: Graph) -> None:
    weights = random_weights(tiny_network)
    options: dict[str, Any] = {
        "input_name": "x",
        "output_name": "y",
        "metadata": {"run": "7"},
    }
    model = onnx.load_from_string(to_onnx.lower(tiny_network, weights, **options))
    onnx.checker.check_model(model, full_check=True)
    assert [model.graph.input[0].name, model.graph.output[0].name] == ["x", "y"]
    assert {p.key: p.value for p in model.metadata_props} == {"run": "7"}
    interpreter = Interpreter(model_content=to_tflite.lower(tiny_network, weights, **options))
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature == {"inputs": ["x"], "outputs": ["y"]}


@pytest.mark.parametrize("opset", [14, 20, 24])
def test_other_operator_sets(tiny_network: Graph, opset: int) -> None:
    weights = random_weights(tiny_network)
    image = np.ones((1, *tiny_network.in_shape), np.float32)
    expected = evaluate(tiny_network, weights, image)
    found = run_onnx(to_onnx.lower(tiny_network, weights, opset=opset), image)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_constants_are_aligned(tiny_network: Graph) -> None:
    weights = random_weights(tiny_network)
    content = to_tflite.lower(tiny_network, weights)
    array = np.ascontiguousarray(weights["stem.conv.weight"].transpose(0, 2, 3, 1))
    assert content.index(array.tobytes()) % 16 == 0


@pytest.mark.parametrize("lowering", LOWERINGS)
class TestRefusals:
    graph = expand(conv_block((3, 8, 8), 4, kernel=3, stride=1, activation="relu"))

    def refused(self, lowering: Any, graph: Graph, weights: Weights) -> str:
        with pytest.raises(ExportError) as caught:
            lowering.lower(graph, weights)
        return str(caught.value)

    def test_missing_array(self, lowering: Any) -> None:
        weights = random_weights(self.graph)
        del weights["conv.bias"]
        assert "'conv.bias'" in self.refused(lowering, self.graph, weights)

    def test_array_of_another_shape(self, lowering: Any) -> None:
        weights = random_weights(self.graph)
        weights["conv.weight"] = weights["conv.weight"][:2]
        assert "(2, 3, 3, 3), not (4, 3, 3, 3)" in self.refused(lowering, self.graph, weights)

    def test_two_inputs(self, lowering: Any) -> None:
        assert "input1" in self.refused(lowering, expand(ops.add((4, 5, 5))), {})

    def test_composite(self, lowering: Any) -> None:
        op = conv_block((3, 8, 8), 4, kernel=3, stride=1, activation="relu")
        graph = Graph((3, 8, 8), (ops.Node("block", op, ("input",)),))
        assert "not primitive" in self.refused(lowering, graph, {})

    def test_empty(self, lowering: Any) -> None:
        assert "no operators" in self.refused(lowering, Graph((3, 8, 8), ()), {})

    def test_missing_extra(self, lowering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(name: str) -> None:
            raise ImportError(name)

        monkeypatch.setattr("importlib.import_module", refuse)
        with pytest.raises(MissingExtraError, match="pip install"):
            lowering.lower(self.graph, random_weights(self.graph))


def test_operator_set_out_of_range(tiny_network: Graph) -> None:
    with pytest.raises(ExportError, match="14 to 24"):
        to_onnx.lower(tiny_network, random_weights(tiny_network), opset=13)
