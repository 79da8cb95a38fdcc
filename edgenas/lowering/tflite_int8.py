"""A TFLite graph in 8 bits: int8 values, int8 weights a channel, int32 biases.

This is full-integer static quantisation in the form of ai-edge-quantizer's ``static_wi8_ai8``,
but for h_swish, a relu that no operator takes along, and average pooling, which XNNPACK does not
take in 8 bits: see `_Quantiser._h_swish`, `_Quantiser._clamp` and `_Quantiser._avg_pool`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import sqrt

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.lowering.quantisation import Scale, bias_codes, weight_codes
from edgenas.lowering.tflite_file import FlatModel, Operator
from edgenas.lowering.tflite_weights import WEIGHT_AXES

UP_TO_6 = ".up_to_6"
"""Ends the names of values that are clamped to the range from 0 to 6."""

_OWN_SCALE = ("ADD", "MUL", "MEAN")
_CLAMPS = ("RELU", "RELU6")
_SAME_SCALE = ("PAD", "RESHAPE", "TRANSPOSE", "SLICE", "CONCATENATION", "MAX_POOL_2D")
_FIXED = {"LOGISTIC": Scale(1 / 256, -128, -128, 127)}  # what its kernels ask for
_FIRST_INT8_VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "QUANTIZE": 1,
    "RESHAPE": 1,
}
"""Versions of operators that take int8; those not listed do since version 2."""
_ROOT = sqrt(6)


def quantise(
    model: FlatModel,
    ranges: Mapping[str, tuple[float, float]],
    *,
    entry: int,
    exit_: int,
    quantised_io: bool,
) -> tuple[int, int]:
    """Turn the float32 `model` into 8 bits, in place; return its input and output tensors.

    Args:
        model: operators in order, one input.
        ranges: of each value that an operator with a scale of its own leaves, by its name.
        entry: the tensor that is the input.
        exit_: the tensor that is the output.
        quantised_io: whether input and output are int8 instead of float32.

    Raises:
        ExportError: an operator has no 8-bit form, or a range is missing.
    """
    source, result = entry, exit_
    operators = model.take_operators()
    if not quantised_io:
        source = _twin(model, entry)
        model.operator("QUANTIZE", [source], entry)
    quantiser = _Quantiser(model, ranges, operators)
    quantiser.scale(entry, ranges.get(model.name(source)))
    for operator in operators:
        quantiser.visit(operator)
    if not quantised_io:
        result = _twin(model, exit_)
        model.operator("DEQUANTIZE", [exit_], result)
    versions = dict.fromkeys((*_OWN_SCALE, *_SAME_SCALE, *_FIXED, "DEQUANTIZE"), 2)
    model.set_versions({**versions, **_FIRST_INT8_VERSIONS})
    return source, result


def _twin(model: FlatModel, tensor: int) -> int:
    """Return a new float32 tensor under the name of `tensor`, which gets another."""
    name = model.name(tensor)
    model.rename(tensor, f"{name}.codes")
    return model.tensor(name, model.shape(tensor))


class _Quantiser:
    """Visits operators in order; knows the scale of each value."""

    def __init__(
        self,
        model: FlatModel,
        ranges: Mapping[str, tuple[float, float]],
        operators: list[Operator],
    ) -> None:
        self._model, self._ranges = model, ranges
        self._scales: dict[int, Scale] = {}
        self._schema = require("ai_edge_litert.schema_py_generated")
        readers = Counter(index for one in operators for index in one.inputs)
        makers = {one.output: one.kind for one in operators}
        self._rooted = {
            one.inputs[0]
            for one in operators
            if one.kind == "HARD_SWISH"
            and readers[one.inputs[0]] == 1
            and makers.get(one.inputs[0]) in WEIGHT_AXES
        }

    def visit(self, operator: Operator) -> None:
        kind, inputs, output = operator.kind, operator.inputs, operator.output
        if kind == "HARD_SWISH":
            self._h_swish(inputs[0], output)
            return
        if kind in _CLAMPS:
            self._clamp(inputs[0], output)
            return
        if kind == "AVERAGE_POOL_2D":
            self._avg_pool(operator)
            return
        if kind in WEIGHT_AXES:
            divisor = _ROOT if output in self._rooted else 1.0
            self._layer(inputs, axis=WEIGHT_AXES[kind], divisor=divisor)
            low, high = self._range(output)
            self.scale(output, (low / divisor, high / divisor))
        elif kind == "CONCATENATION" and self._model.name(output) in self._ranges:
            self.scale(output, self._range(output))
            inputs = [self._rescaled(one, output, place) for place, one in enumerate(inputs)]
        elif kind in _SAME_SCALE:  # borders, too, are joined to what they are a part of
            self._encode(output, self._scales[inputs[0]])
        elif kind in _FIXED:
            self._encode(output, _FIXED[kind])
        elif kind in _OWN_SCALE:
            for one in inputs:
                self._constant(one)
            self.scale(output, self._range(output))
        else:
            rewritten = (*_CLAMPS, "AVERAGE_POOL_2D", "HARD_SWISH")
            own = (*WEIGHT_AXES, *_OWN_SCALE, *_SAME_SCALE, *_FIXED, *rewritten)
            raise ExportError(
                f"{self._model.name(output)}: TFLite operator {kind} has no int8 lowering; those "
                f"that have: {', '.join(sorted(own))}"
            )
        self._model.operator(kind, inputs, output, operator.options)

    def scale(self, tensor: int, span: tuple[float, float] | None) -> None:
        """Encode a value that lies in `span`."""
        self._encode(tensor, Scale.of(self._range(tensor) if span is None else span, signed=True))

    def _h_swish(self, source: int, output: int) -> None:
        """Write x * clip(x + 3, 0, 6) / 6 as a sum and a product.

        With u = x / sqrt(6) it is u * clip(u + 3 / sqrt(6), 0, sqrt(6)): nothing is left to divide
        by, and the code of the sum saturates where the clip would. The layer before gives u
        by the steps of its codes alone. Without one to do so, a product does.
        """
        model, name, shape = self._model, self._model.name(output), self._model.shape(output)
        if source not in self._rooted:
            low, high = (one / _ROOT for one in self._span(source))
            source = self._product(
                source, self._number("inverse_root", 1 / _ROOT), f"{name}.rooted", shape
            )
            self.scale(source, (low, high))
        gate = model.tensor(f"{name}.gate", shape)
        shift = self._number("half_root", 3 / _ROOT)
        model.operator("ADD", [source, shift], gate, self._schema.AddOptionsT())
        self.scale(gate, (0.0, _ROOT))
        model.operator("MUL", [source, gate], output, self._schema.MulOptionsT())
        self.scale(output, self._range(output))

    def _clamp(self, source: int, output: int) -> None:
        """Write a relu as the sum with 0, whose code saturates where its range ends."""
        model = self._model
        nothing = model.constant(f"{model.name(output)}.nothing", np.zeros(1, np.float32))
        scale = self._scales[source]  # kernels ask for steps that do not differ too much
        model.replace(nothing, scale.encode([0.0]).astype(np.int8))
        self._encode(nothing, scale)
        model.operator("ADD", [source, nothing], output, self._schema.AddOptionsT())
        self.scale(output, self._range(output))

    def _avg_pool(self, operator: Operator) -> None:
        """Pool in float32: in XNNPACK, seven times as fast as 8-bit pooling outside it."""
        model, output = self._model, operator.output
        ends = [
            model.tensor(f"{model.name(output)}.{what}", model.shape(tensor))
            for what, tensor in (("from", operator.inputs[0]), ("pooled", output))
        ]
        model.operator("DEQUANTIZE", operator.inputs, ends[0])
        model.operator(operator.kind, [ends[0]], ends[1], operator.options)
        model.operator("QUANTIZE", [ends[1]], output)
        self.scale(output, self._range(output))

    def _rescaled(self, source: int, output: int, place: int) -> int:
        """Return a value in the code of `output`, in which all that is joined to it has to be."""
        if self._scales[source] == self._scales[output]:
            return source
        name = f"{self._model.name(output)}.part{place}"
        index = self._model.tensor(name, self._model.shape(source))
        self._model.operator("QUANTIZE", [source], index)
        self._encode(index, self._scales[output])
        return index

    def _product(self, one: int, other: int, name: str, shape: tuple[int, ...]) -> int:
        index = self._model.tensor(name, shape)
        self._model.operator("MUL", [one, other], index, self._schema.MulOptionsT())
        return index

    def _number(self, name: str, value: float) -> int:
        index = self._model.constant(name, np.array([value], np.float32))
        self._constant(index)
        return index

    def _layer(self, inputs: list[int], *, axis: int, divisor: float) -> None:
        """Encode weight and bias of a layer; `divisor` makes its results that much smaller."""
        model = self._model
        weight, bias = (model.data(one) for one in inputs[1:])
        if weight is None or bias is None:
            raise ExportError(f"{model.name(inputs[1])}: int8 asks for a constant weight and bias")
        codes, steps = weight_codes(weight, axis=axis)
        bias_steps = (steps * self._scales[inputs[0]].step).astype(np.float32)
        zeros = np.zeros(len(steps), np.int64)
        model.replace(inputs[1], codes)
        model.encode(inputs[1], np.int8, steps=steps / divisor, zero_points=zeros, axis=axis)
        model.replace(inputs[2], bias_codes(bias, bias_steps))
        model.encode(inputs[2], np.int32, steps=bias_steps / divisor, zero_points=zeros)

    def _constant(self, tensor: int) -> None:
        """Encode a float32 constant that is no weight; others, and one encoded before, stay."""
        value: npt.NDArray[np.float32] | None = self._model.data(tensor)
        if value is None or value.dtype != np.float32:
            return
        scale = Scale.of((float(value.min()), float(value.max())), signed=True)
        self._model.replace(tensor, scale.encode(value).astype(np.int8))
        self._encode(tensor, scale)

    def _encode(self, tensor: int, scale: Scale) -> None:
        self._scales[tensor] = scale
        self._model.encode(tensor, np.int8, steps=scale.step, zero_points=scale.zero_point)

    def _span(self, tensor: int) -> tuple[float, float]:
        """Return what the code of an encoded value can tell apart."""
        scale = self._scales[tensor]
        low, high = scale.low - scale.zero_point, scale.high - scale.zero_point
        return low * scale.step, high * scale.step

    def _range(self, tensor: int) -> tuple[float, float]:
        name = self._model.name(tensor)
        if name.endswith(UP_TO_6):
            return 0.0, 6.0
        if name not in self._ranges:
            raise ExportError(
                f"int8 asks for the range of {name!r}; known: {', '.join(self._ranges)}"
            )
        return self._ranges[name]
