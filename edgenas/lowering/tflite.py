"""A graph as a TFLite flatbuffer: batch 1, channels last, batch norms folded.

Every operator is one that XNNPACK takes, and few move data about: weights are stored as the
kernels read them, activations ride on the operator before them where the format allows it, and
padding that SAME cannot say is a constant PAD, which XNNPACK folds into the convolution after it.
The choices and their figures are in docs/adr/0003-lowering-choices.md. What is written is float32;
`tflite_int8` and `tflite_float16` turn that into their precision.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.extras import require
from edgenas.core.ops import POOLS, Graph, Node, OpSpec, Shape, out_shape
from edgenas.lowering import tflite_float16, tflite_int8, tflite_weights
from edgenas.lowering.plan import (
    Step,
    check,
    check_precision,
    deployed,
    first_window,
    node_weights,
    steps,
)
from edgenas.lowering.quantisation import Ranges, value_ranges
from edgenas.lowering.tflite_file import FlatModel
from edgenas.lowering.tflite_windows import pad, pool_source, same_is_symmetric
from edgenas.lowering.weights import Weights

SIGNATURE = "serving_default"
"""Name of the one signature; its input and output have the names given to `lower`."""

_FUSED = {"relu": "RELU", "relu6": "RELU6"}
_CHANNELS = 3
"""Axis of the channels."""

_NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "h_sigmoid")


def lower(  # noqa: PLR0913
    graph: Graph,
    weights: Weights,
    *,
    precision: str = "float32",
    ranges: Ranges | None = None,
    quantised_io: bool = True,
    input_name: str = "image",
    output_name: str = "logits",
    metadata: dict[str, str] | None = None,
) -> bytes:
    """Return the bytes of a TFLite model of `graph`; the same arguments give the same bytes.

    The input has shape (1, height, width, channels).

    Args:
        graph: primitives with one input.
        weights: float32, whatever the precision.
        precision: float32, float16 (of the weights), int8 or weight_int8 (of the weights).
        ranges: of the values, for int8; estimated where none are given.
        quantised_io: whether an int8 model takes and returns int8 codes or, False, float32.
        input_name: name of the input.
        output_name: name of the output.
        metadata: stored in the model by name.

    Raises:
        ExportError: the weights or the ranges do not fit, an operator has no int8 form, or the
            precision is not allowed.
        MissingExtraError: ai-edge-litert is not installed.
    """
    graph = deployed(graph)
    check(graph, weights)
    check_precision(precision)
    writer = _Writer(weights, is_int8=precision == "int8")
    source = writer.values["input"] = writer.model.tensor(input_name, channels_last(graph.in_shape))
    for step in steps(graph):
        writer.write(step)
    result = writer.values[steps(graph)[-1].output]
    metadata = dict(metadata or {})
    if precision == "float16":
        tflite_float16.halve(writer.model)
        metadata |= tflite_float16.METADATA
    elif precision == "weight_int8":
        tflite_weights.encode_weights(writer.model)
    elif precision == "int8":
        spans = value_ranges(graph, weights, ranges)
        spans[input_name] = spans["input"]
        source, result = tflite_int8.quantise(
            writer.model, spans, entry=source, exit_=result, quantised_io=quantised_io
        )
    return writer.model.serialise(
        inputs={input_name: source},
        outputs={output_name: result},
        signature=SIGNATURE,
        metadata=metadata,
    )


def channels_last(shape: Shape) -> tuple[int, ...]:
    """Return the tensor shape, batch 1, of a value that we describe channels first."""
    return (1, *shape[1:], shape[0])


class _Writer:
    """Turns steps into TFLite operators; `values` maps our value names to tensor indices."""

    def __init__(self, weights: Weights, *, is_int8: bool) -> None:
        self.weights, self._is_int8 = weights, is_int8
        self.model = FlatModel()
        self.values: dict[str, int] = {}
        self._not_negative: set[str] = set()
        self._schema = require("ai_edge_litert.schema_py_generated")

    def write(self, step: Step) -> None:
        node = step.node
        inputs = [self.values[name] for name in node.inputs]
        function = step.function
        if node.op.kind == "activation":
            function = str(node.op["function"])
            self._activation(function, inputs[0], node.name, node.op.in_shape)
        else:
            self._compute(step, inputs)
        if function in _NOT_NEGATIVE:
            self._not_negative.add(step.output)

    def _compute(self, step: Step, inputs: list[int]) -> None:
        node = step.node
        fused = self._fused(_FUSED.get(step.function, "NONE"))
        name = step.output if step.function in _FUSED else node.name
        if node_weights(node):
            arrays = [self.weights[array] for array in node_weights(node)]
            self._weighted(node, inputs[0], name, arrays=arrays, fused=fused)
        elif node.op.kind == "global_avg_pool":
            self._global_pool(node, inputs[0], name)
        elif node.op.kind == "add":
            options = self._schema.AddOptionsT(fusedActivationFunction=fused)
            self._operator("ADD", inputs, name, node.op, options)
        elif node.op.kind == "concat":
            name = node.name
            options = self._schema.ConcatenationOptionsT(axis=_CHANNELS)
            self._operator("CONCATENATION", inputs, name, node.op, options)
        elif node.op.kind == "channel_shuffle":
            name = node.name  # nothing fuses into a move of data
            self._channel_shuffle(node, inputs[0])
        elif node.op.kind in POOLS:
            name = node.name
            self._pool2d(node, inputs[0])
        else:
            options = self._schema.MulOptionsT(fusedActivationFunction=fused)
            self._operator("MUL", inputs, name, node.op, options)
        if step.activation is not None and name != step.output:
            shape = out_shape(node.op)
            self._activation(step.function, self.values[name], step.output, shape)

    def _weighted(
        self, node: Node, source: int, name: str, *, arrays: list[npt.NDArray[Any]], fused: int
    ) -> None:
        op = node.op
        bias = arrays[1] if len(arrays) > 1 else np.zeros(arrays[0].shape[0])
        bias_index = self.model.constant(f"{node.name}.bias", bias.astype(np.float32))
        if op.kind == "linear":
            weight = _channels_last_columns(arrays[0], op.in_shape)
            index = self.model.constant(f"{node.name}.weight", weight)
            options = self._schema.FullyConnectedOptionsT(fusedActivationFunction=fused)
            self._operator("FULLY_CONNECTED", [source, index, bias_index], name, op, options)
            return
        padding, source = self._padded(node, source)
        stride = op.integer("stride")
        depthwise = op.integer("groups") == op.in_shape[0] > 1
        if depthwise:
            # (out, 1, kernel, kernel) to (1, kernel, kernel, out): output c * multiplier + m.
            weight = arrays[0].transpose(1, 2, 3, 0)
            options = self._schema.DepthwiseConv2DOptionsT(
                depthMultiplier=op.integer("out_channels") // op.in_shape[0]
            )
        else:
            weight = arrays[0].transpose(0, 2, 3, 1)
            options = self._schema.Conv2DOptionsT()
        options.padding, options.fusedActivationFunction = padding, fused
        options.strideW = options.strideH = stride
        index = self.model.constant(
            f"{node.name}.weight", np.ascontiguousarray(weight, dtype=np.float32)
        )
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        self._operator(kind, [source, index, bias_index], name, op, options)

    def _global_pool(self, node: Node, source: int, name: str) -> None:
        side = None if self._is_int8 else first_window(node.op)
        if side is not None:
            channels, height, width = node.op.in_shape
            windows = (1, height // side, width // side, channels)
            index = self.model.tensor(f"{node.name}.windows", windows)
            padding = self._schema.Padding.VALID
            options = self._schema.Pool2DOptionsT(
                padding=padding, strideW=side, strideH=side, filterWidth=side, filterHeight=side
            )
            self.model.operator("AVERAGE_POOL_2D", [source], index, options)
            source = index
        axes = self.model.constant("height_width", np.array([1, 2], np.int32))
        options = self._schema.ReducerOptionsT(keepDims=True)
        self._operator("MEAN", [source, axes], name, node.op, options)

    def _pool2d(self, node: Node, source: int) -> None:
        kernel, stride = node.op.integer("kernel"), node.op.integer("stride")
        not_negative = node.inputs[0] in self._not_negative
        padding, source = pool_source(self.model, node, source, not_negative=not_negative)
        options = self._schema.Pool2DOptionsT(
            padding=getattr(self._schema.Padding, padding),
            strideW=stride,
            strideH=stride,
            filterWidth=kernel,
            filterHeight=kernel,
        )
        kind = "MAX_POOL_2D" if node.op.kind == "max_pool2d" else "AVERAGE_POOL_2D"
        self._operator(kind, [source], node.name, node.op, options)

    def _channel_shuffle(self, node: Node, source: int) -> None:
        channels, height, width = node.op.in_shape
        groups = node.op.integer("groups")
        parts, pixels = (groups, channels // groups), height * width
        order = self.model.constant("swap_parts", np.array([0, 1, 3, 2], np.int32))
        split = self._reshape(source, f"{node.name}.split", (1, pixels, *parts))
        turned = self.model.tensor(f"{node.name}.turned", (1, pixels, *reversed(parts)))
        self.model.operator("TRANSPOSE", [split, order], turned, self._schema.TransposeOptionsT())
        self.values[node.name] = self._reshape(turned, node.name, (1, height, width, channels))

    def _reshape(self, source: int, name: str, shape: tuple[int, ...]) -> int:
        sizes = np.array(shape, np.int32)
        index = self.model.tensor(name, shape)
        inputs = [source, self.model.constant(f"{name}.shape", sizes)]
        self.model.operator("RESHAPE", inputs, index, self._schema.ReshapeOptionsT(newShape=sizes))
        return index

    def _padded(self, node: Node, source: int) -> tuple[int, int]:
        """Return the padding option and the tensor that the convolution reads."""
        op = node.op
        kernel, stride = op.integer("kernel"), op.integer("stride")
        padding = self._schema.Padding
        if kernel // 2 == 0:
            return padding.VALID, source
        if all(same_is_symmetric(size, kernel=kernel, stride=stride) for size in op.in_shape[1:]):
            return padding.SAME, source
        border = kernel // 2
        return padding.VALID, pad(self.model, source, ((border, border),) * 2, node.name)

    def _activation(self, function: str, source: int, name: str, shape: Shape) -> None:
        tensor_shape = channels_last(shape)

        def add(kind: str, inputs: list[int], output: str, options: Any = None) -> int:
            index = self.values[output] = self.model.tensor(output, tensor_shape)
            self.model.operator(kind, inputs, index, options)
            return index

        if function in _FUSED:
            add(_FUSED[function], [source], name)
        elif function == "h_swish":
            add("HARD_SWISH", [source], name, self._schema.HardSwishOptionsT())
        elif function == "sigmoid":
            add("LOGISTIC", [source], name)
        elif function == "swish":
            gate = add("LOGISTIC", [source], f"{name}.gate")
            add("MUL", [source, gate], name, self._schema.MulOptionsT())
        else:  # h_sigmoid; XNNPACK refuses the RELU_0_TO_1 that would do with one operator less
            three = self.model.constant("three", np.array([3.0], np.float32))
            sixth = self.model.constant("sixth", np.array([1 / 6], np.float32))
            clamp = self._schema.AddOptionsT(fusedActivationFunction=self._fused("RELU6"))
            shifted = add("ADD", [source, three], name + tflite_int8.UP_TO_6, clamp)
            add("MUL", [shifted, sixth], name, self._schema.MulOptionsT())

    def _operator(self, kind: str, inputs: list[int], name: str, op: OpSpec, options: Any) -> None:
        self.values[name] = self.model.tensor(name, channels_last(out_shape(op)))
        self.model.operator(kind, inputs, self.values[name], options)

    def _fused(self, name: str) -> int:
        return int(getattr(self._schema.ActivationFunctionType, name))


def _channels_last_columns(weight: npt.NDArray[Any], in_shape: Shape) -> npt.NDArray[np.float32]:
    """Reorder a linear layer's columns from channels first to the channels last that flows in."""
    if len(in_shape) > 1 and prod(in_shape[1:]) > 1:
        weight = weight.reshape(-1, *in_shape).transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return np.ascontiguousarray(weight, dtype=np.float32)
