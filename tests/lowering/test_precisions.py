"""Models in float16 and int8: their answers, and what engines make of them and of others'."""

import logging
import platform
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgenas import spaces
from edgenas.core import ops
from edgenas.core.errors import ExportError
from edgenas.core.ops import Graph, OpSpec
from edgenas.lowering import onnx as to_onnx
from edgenas.lowering import onnx_int8, tflite_int8
from edgenas.lowering import tflite as to_tflite
from edgenas.lowering.optimised_onnx import onnx_operators
from edgenas.lowering.optimised_tflite import tflite_operators
from edgenas.lowering.plan import deployed
from edgenas.lowering.quantisation import value_ranges
from edgenas.lowering.tflite_file import FlatModel
from edgenas.lowering.weights import Weights, random_weights
from edgenas.spaces.blocks import bottleneck, chain, conv_block, expand, mbconv
from edgenas.spaces.dense import dense_layer
from edgenas.testing.reference import evaluate
from tests.lowering.answers import (
    OPERATORS,
    RUNTIMES,
    answers,
    check_pieces,
    run_onnx,
    run_tflite,
    small,
)
from tests.lowering.test_onnx_tflite import joined_graph

Array = np.ndarray[Any, Any]
REFERENCE_TOLERANCE_DB = 3.0
LEAST_SQNR_DB = 20.0


def sqnr_db(expected: Array, found: Array) -> float:
    """Return signal over quantisation noise."""
    noise = np.mean((expected - found) ** 2)
    return float(10 * np.log10(np.mean(expected**2) / max(noise, 1e-30)))


def noise(graph: Graph, weights: Weights | None = None, **options: Any) -> dict[str, float]:
    """Return the SQNR of `graph` in each format, in dB."""
    weights = random_weights(graph) if weights is None else weights
    expected, found = answers(graph, weights, **options)
    return {name: sqnr_db(expected, values) for name, values in found.items()}


@pytest.mark.parametrize("quantised_io", [True, False])
@pytest.mark.parametrize("size", [(7, 8), (5, 5), (1, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_bottlenecks_in_int8_answer_as_in_float(
    size: tuple[int, int], stride: int, quantised_io: bool
) -> None:
    for width in (16, 24):
        op = bottleneck((16, *size), width, mid_channels=8, stride=stride, downsample=True)
        found = noise(expand(op), precision="int8", quantised_io=quantised_io)
        assert min(found.values()) > LEAST_SQNR_DB, (width, found)


@pytest.mark.parametrize("function", ["relu", "h_swish", "h_sigmoid"])
def test_pools_of_codes_keep_their_step(function: str) -> None:
    """Zeros may border only what is not negative, and no code is lost in a greatest one."""
    shape = (8, 8, 7)
    pool = ops.max_pool2d(shape, kernel=3, stride=2, padding=1)
    nodes = (
        ops.Node("act", ops.activation(shape, function), ("input",)),
        ops.Node("pool", pool, ("act",)),
    )
    found = noise(Graph(shape, nodes), precision="int8")
    alone = noise(Graph(shape, nodes[:1]), precision="int8")
    for name, value in found.items():
        assert value > alone[name] - 2, name


def odd_graph(first: str, second: str) -> Graph:
    """Return a graph whose activations follow a sum and an activation, and share values."""
    shape = (6, 9, 9)
    nodes = (
        ops.Node("conv", ops.conv2d(shape, 6, kernel=3, bias=True), ("input",)),
        ops.Node("one", ops.activation(shape, first), ("conv",)),
        ops.Node("sum", ops.add(shape), ("one", "conv")),
        ops.Node("two", ops.activation(shape, second), ("sum",)),
        ops.Node("three", ops.activation(shape, first), ("two",)),
        ops.Node("last", ops.add(shape), ("three", "input")),
    )
    return Graph(shape, nodes)


@pytest.mark.parametrize("quantised_io", [True, False])
@pytest.mark.parametrize("function", ops.ACTIVATIONS)
@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_in_int8_answer_as_in_float(function: str, stride: int, quantised_io: bool) -> None:
    op = mbconv(
        (16, 13, 14),
        16,
        mid_channels=64,
        kernel=5,
        stride=stride,
        activation=function,
        squeeze_excite=True,
    )
    found = noise(expand(op), precision="int8", quantised_io=quantised_io)
    assert min(found.values()) > LEAST_SQNR_DB, found


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.key)
def test_single_operators_in_int8_and_float16(op: OpSpec) -> None:
    graph = expand(op)
    weights = random_weights(graph)
    int8, half = noise(graph, weights, precision="int8"), noise(graph, weights, precision="float16")
    assert min(int8.values()) > LEAST_SQNR_DB, int8
    assert min(half.values()) > 55, half  # eleven bits of mantissa
    assert tflite_operators(to_tflite.lower(graph, weights, precision="int8")).outside == ()


@pytest.mark.parametrize("quantised_io", [True, False])
@pytest.mark.parametrize("of_input", [True, False])
def test_joined_values_of_every_origin(of_input: bool, quantised_io: bool) -> None:
    """Those whose scale follows from another's are translated, negative ones are not cut off."""
    graph = joined_graph(of_input=of_input)
    for last in ("joined", "again", "last"):
        names = [node.name for node in graph.nodes]
        part = Graph(graph.in_shape, graph.nodes[: names.index(last) + 1])
        found = noise(part, precision="int8", quantised_io=quantised_io)
        assert min(found.values()) > LEAST_SQNR_DB, (last, found)
        model = to_tflite.lower(part, random_weights(part), precision="int8")
        assert tflite_operators(model).outside == ()


def test_joining_copies_codes_where_it_can() -> None:
    """All that a stage of dense layers leaves has one scale; no kernel of its own translates."""
    layers = [
        ("one", dense_layer((8, 6, 6), 4, norm="bn_relu", conv="conv3x3", groups=4)),
        ("two", dense_layer((12, 6, 6), 4, norm="identity", conv="group1x1", groups=4)),
    ]
    graph = chain(layers)
    weights = random_weights(graph)
    graph = deployed(graph)
    spans = value_ranges(graph, weights, None)
    names = ("input", "one.conv", "one.joined", "two.conv", "two.joined")
    assert len({spans[name] for name in names}) == 1
    given = {name: (-1.0 - i, 1.0) for i, name in enumerate(spans)}
    shared = value_ranges(graph, weights, given)
    assert {shared[name] for name in names} == {(min(given[name][0] for name in names), 1.0)}
    assert shared["one.norm"] == given["one.norm"]
    model = to_tflite.lower(graph, weights, precision="int8")
    assert Counter(tflite_kinds(model)) == Counter(DEPTHWISE_CONV_2D=1, CONV_2D=2, CONCATENATION=2)
    kinds = onnx_kinds(to_onnx.lower(graph, weights, precision="int8"))
    assert kinds["QLinearConcat"] == 2
    assert kinds["Concat"] == 0


@pytest.mark.parametrize("first", ops.ACTIVATIONS)
def test_activations_that_share_values_or_follow_no_layer(first: str) -> None:
    for second in ("relu", "h_swish", "h_sigmoid"):
        found = noise(odd_graph(first, second), precision="int8")
        assert min(found.values()) > LEAST_SQNR_DB, (second, found)


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("mbv3_tiny", 3),
        ("ofa_mbv3_w1.0", 0),
        ("ofa_mbv3_w1.2", 0),
        ("fbnet_cifar", 1),
        ("nas_bench_macro", 1),
        ("mnasnet", 2),
        ("nas_bench_201", 2),
        ("dpp_net_tiny", 2),
        ("monas_alexnet", 2),
        ("monas_condensenet", 2),
        ("resnet_tiny", 2),
        ("ofa_resnet50", 0),
    ],
)
def test_whole_networks_in_int8(name: str, n: int) -> None:
    space = small(name)
    for row in [space.smallest(), *space.sample(n, np.random.default_rng(1))]:
        graph = space.network(row)
        weights = random_weights(graph, seed=3)
        found = noise(graph, weights, precision="int8")
        assert min(found.values()) > LEAST_SQNR_DB, (name, found)
        assert min(noise(graph, weights, precision="float16").values()) > 45


def seen_ranges(graph: Graph, weights: Weights, images: Array) -> dict[str, tuple[float, float]]:
    """Return the ranges of all values on some images, as a calibration would."""
    model = onnx.load_from_string(to_onnx.lower(graph, weights))
    names = [node.name for node in graph.nodes[:-1]]
    for name in names:
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        model.graph.output.append(value)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    runs = [session.run(["logits", *names], {"image": image[None]}) for image in images]
    ranges = {"input": (float(images.min()), float(images.max()))}
    for i, name in enumerate([graph.nodes[-1].name, *names]):
        values = [run[i] for run in runs]
        ranges[name] = (min(float(v.min()) for v in values), max(float(v.max()) for v in values))
    return ranges


def by_onnxruntime(model: bytes, images: Array, folder: Path) -> bytes:
    """Return the float32 `model` as onnxruntime's own static quantiser leaves it."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter([{"image": image[None]} for image in images])

        def get_next(self) -> dict[str, Array] | None:
            return next(self._left, None)

    source, target = folder / "float.onnx", folder / "int8.onnx"
    source.write_bytes(model)
    logging.disable(logging.WARNING)
    try:
        quantization.quantize_static(
            source,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )
    finally:
        logging.disable(logging.NOTSET)
    return target.read_bytes()


def by_ai_edge_quantizer(model: bytes, images: Array, folder: Path) -> bytes:
    """Return the float32 `model` as ai-edge-quantizer's static recipe leaves it."""
    from ai_edge_quantizer import quantizer, recipe

    path = folder / "float.tflite"
    path.write_bytes(model)
    feeds = [{"image": np.moveaxis(image[None], 1, -1)} for image in images]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it means to keep all values in memory
        tool = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
        seen = tool.calibrate({"serving_default": feeds})
        return bytes(tool.quantize(seen).quantized_model)


def onnx_kinds(model: bytes) -> Counter[str]:
    """Return what onnxruntime leaves of a model, moves included, by name."""
    from edgenas.lowering.optimised_onnx import _optimised

    return Counter(node.op_type for node in _optimised(model).graph.node)


def tflite_kinds(model: bytes) -> Counter[str]:
    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    content = schema.ModelT.InitFromPackedBuf(model)
    codes = [max(one.builtinCode, one.deprecatedBuiltinCode) for one in content.operatorCodes]
    return Counter(names[codes[one.opcodeIndex]] for one in content.subgraphs[0].operators)


def peer_graphs() -> dict[str, Graph]:
    tiny = spaces.get("mbv3_tiny")
    op = mbconv(
        (12, 15, 15),
        12,
        mid_channels=40,
        kernel=5,
        stride=1,
        activation="relu6",
        squeeze_excite=True,
    )
    return {
        "smallest": tiny.network(tiny.smallest()),
        "sampled": tiny.network(tiny.sample(1, np.random.default_rng(0))[0]),
        "relu6": expand(op),
    }


@pytest.mark.parametrize("name", ["smallest", "sampled", "relu6"])
class TestAgainstTheMakersQuantisers:
    """Same kernels but for the hard activations, and values that are as near."""

    def prepared(self, name: str) -> tuple[Graph, Weights, Array, dict[str, tuple[float, float]]]:
        graph = peer_graphs()[name]
        weights = random_weights(graph, seed=3)
        images = np.random.default_rng(0).normal(size=(4, *graph.in_shape)).astype(np.float32)
        return graph, weights, images, seen_ranges(graph, weights, images)

    def test_onnxruntime(self, name: str, tmp_path: Path) -> None:
        graph, weights, images, ranges = self.prepared(name)
        source = to_onnx.lower(graph, weights)
        theirs = by_onnxruntime(source, images, tmp_path)
        ours = to_onnx.lower(graph, weights, precision="int8", ranges=ranges)
        functions = Counter(n.op["function"] for n in graph.nodes if n.op.kind == "activation")
        n_swish, n_sigmoid = functions["h_swish"], functions["h_sigmoid"]
        n_hard = n_swish + n_sigmoid
        expected = onnx_kinds(theirs)
        # Theirs leave the integers for a hard activation and come back; ours need not.
        expected.subtract(DequantizeLinear=n_hard, HardSigmoid=n_hard, QuantizeLinear=n_hard)
        expected.subtract(Mul=n_swish)
        expected.update(QLinearAdd=n_hard, QLinearMul=n_swish)
        assert onnx_kinds(ours) == +expected
        assert onnx_operators(ours).outside == ()
        values = evaluate(graph, weights, images[:1])
        nearness = [sqnr_db(values, run_onnx(model, images[:1])) for model in (ours, theirs)]
        assert nearness[0] > nearness[1] - REFERENCE_TOLERANCE_DB

    def test_ai_edge_quantizer(self, name: str, tmp_path: Path) -> None:
        graph, weights, images, ranges = self.prepared(name)
        theirs = by_ai_edge_quantizer(to_tflite.lower(graph, weights), images, tmp_path)
        ours = to_tflite.lower(graph, weights, precision="int8", ranges=ranges)
        expected = tflite_kinds(theirs)
        n_swish = expected.pop("HARD_SWISH", 0)  # theirs runs outside XNNPACK
        expected.update(ADD=n_swish, MUL=n_swish)
        assert tflite_kinds(ours) == expected
        assert tflite_operators(ours).outside == ()
        values = evaluate(graph, weights, images[:1])
        nearness = [sqnr_db(values, run_tflite(model, images[:1])) for model in (ours, theirs)]
        assert nearness[0] > nearness[1] - REFERENCE_TOLERANCE_DB

    def test_float16_converter(self, name: str) -> None:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        graph, weights, _, _ = self.prepared(name)
        source = onnx.load_from_string(to_onnx.lower(graph, weights))
        theirs = convert_float_to_float16(source, keep_io_types=True).SerializeToString()
        ours = to_onnx.lower(graph, weights, precision="float16")
        expected = onnx_kinds(theirs)
        n_clips = expected.pop("Clip", 0)
        expected.update(Min=n_clips)  # with a Relu, which the convolution takes along
        expected["Cast"] -= n_clips > 0  # there is one bound to widen instead of two
        assert onnx_kinds(ours) == +expected
        assert len(ours) < 0.7 * len(source.SerializeToString())


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("space_name", "n"),
    [
        ("mbv3_tiny", 2),
        ("ofa_mbv3_w1.0", 0),
        ("proxylessnas", 0),
        ("fbnet_cifar", 1),
        ("nas_bench_macro", 1),
        ("mnasnet", 2),
        ("nas_bench_201", 2),
        ("dpp_net_tiny", 2),
        ("monas_alexnet", 2),
        ("monas_condensenet", 2),
        ("resnet_tiny", 2),
    ],
)
def test_network_runs_what_its_pieces_run(
    runtime: str, precision: str, space_name: str, n: int
) -> None:
    space = small(space_name)
    rows = [space.largest(), *space.sample(n, np.random.default_rng(5))]
    outside = check_pieces(runtime, space, rows, precision=precision)
    assert precision == "float16" or outside == []


def test_codes_cross_the_borders_of_tflite_unless_float_is_asked() -> None:
    graph = peer_graphs()["relu6"]
    weights = random_weights(graph)
    own = tflite_operators(to_tflite.lower(graph, weights, precision="int8"))
    model = to_tflite.lower(graph, weights, precision="int8", quantised_io=False)
    floating = tflite_operators(model)
    assert own.compute == floating.compute
    assert Counter(floating.moves) == Counter(own.moves) + Counter(["QUANTIZE", "DEQUANTIZE"])
    detail = Interpreter(model_content=model).get_input_details()[0]
    assert (detail["name"], detail["dtype"]) == ("image", np.float32)


def test_codes_cross_the_borders_of_onnx_if_asked() -> None:
    graph = peer_graphs()["relu6"]
    weights = random_weights(graph)
    floating = onnx_operators(to_onnx.lower(graph, weights, precision="int8"))
    own = onnx_operators(to_onnx.lower(graph, weights, precision="int8", quantised_io=True))
    assert own.compute == floating.compute
    borders = ["QuantizeLinear", "DequantizeLinear"]
    assert Counter(floating.moves) == Counter(own.moves) + Counter(borders)


def test_what_onnxruntime_widens_is_named() -> None:
    """On x86 there is no float16 kernel; elsewhere there may be."""
    graph = peer_graphs()["relu6"]
    model = to_onnx.lower(graph, random_weights(graph), precision="float16")
    execution = onnx_operators(model)
    float32 = onnx_operators(to_onnx.lower(graph, random_weights(graph)))
    assert set(execution.outside) <= {"Conv", "Min", "GlobalAveragePool", "Mul", "Add"}
    assert execution.n_macs == float32.n_macs
    assert float32.outside == ()


def test_a_float_operator_in_an_int8_model_is_named() -> None:
    graph = expand(ops.activation((4, 5, 6), "relu"))
    model = to_onnx.lower(graph, {}, precision="int8")
    assert set(onnx_operators(model).outside) <= {"Relu"}


def test_float16_weights_are_read_through_dequantize() -> None:
    graph = peer_graphs()["sampled"]
    weights = random_weights(graph)
    half, whole = (to_tflite.lower(graph, weights, precision=p) for p in ("float16", "float32"))
    kinds = tflite_kinds(half)
    n_constants = kinds.pop("DEQUANTIZE")
    assert kinds == tflite_kinds(whole)
    assert n_constants >= len(weights)
    assert len(half) < 0.7 * len(whole)
    content = schema.ModelT.InitFromPackedBuf(half)
    assert b"reduced_precision_support" in [one.name for one in content.metadata]
    assert tflite_operators(half) == tflite_operators(whole)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere values may be in float16")
def test_float16_rounds_the_weights_and_nothing_else() -> None:
    """The sixth of a hard sigmoid, rounded too, would tell in every gate."""
    graph = peer_graphs()["sampled"]
    weights = random_weights(graph)
    rounded = {name: one.astype(np.float16).astype(np.float32) for name, one in weights.items()}
    inputs = np.random.default_rng(0).normal(size=(1, *graph.in_shape)).astype(np.float32)
    half = run_tflite(to_tflite.lower(graph, weights, precision="float16"), inputs)
    whole = run_tflite(to_tflite.lower(graph, rounded), inputs)
    np.testing.assert_array_equal(half, whole)


def test_operator_versions_are_those_that_take_int8() -> None:
    graph = peer_graphs()["sampled"]
    model = to_tflite.lower(graph, random_weights(graph), precision="int8")
    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    content = schema.ModelT.InitFromPackedBuf(model)
    versions = {names[one.builtinCode]: one.version for one in content.operatorCodes}
    assert versions["CONV_2D"] == versions["DEPTHWISE_CONV_2D"] == 3
    assert versions["FULLY_CONNECTED"] == 4
    assert versions["ADD"] == versions["MUL"] == versions["MEAN"] == 2


@pytest.mark.parametrize("lowering", [to_onnx, to_tflite])
class TestBothFormats:
    graph = expand(conv_block((3, 8, 8), 4, kernel=3, stride=1, activation="h_swish"))

    @pytest.mark.parametrize("precision", ["float16", "int8"])
    def test_same_arguments_give_same_bytes(self, lowering: Any, precision: str) -> None:
        weights = random_weights(self.graph)
        before = {name: value.copy() for name, value in weights.items()}
        first = lowering.lower(self.graph, weights, precision=precision)
        assert first == lowering.lower(self.graph, weights, precision=precision)
        assert all((weights[name] == value).all() for name, value in before.items())

    def test_unknown_precision(self, lowering: Any) -> None:
        with pytest.raises(ExportError, match="'int4' asked; allowed: float32, float16, int8"):
            lowering.lower(self.graph, random_weights(self.graph), precision="int4")

    def test_incomplete_ranges(self, lowering: Any) -> None:
        weights = random_weights(self.graph)
        with pytest.raises(ExportError, match="'conv' has None"):
            lowering.lower(
                self.graph, weights, precision="int8", ranges={"input": (0, 1), "conv_act": (0, 1)}
            )


def test_onnx_files_pass_the_checker() -> None:
    graph = peer_graphs()["sampled"]
    for precision in ("float16", "int8"):
        model = to_onnx.lower(graph, random_weights(graph), precision=precision)
        onnx.checker.check_model(model, full_check=True)


def test_an_onnx_operator_without_an_int8_form_is_named() -> None:
    node = onnx.helper.make_node("Softmax", ["image"], ["logits"], name="odd")
    with pytest.raises(ExportError, match="odd: ONNX operator Softmax has no int8 lowering"):
        onnx_int8.quantised(
            [node],
            [],
            {"image": (0, 1), "logits": (0, 1)},
            input_name="image",
            output_name="logits",
            quantised_io=False,
        )


def test_an_onnx_value_without_a_range_is_named() -> None:
    node = onnx.helper.make_node("Add", ["image", "image"], ["logits"], name="sum")
    with pytest.raises(ExportError, match="range of 'logits'"):
        onnx_int8.quantised(
            [node],
            [],
            {"image": (0, 1)},
            input_name="image",
            output_name="logits",
            quantised_io=False,
        )


@pytest.mark.parametrize(
    ("kind", "ranges", "message"),
    [
        ("SOFTMAX", {"x": (0.0, 1.0), "y": (0.0, 1.0)}, "y: TFLite operator SOFTMAX has no int8"),
        ("RELU", {"x": (0.0, 1.0)}, "range of 'y'"),
    ],
)
def test_what_tflite_cannot_quantise_is_named(
    kind: str, ranges: dict[str, tuple[float, float]], message: str
) -> None:
    model = FlatModel()
    x, y = (model.tensor(name, (1, 4)) for name in ("x", "y"))
    model.operator(kind, [x], y)
    with pytest.raises(ExportError, match=message):
        tflite_int8.quantise(model, ranges, entry=x, exit_=y, quantised_io=True)
