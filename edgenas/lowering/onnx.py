"""A graph as an ONNX model: batch 1, channels first, batch norms folded.

Encodings are those that onnxruntime's CPU optimiser turns into the fewest and fastest kernels
(docs/adr/0003-lowering-choices.md has the figures): HardSwish, HardSigmoid, Relu and Clip follow
their convolution and are fused into its blocked (NCHWc) kernel. What is written is float32;
`onnx_int8`, `onnx_float16` and `onnx_weights` turn that into their precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.core.ops import POOLS, Graph, Node, pool_borders
from edgenas.lowering.onnx_float16 import halved
from edgenas.lowering.onnx_int8 import quantised
from edgenas.lowering.onnx_int8_symmetric import quantised_symmetric
from edgenas.lowering.onnx_weights import with_weight_codes
from edgenas.lowering.plan import (
    check,
    check_precision,
    deployed,
    first_window,
    node_weights,
)
from edgenas.lowering.quantisation import Ranges, value_ranges
from edgenas.lowering.weights import Weights

if TYPE_CHECKING:
    from onnx import NodeProto

OPSET = 17
"""Default operator set: widely read, and HardSwish (of 14) is in it."""
BATCH = "batch"
"""Name of the dimension that counts images, where their number is left open."""
ENTRY = "(entered)"
"""Name of the value that is the input read by `needs_layout` graphs."""
SHARES = ".shares"
"""Ends the names of weights that average pixels in a convolution."""
OPSETS = range(14, 25)
"""Operator sets in which the operators written here mean the same."""


def lower(  # noqa: PLR0913
    graph: Graph,
    weights: Weights,
    *,
    precision: str = "float32",
    ranges: Ranges | None = None,
    quantised_io: bool = False,
    symmetric: bool = False,
    input_name: str = "image",
    output_name: str = "logits",
    opset: int = OPSET,
    batch: int | None = 1,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """Return the bytes of an ONNX model of `graph`; the same arguments give the same bytes.

    The input has shape (batch, channels, height, width). Input and output are float32 in every
    precision, but for int8 with `quantised_io`.

    Args:
        graph: primitives with one input.
        weights: float32, whatever the precision.
        precision: float32, float16, int8 or weight_int8.
        ranges: of the values, for int8; estimated where none are given.
        quantised_io: let an int8 model take and return uint8 codes.
        symmetric: write int8 as TensorRT takes it (`onnx_int8_symmetric`).
        input_name: name of the input.
        output_name: name of the output.
        opset: version of the operator set.
        batch: how many images the input holds; None: any number, the dimension ``batch``.
        metadata: becomes the model's properties.

    Raises:
        ExportError: the weights or the ranges do not fit, an operator has no int8 form, or the
            precision or the operator set is not allowed.
        MissingExtraError: onnx is not installed.
    """
    if symmetric and (precision != "int8" or quantised_io):
        raise ExportError("symmetric codes are a form of int8 with float32 input and output")
    if batch is not None and batch < 1:
        raise ExportError(f"a batch of {batch} images asked; allowed: 1 or more, or any number")
    if opset not in OPSETS:
        raise ExportError(f"ONNX opset {opset} asked; allowed: {OPSETS[0]} to {OPSETS[-1]}")
    graph = deployed(graph)
    check(graph, weights)
    check_precision(precision)
    onnx, helper = require("onnx"), require("onnx.helper")
    writer = _Writer(
        weights,
        input_name,
        output_name,
        form="float" if precision != "int8" else "symmetric" if symmetric else "codes",
        batch=batch,
    )
    if precision != "int8" and needs_layout(graph):
        writer.enter(graph.in_shape[0])
    for node in graph.nodes:
        writer.write(node)
    writer.finish(graph)
    spans = value_ranges(graph, weights, ranges) if precision == "int8" else None
    nodes, initializers = writer.in_precision(
        precision, graph, spans, quantised_io=quantised_io, symmetric=symmetric
    )
    codes = precision == "int8" and quantised_io
    io_type = onnx.TensorProto.UINT8 if codes else onnx.TensorProto.FLOAT
    opsets = [helper.make_opsetid("", opset)]
    first: int | str = BATCH if batch is None else batch
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "edgenas",
            [helper.make_tensor_value_info(input_name, io_type, (first, *graph.in_shape))],
            [helper.make_tensor_value_info(output_name, io_type, (first, *graph.out_shape))],
            initializer=initializers,
        ),
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),  # so that older readers take it
        producer_name="edgenas",
    )
    helper.set_model_props(model, dict(sorted((metadata or {}).items())))
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def needs_layout(graph: Graph) -> bool:
    """Return whether engines run other kernels where the input is not in their own layout.

    onnxruntime takes a sum and the activation behind it over into a convolution only if both
    summands come out of its blocked kernels: always in a network, not where a block is timed alone.
    """
    sums = {n.name for n in graph.nodes if n.op.kind == "add" and "input" in n.inputs}
    return any(n.op.kind == "activation" and n.inputs[0] in sums for n in graph.nodes)


class _Writer:
    """Collects ONNX nodes and initialisers; values keep our names but for input and output."""

    def __init__(
        self,
        weights: Weights,
        input_name: str,
        output_name: str,
        *,
        form: Literal["float", "codes", "symmetric"],
        batch: int | None,
    ) -> None:
        # A shape's 0 copies the dimension: written only where it is not known, so that one image's
        # model is what it always was.
        self._batch = batch or 0
        self._in_codes, self._is_int8 = form == "codes", form != "float"
        self.weights, self.input_name, self.output_name = weights, input_name, output_name
        self.nodes: list[NodeProto] = []
        self.initializers: list[Any] = []
        self._helper, self._numpy = require("onnx.helper"), require("onnx.numpy_helper")
        self._constants: set[str] = set()
        self._entry = input_name

    def enter(self, channels: int) -> None:
        """Let everything read the input through a convolution that changes nothing."""
        self._entry, weight = ENTRY, f"{ENTRY}.weight"
        self._initializer(weight, np.ones((channels, 1, 1, 1)))
        window = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4}
        self._node("Conv", [self.input_name, weight], ENTRY, **window, group=channels)

    def write(self, node: Node) -> None:
        inputs = [self._entry if name == "input" else name for name in node.inputs]
        output = node.name
        if node.op.kind == "conv2d":
            self._conv2d(node, inputs[0], output)
        elif node.op.kind == "linear":
            self._linear(node, inputs[0], output)
        elif node.op.kind == "activation":
            self._activation(str(node.op["function"]), inputs[0], output)
        elif node.op.kind in POOLS:
            self._pool2d(node, inputs[0], output)
        elif node.op.kind == "channel_shuffle":
            self._channel_shuffle(node, inputs[0], output)
        elif node.op.kind == "concat":
            self._node("Concat", inputs, output, axis=1)
        elif node.op.kind == "global_avg_pool":
            self._global_pool(node, inputs[0], output)
        else:
            kinds = {"add": "Add", "multiply": "Mul"}
            self._node(kinds[node.op.kind], inputs, output)

    def finish(self, graph: Graph) -> None:
        """Give the last value the output's name.

        onnxruntime fuses h_swish into the convolution before it, except where its result is the
        model's output: a block that ends so would be timed with kernels that no network runs.
        A Reshape to the same shape, which moves nothing, stands between them then.
        """
        last = graph.nodes[-1]
        if last.op.kind == "activation" and last.op["function"] == "h_swish":
            shape = self._shape(f"{last.name}.shape", (self._batch, *graph.out_shape))
            self._node("Reshape", [last.name, shape], self.output_name)
        else:
            self.nodes[-1].output[0] = self.output_name

    def in_precision(
        self,
        precision: str,
        graph: Graph,
        ranges: Ranges | None,
        *,
        quantised_io: bool,
        symmetric: bool,
    ) -> tuple[list[NodeProto], list[Any]]:
        """Return the nodes and initialisers in `precision`; int8 comes with `ranges`."""
        names = {"input_name": self.input_name, "output_name": self.output_name}
        if precision == "float16":
            return halved(self.nodes, self.initializers, **names)
        if precision == "weight_int8":
            return with_weight_codes(self.nodes, self.initializers)
        if ranges is None:
            return self.nodes, self.initializers
        ends = {self.input_name: "input", self.output_name: graph.nodes[-1].name}
        spans = {**ranges, **{name: ranges[value] for name, value in ends.items()}}
        if symmetric:
            return quantised_symmetric(self.nodes, self.initializers, spans)
        return quantised(self.nodes, self.initializers, spans, **names, quantised_io=quantised_io)

    def _conv2d(self, node: Node, source: str, output: str) -> None:
        op, kernel = node.op, node.op.integer("kernel")
        self._node(
            "Conv",
            [source, *self._arrays(node)],
            output,
            kernel_shape=[kernel, kernel],
            strides=[op.integer("stride")] * 2,
            pads=[kernel // 2] * 4,
            group=op.integer("groups"),
        )

    def _linear(self, node: Node, source: str, output: str) -> None:
        if len(node.op.in_shape) > 1:
            flat = f"{node.name}.flat"
            self._node("Flatten", [source], flat, axis=1)
            source = flat
        self._node("Gemm", [source, *self._arrays(node)], output, transB=1)

    def _pool2d(self, node: Node, source: str, output: str) -> None:
        kernel, stride = node.op.integer("kernel"), node.op.integer("stride")
        near, far = zip(*pool_borders(node.op), strict=True)
        window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2}
        # What ceil_mode would say is said by the padding, which is never counted, too.
        pads = [*near, *far]
        if node.op.kind == "max_pool2d":
            self._node("MaxPool", [source], output, pads=pads, **window)
        elif self._in_codes and not any(near) and (kernel == 2 or not any(far)):
            self._averaging_conv(node, source, far, window)
        else:
            self._node("AveragePool", [source], output, pads=pads, **window)

    def _global_pool(self, node: Node, source: str, output: str) -> None:
        side = None if self._is_int8 else first_window(node.op)
        if side is not None:
            window = {"kernel_shape": [side] * 2, "strides": [side] * 2, "pads": [0] * 4}
            self._node("AveragePool", [source], f"{node.name}.windows", **window)
            source = f"{node.name}.windows"
        self._node("GlobalAveragePool", [source], output)

    def _averaging_conv(
        self, node: Node, source: str, far: tuple[int, ...], window: dict[str, list[int]]
    ) -> None:
        """Average with equal weights: onnxruntime pools codes many times as slowly.

        Of two pixels, a window over the end has one: repeating it changes no mean.
        """
        if any(far):
            pads = np.array([0] * 6 + [*far], np.int64)
            self.initializers.append(self._numpy.from_array(pads, f"{node.name}.ends"))
            source, inputs = f"{node.name}.whole", [source, f"{node.name}.ends"]
            self._node("Pad", inputs, source, mode="edge")
        channels, kernel = node.op.in_shape[0], node.op.integer("kernel")
        shares = f"{node.name}{SHARES}"
        self._initializer(shares, np.full((channels, 1, kernel, kernel), kernel**-2.0))
        self._node("Conv", [source, shares], node.name, **window, pads=[0] * 4, group=channels)

    def _channel_shuffle(self, node: Node, source: str, output: str) -> None:
        channels, height, width = node.op.in_shape
        groups = node.op.integer("groups")
        split, turned = f"{output}.split", f"{output}.turned"
        shape = self._shape(
            f"{split}.shape", (self._batch, groups, channels // groups, height * width)
        )
        self._node("Reshape", [source, shape], split)
        self._node("Transpose", [split], turned, perm=[0, 2, 1, 3])
        shape = self._shape(f"{output}.shape", (self._batch, channels, height, width))
        self._node("Reshape", [turned, shape], output)

    def _activation(self, function: str, source: str, output: str) -> None:
        if function == "relu":
            self._node("Relu", [source], output)
        elif function == "relu6":
            self._node("Clip", [source, self._scalar(0.0), self._scalar(6.0)], output)
        elif function == "h_swish":
            self._node("HardSwish", [source], output)
        elif function == "h_sigmoid":
            self._node("HardSigmoid", [source], output, alpha=1 / 6, beta=0.5)
        elif function == "sigmoid":
            self._node("Sigmoid", [source], output)
        else:  # swish, x * sigmoid(x); ONNX has a Swish only since opset 24
            self._node("Sigmoid", [source], f"{output}.gate")
            self._node("Mul", [source, f"{output}.gate"], output)

    def _arrays(self, node: Node) -> list[str]:
        """Add the weights of `node` as initialisers; return their names."""
        names = tuple(node_weights(node))
        for name in names:
            self._initializer(name, self.weights[name])
        return list(names)

    def _scalar(self, value: float) -> str:
        name = f"constant_{value:g}"
        if name not in self._constants:
            self._constants.add(name)
            self._initializer(name, np.asarray(value))
        return name

    def _shape(self, name: str, sizes: tuple[int, ...]) -> str:
        self.initializers.append(self._numpy.from_array(np.array(sizes, np.int64), name))
        return name

    def _initializer(self, name: str, value: npt.NDArray[Any]) -> None:
        array = np.ascontiguousarray(value, dtype=np.float32)
        self.initializers.append(self._numpy.from_array(array.reshape(value.shape), name))

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(self._helper.make_node(kind, inputs, [output], name=output, **attributes))
