"""What is profiled is what is exported: the same operators run, with the same MACs."""

from typing import Any

import numpy as np
import onnx
import pytest

from edgenas.core.counts import n_macs
from edgenas.core.errors import ExportError
from edgenas.lowering import onnx as to_onnx
from edgenas.lowering.optimised import Execution, RunOperator, differences
from edgenas.lowering.optimised_onnx import onnx_operators
from edgenas.lowering.optimised_tflite import tflite_operators
from edgenas.lowering.tflite_file import FlatModel
from edgenas.lowering.weights import random_weights
from edgenas.spaces.alexnet import alexnet_head
from edgenas.spaces.blocks import (
    bottleneck,
    chain,
    conv_block,
    expand,
    fbnet_block,
    mbconv,
    resnet_stem,
)
from edgenas.spaces.nas_bench_201 import nas_bench_201
from tests.lowering.answers import RUNTIMES, check_pieces, small


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("space_name", "n"),
    [
        ("mbv3_tiny", 12),
        ("ofa_mbv3_w1.0", 2),
        ("ofa_mbv3_w1.2", 1),
        ("ofa_proxyless_w1.3", 1),
        ("fbnet", 2),
        ("fbnet_cifar", 6),
        ("nas_bench_macro", 6),
        ("mnasnet", 6),
        ("nas_bench_201", 6),
        ("dpp_net_tiny", 6),
        ("monas_alexnet", 4),
        ("monas_condensenet", 4),
        ("dpp_net", 0),
        ("resnet_tiny", 6),
        ("ofa_resnet50", 0),
    ],
)
def test_network_runs_what_its_pieces_run(runtime: str, space_name: str, n: int) -> None:
    space = small(space_name)
    rows = [space.smallest(), *space.sample(n, np.random.default_rng(5))]
    if n:  # else the largest takes too long
        rows.append(space.largest())
    assert check_pieces(runtime, space, rows) == []


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_cells_run_what_they_run_in_the_network(runtime: str, precision: str) -> None:
    """One through which nothing leads, and some between which activations move."""
    space = nas_bench_201("nas_bench_201", n_cells=2, resolution=16)
    codes = (
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|",
        "|skip_connect~0|+|none~0|none~1|+|nor_conv_1x1~0|nor_conv_1x1~1|none~2|",
        "|skip_connect~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|none~1|nor_conv_3x3~2|",
        "|nor_conv_1x1~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|avg_pool_3x3~1|skip_connect~2|",
    )
    rows = [space.from_code(code) for code in codes]
    assert check_pieces(runtime, space, rows, precision=precision) == []


def test_differences_name_both_sides() -> None:
    one = Execution((RunOperator("add", (4, 2, 2), (4, 2, 2)),) * 2, moves=("ReorderInput",))
    other = Execution((RunOperator("linear", (4,), (2,), n_macs=8),))
    lines = differences(one, other)
    assert [line.split(":")[0] for line in lines] == [
        "only in the first, 2 times",
        "only in the second, 1 times",
    ]
    assert differences(one, Execution(one.compute)) == []


def test_activations_ride_on_convolutions() -> None:
    """The encodings are chosen for this; an engine that stops doing it should be noticed."""
    graph = expand(conv_block((16, 8, 8), 16, kernel=3, stride=2, activation="h_swish"))
    execution = onnx_operators(to_onnx.lower(graph, random_weights(graph)))
    assert [(op.kind, op.activation) for op in execution.compute] == [("conv2d", "HardSwish")]


def test_shapes_are_the_networks_not_the_padded_ones() -> None:
    op = mbconv(
        (12, 9, 9),
        20,
        mid_channels=36,
        kernel=5,
        stride=2,
        activation="h_swish",
        squeeze_excite=True,
    )
    graph = expand(op)
    weights = random_weights(graph)
    for lower, operators in RUNTIMES.values():
        layers = [o for o in operators(lower(graph, weights)).compute if o.kind == "conv2d"]
        assert [(o.in_shape, o.out_shape, o.kernel, o.stride, o.groups) for o in layers] == [
            ((12, 9, 9), (36, 9, 9), 1, 1, 1),
            ((36, 9, 9), (36, 5, 5), 5, 2, 36),
            ((36, 1, 1), (16, 1, 1), 1, 1, 1),
            ((16, 1, 1), (36, 1, 1), 1, 1, 1),
            ((36, 5, 5), (20, 5, 5), 1, 1, 1),
        ]
        assert sum(o.n_macs for o in layers) == n_macs(graph)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("size", [8, 7])
def test_pools_are_those_of_the_network(size: int, precision: str) -> None:
    """However they are written: with borders, as a convolution, or in float between codes."""
    stem = resnet_stem((3, 2 * size, 2 * size), 16, mid_channels=16, stride=1, residual=True)
    block = bottleneck((16, size, size), 32, mid_channels=16, stride=2, downsample=True)
    graph = chain([("stem", stem), ("block", block)])
    weights = random_weights(graph)
    half = (size + 1) // 2
    for lower, operators in RUNTIMES.values():
        execution = operators(lower(graph, weights, precision=precision))
        pools = [o for o in execution.compute if "pool" in o.kind]
        assert [(o.kind, o.in_shape, o.out_shape, o.kernel, o.stride) for o in pools] == [
            ("max_pool2d", (16, 2 * size, 2 * size), (16, size, size), 3, 2),
            ("avg_pool2d", (16, size, size), (16, half, half), 2, 2),
        ]
        assert execution.outside == ()
        assert execution.n_macs == n_macs(graph)


def test_a_pool_of_float_values_among_codes_is_named() -> None:
    window = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0] * 4}
    node = onnx.helper.make_node("MaxPool", ["x"], ["y"], **window)
    codes = onnx.helper.make_node("QuantizeLinear", ["x", "s", "o"], ["q"])
    back = onnx.helper.make_node("DequantizeLinear", ["q", "s", "o"], ["z"])
    values = {"s": np.array(0.1, np.float32), "o": np.array(3, np.uint8)}
    shapes = {"x": (1, 4, 6, 6), "y": (1, 4, 3, 3), "z": (1, 4, 6, 6)}
    x, *results = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    initializers = [onnx.numpy_helper.from_array(v, name) for name, v in values.items()]
    graph = onnx.helper.make_graph([node, codes, back], "float", [x], results, initializers)
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    assert onnx_operators(model.SerializeToString()).outside == ("MaxPool",)


def test_hidden_layers_are_the_networks_with_their_activation() -> None:
    """onnxruntime has one kernel for both, under a name of its own; so has XNNPACK."""
    graph = expand(alexnet_head((6, 3, 2), hidden=(16, 12), n_classes=5))
    weights = random_weights(graph)
    for (lower, operators), relu in zip(RUNTIMES.values(), ("Relu", "RELU"), strict=True):
        execution = operators(lower(graph, weights))
        assert [o.kind for o in execution.compute] == ["linear"] * 3
        assert [o.activation for o in execution.compute] == [relu, relu, ""]
        assert execution.n_macs == n_macs(graph) == 36 * 16 + 16 * 12 + 12 * 5


@pytest.mark.parametrize("width", [24, 64])
def test_a_relu_after_a_shortcut_rides_on_the_convolution(width: int) -> None:
    """In a block timed alone, too, where the shortcut is the input itself."""
    op = bottleneck((width, 8, 8), width, mid_channels=16, stride=1, downsample=False)
    graph = expand(op)
    execution = onnx_operators(to_onnx.lower(graph, random_weights(graph)))
    kinds = [(o.kind, o.activation) for o in execution.compute]
    assert kinds == [("conv2d", "Relu"), ("conv2d", "Relu"), ("conv2d", "Relu"), ("add", "")]
    assert execution.n_macs == n_macs(graph)


@pytest.mark.parametrize("width", [24, 64])  # blocked and unblocked kernels in onnxruntime
def test_groups_and_shuffles_are_those_of_the_network(width: int) -> None:
    op = fbnet_block((width, 8, 8), width, mid_channels=width, kernel=3, stride=1, groups=2)
    graph = expand(op)
    weights = random_weights(graph)
    for lower, operators in RUNTIMES.values():
        execution = operators(lower(graph, weights))
        layers = [o for o in execution.compute if o.kind == "conv2d"]
        assert [o.groups for o in layers] == [2, width, 2]
        assert [o.kind for o in execution.compute] == ["conv2d"] * 3 + ["add"]
        assert {"TRANSPOSE", "Transpose"} & set(execution.moves)
        assert execution.n_macs == n_macs(graph)


def test_operator_outside_the_delegate_is_named() -> None:
    model = FlatModel()
    tensors = [model.tensor(name, (1, 4, 4, 2)) for name in ("x", "y", "z")]
    model.operator("RELU_0_TO_1", [tensors[0]], tensors[1])  # XNNPACK leaves it alone
    model.operator("RELU", [tensors[1]], tensors[2])
    content = model.serialise(
        inputs={"x": tensors[0]}, outputs={"z": tensors[2]}, signature="s", metadata={}
    )
    assert tflite_operators(content).outside == ("RELU_0_TO_1",)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_damaged_model_is_refused(runtime: str) -> None:
    _, operators = RUNTIMES[runtime]
    with pytest.raises(ExportError, match="refuses the model"):
        operators(b"not a model at all")


def test_renamed_layer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import edgenas.lowering.optimised_onnx as module

    original = module._optimised

    def renamed(model: bytes) -> Any:
        optimised = original(model)
        for node in optimised.graph.node:
            node.name = f"other_{node.name}"
        return optimised

    monkeypatch.setattr(module, "_optimised", renamed)
    graph = expand(conv_block((16, 8, 8), 16, kernel=3, stride=2, activation="relu"))
    with pytest.raises(ExportError, match="renamed the layer"):
        onnx_operators(to_onnx.lower(graph, random_weights(graph)))
