"""The operators that onnxruntime's CPU engine runs for an ONNX model, after its optimiser."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.core.ops import POOLS, Shape
from edgenas.lowering.onnx import ENTRY, SHARES
from edgenas.lowering.onnx_session import one_core_options
from edgenas.lowering.optimised import Execution, RunOperator

_JOINS = ("Concat", "QLinearConcat")
_LAYOUTS = (*_JOINS, "ReorderInput", "ReorderOutput", "Flatten", "Reshape", "Transpose", "Pad")
_CODES = ("QuantizeLinear", "DequantizeLinear", "Cast")
_MOVES = (*_LAYOUTS, *_CODES)
_CONVOLUTIONS = ("Conv", "FusedConv", "QLinearConv")
_LINEAR = ("Gemm", "FusedGemm", "QGemm")
_MAX_POOLS = ("MaxPool", "NhwcMaxPool")
_KINDS = {
    "Add": "add",
    "QLinearAdd": "add",
    "Mul": "multiply",
    "QLinearMul": "multiply",
    "GlobalAveragePool": "global_avg_pool",
    "QLinearGlobalAveragePool": "global_avg_pool",
    **dict.fromkeys(_MAX_POOLS, "max_pool2d"),
    "AveragePool": "avg_pool2d",
    "QLinearAveragePool": "avg_pool2d",
}
_BLOCKED = "com.microsoft.nchwc"
_SUM_INPUT = 3  # a float convolution with a fourth input adds it to its result
_WIDENED = "InsertedPrecisionFreeCast_"
"""In the names of what onnxruntime runs in float32 because it has no float16 kernel for it."""
_RENAMED = re.compile(rf"^{_WIDENED}|^fused |_nchwc$|_token_\d+$")


def onnx_operators(model: bytes) -> Execution:
    """Return what onnxruntime runs for `model` on a CPU like this one, all optimisations on.

    The runtime pads channels to the width of its blocked kernels; shapes and MACs here are those
    of the network, traced through the model's own names. The sum that a convolution takes over
    from a shortcut is listed as the ``add`` it was. Changes of precision are moves; `outside` names
    the operators of a float16 or int8 model that run in float32, for lack of a kernel.

    Raises:
        ExportError: onnxruntime refuses the model, or the optimised one cannot be traced.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    onnx, optimised = require("onnx"), _optimised(model)
    source = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    tracer = _Tracer(source)
    for node in optimised.graph.node:
        tracer.visit(node)
    return Execution(tuple(tracer.compute), tuple(tracer.moves), tuple(tracer.outside))


def _optimised(model: bytes) -> Any:
    runtime, onnx = require("onnxruntime"), require("onnx")
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
        path = Path(folder) / "optimised.onnx"
        options = one_core_options()  # also silent that the optimised file fits this CPU only
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(path)
        try:
            runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the engine's errors share no class of their own
            raise ExportError(f"onnxruntime refuses the model: {error}") from error
        return onnx.load(path)


class _Tracer:
    """Follows the optimised graph in order; knows every value's shape in the network."""

    def __init__(self, source: Any) -> None:
        graph = source.graph
        values = [*graph.input, *graph.value_info, *graph.output]
        self.shapes: dict[str, Shape] = {value.name: _shape(value) for value in values}
        self.layers = _layers(graph)
        self.groups = _groups(graph)
        self.flat = {
            node.output[0]: self.shapes[node.input[0]]
            for node in graph.node
            if node.op_type == "Gemm"
        }
        self.averages = {
            node.output[0]
            for node in graph.node
            if node.op_type == "Conv" and SHARES in node.input[1]
        }
        self.compute: list[RunOperator] = []
        self.moves: list[str] = []
        self.outside: list[str] = []
        types = require("onnx").TensorProto
        self.codes = {
            value.name
            for value in graph.input
            if value.type.tensor_type.elem_type in (types.UINT8, types.INT8)
        }
        # Weights alone may be codes, too: then nothing is meant to run in integers.
        self.in_integers = any(node.op_type == "QuantizeLinear" for node in graph.node)
        self._helper = require("onnx.helper")

    def visit(self, node: Any) -> None:
        if node.input[0] not in self.shapes and node.op_type in _CODES:
            return  # of a constant: done once, when the model is loaded
        attributes = {a.name: self._helper.get_attribute_value(a) for a in node.attribute}
        parts = [self.shapes[name] for name in node.input if name in self.shapes]
        in_shape = parts[0]
        layout = "nhwc" if attributes.get("channels_last") else "nchw"
        layout = "nchwc" if node.domain == _BLOCKED else layout
        if node.op_type in _MOVES or _RENAMED.sub("", node.name) == ENTRY:
            self.moves.append(node.op_type)
            if node.op_type == "Pad":  # what reads it reads the network's value
                self.shapes[node.output[0]] = in_shape
            if node.op_type in _JOINS:
                joined = (sum(part[0] for part in parts), *in_shape[1:])
                self.shapes[node.output[0]] = joined
            self.shapes.setdefault(node.output[0], in_shape)
            if not self._note_codes(node) and node.op_type == "Concat" and self.in_integers:
                self.outside.append(node.op_type)
            return
        if node.op_type in _CONVOLUTIONS:
            operator = self._conv(node, attributes, layout)
        elif node.op_type in _LINEAR:
            operator = self._linear(node, attributes)
        else:
            operator = _pool_or_elements(node.op_type, in_shape, attributes, layout)
        self.compute.append(operator)
        self.shapes[node.output[0]] = operator.out_shape
        widened = _WIDENED in node.name or _WIDENED in node.output[0]
        if widened or (self.in_integers and not self._note_codes(node)):
            self.outside.append(node.op_type)
        fused = node.op_type in ("Conv", "FusedConv")
        if fused and len(node.input) > _SUM_INPUT and node.input[_SUM_INPUT]:
            self.compute.append(RunOperator("add", operator.out_shape, operator.out_shape))

    def _note_codes(self, node: Any) -> bool:
        """Return, and remember, whether a node leaves integers."""
        # The greatest of codes is the code of the greatest: one kernel does for all types.
        keeps = node.op_type in (*_LAYOUTS, *_MAX_POOLS) and node.input[0] in self.codes
        leaves = keeps or node.op_type.startswith("Q")
        if leaves:
            self.codes.add(node.output[0])
        return leaves

    def _conv(self, node: Any, attributes: dict[str, Any], layout: str) -> RunOperator:
        in_shape, out_shape = self.shapes[node.input[0]], self._layer(node)
        kernel, stride = attributes["kernel_shape"][0], attributes["strides"][0]
        if self._source(node) in self.averages:
            kind = "avg_pool2d"
            return RunOperator(kind, in_shape, out_shape, kernel, stride, layout=layout)
        # The engine's own depthwise groups count the padding of channels, too.
        groups = self.groups[self._source(node)]
        macs = out_shape[0] * out_shape[1] * out_shape[2] * kernel**2 * in_shape[0] // groups
        return RunOperator(
            "conv2d",
            in_shape,
            out_shape,
            kernel=kernel,
            stride=stride,
            groups=groups,
            activation=attributes.get("activation", b"").decode(),
            layout=layout,
            n_macs=macs,
        )

    def _linear(self, node: Any, attributes: dict[str, Any]) -> RunOperator:
        # What was flattened is known by its shape before: the engine's moves are not traced.
        (in_features,), out_shape = self.flat[self._source(node)], self._layer(node)
        activation = attributes.get("activation", b"").decode()
        macs = in_features * out_shape[0]
        return RunOperator("linear", (in_features,), out_shape, activation=activation, n_macs=macs)

    def _layer(self, node: Any) -> Shape:
        """Return the shape that the layer's node of the model had before the optimiser."""
        return self.shapes[self._source(node)]

    def _source(self, node: Any) -> str:
        """Return the output of the layer that an optimised node comes from."""
        name = _RENAMED.sub("", node.name)
        if name not in self.layers:
            raise ExportError(
                f"onnxruntime {require('onnxruntime').__version__} renamed the layer of its "
                f"optimised node {node.name!r}; known layers: {', '.join(self.layers)}"
            )
        return self.layers[name]


def _pool_or_elements(
    op_type: str, in_shape: Shape, attributes: dict[str, Any], layout: str
) -> RunOperator:
    kind = _KINDS.get(op_type, op_type)
    if kind == "global_avg_pool":
        return RunOperator(kind, in_shape, (in_shape[0], 1, 1), layout=layout)
    if kind not in POOLS:  # element-wise kernels do not know the layout of what they work on
        return RunOperator(kind, in_shape, in_shape)
    kernel, stride = attributes["kernel_shape"][0], attributes["strides"][0]
    borders = zip(attributes["pads"][:2], attributes["pads"][2:], strict=True)
    sizes = [
        (size + near + far - kernel) // stride + 1
        for size, (near, far) in zip(in_shape[1:], borders, strict=True)
    ]
    layout = "nhwc" if op_type.startswith("Nhwc") else layout
    return RunOperator(
        kind, in_shape, (in_shape[0], *sizes), kernel=kernel, stride=stride, layout=layout
    )


def _layers(graph: Any) -> dict[str, str]:
    """Return the output of a layer for every name that its optimised node may go by.

    That is the layer's own name, that of its output, or those of an activation that it took over.
    """
    outputs = {node.output[0] for node in graph.node if node.op_type in ("Conv", "Gemm")}
    names: dict[str, str] = {}
    for node in graph.node:
        source = node.output[0] if node.output[0] in outputs else node.input[0]
        if source in outputs:
            names |= {node.name: source, node.output[0]: source}
    return names


def _groups(graph: Any) -> dict[str, int]:
    """Return the groups of every convolution by its output."""
    return {
        node.output[0]: next((a.i for a in node.attribute if a.name == "group"), 1)
        for node in graph.node
        if node.op_type == "Conv"
    }


def _shape(value: Any) -> Shape:
    return tuple(size.dim_value for size in value.type.tensor_type.shape.dim)[1:]
