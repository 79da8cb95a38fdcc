"""An ONNX graph in 8 bits: QuantizeLinear and DequantizeLinear around every value and weight.

The form is that of onnxruntime's static quantiser (QDQ, uint8 activations, int8 weights a channel,
int32 biases), which engines fuse to integer kernels. Two operators have no integer kernel in
onnxruntime and are written as others that have: see `_Quantiser._hard`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.lowering.quantisation import Scale, bias_codes, weight_codes

if TYPE_CHECKING:
    from onnx import NodeProto

_LAYERS = ("Conv", "Gemm")
_OWN_SCALE = ("Add", "Mul", "Concat", "GlobalAveragePool", "AveragePool", "Sigmoid", "Relu", "Clip")
_SAME_SCALE = ("Flatten", "Reshape", "Transpose", "MaxPool")
_HARD = ("HardSigmoid", "HardSwish")
_CLAMPS = ("Relu", "Clip")
_UNIT = (0.0, 1.0)
_SIX = (0.0, 6.0)


def quantised(  # noqa: PLR0913
    nodes: list[NodeProto],
    initializers: list[Any],
    ranges: Mapping[str, tuple[float, float]],
    *,
    input_name: str,
    output_name: str,
    quantised_io: bool,
) -> tuple[list[NodeProto], list[Any]]:
    """Return the nodes and initialisers of the float32 graph that was given, in 8 bits.

    Args:
        nodes: in order; every weight is an initialiser.
        initializers: float32 weights, and integers that stay as they are.
        ranges: of each value that an operator with a scale of its own leaves, by its name.
        input_name: the input of the graph.
        output_name: the output of the graph.
        quantised_io: whether input and output are uint8 instead of float32.

    Raises:
        ExportError: an operator has no 8-bit form, or a range is missing.
    """
    quantiser = _Quantiser(nodes, initializers, ranges, output_name)
    quantiser.enter(input_name, quantised_io=quantised_io)
    for node in nodes:
        quantiser.visit(node)
    quantiser.leave(quantised_io=quantised_io)
    return quantiser.nodes, quantiser.initializers


class _Quantiser:
    """Rewrites nodes in order; knows the scale of each value, and the name it is read under."""

    def __init__(
        self,
        nodes: list[NodeProto],
        initializers: list[Any],
        ranges: Mapping[str, tuple[float, float]],
        output_name: str,
    ) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[Any] = []
        self._ranges, self._output_name = ranges, output_name
        self._given = {tensor.name: tensor for tensor in initializers}
        self._helper, self._numpy = require("onnx.helper"), require("onnx.numpy_helper")
        self._scales: dict[str, Scale] = {}
        self._dequantised: dict[str, str] = {}
        self._codes: dict[str, str] = {}
        self._constants: set[str] = set()
        self._clamped = self._clamps(nodes)

    def enter(self, name: str, *, quantised_io: bool) -> None:
        self._scales[name] = scale = Scale.of(self._range(name), signed=False)
        codes = name
        if not quantised_io:
            codes = f"{name}.codes"
            self._add("QuantizeLinear", [name, *self._parameters(name, scale)], codes)
        self._read_under(name, codes, scale)

    def leave(self, *, quantised_io: bool) -> None:
        """Name the last codes, or what they stand for, as the output is named."""
        last = self.nodes.pop()  # the DequantizeLinear of the output
        if quantised_io:
            self.nodes[-1].output[0] = self._output_name
        else:
            last.output[0] = self._output_name
            self.nodes.append(last)

    def visit(self, node: NodeProto) -> None:
        kind, output = node.op_type, node.output[0]
        if output in self._clamped.values() and kind in _CLAMPS:
            return  # its producer's scale cuts off what it would
        output = self._clamped.get(output, output)
        if kind == "Pad":
            self._pad(node, output)
        elif kind in _HARD:
            self._hard(kind, node.input[0], output)
        elif kind in _LAYERS:
            inputs = [self._dequantised[node.input[0]], *self._layer_arrays(node)]
            self._copy(node, inputs, output, Scale.of(self._range(output), signed=False))
        elif kind in _SAME_SCALE:
            inputs = [self._dequantised[node.input[0]], *map(self._kept, node.input[1:])]
            self._copy(node, inputs, output, self._scales[node.input[0]])
        elif kind in _OWN_SCALE:
            span = _UNIT if kind == "Sigmoid" else self._range(output)
            inputs = [self._dequantised.get(name) or self._kept(name) for name in node.input]
            self._copy(node, inputs, output, Scale.of(span, signed=False))
        else:
            allowed = ", ".join(sorted((*_LAYERS, *_OWN_SCALE, *_SAME_SCALE, *_HARD, "Pad")))
            raise ExportError(
                f"{node.name}: ONNX operator {kind} has no int8 lowering; "
                f"those that have: {allowed}"
            )

    def _clamps(self, nodes: list[NodeProto]) -> dict[str, str]:
        """Return values that only a Relu or Clip reads, with what that makes of them."""
        readers = Counter(name for node in nodes for name in node.input)
        makers = {node.output[0]: node.op_type for node in nodes}
        able = {*_LAYERS, *_OWN_SCALE} - {"Concat", *_CLAMPS}  # what is joined shares its scale
        return {
            node.input[0]: node.output[0]
            for node in nodes
            if node.op_type in _CLAMPS
            and readers[node.input[0]] == 1
            and makers.get(node.input[0]) in able
        }

    def _hard(self, kind: str, source: str, output: str) -> None:
        """Write h_sigmoid as one addition and h_swish as an addition and a product.

        x + 3 saturates at 0 and 6 in a code of just that range. Read with a sixth of its step,
        the same code is clip(x + 3, 0, 6) / 6: the division costs nothing.
        """
        three = self._constant("(three)", 3.0)
        gate = output if kind == "HardSigmoid" else f"{output}.gate"
        self._add("Add", [self._dequantised[source], three], f"{gate}.sum")
        six, one = Scale.of(_SIX, signed=False), Scale.of(_UNIT, signed=False)
        codes = f"{gate}.codes"
        self._add("QuantizeLinear", [f"{gate}.sum", *self._parameters("(up to 6)", six)], codes)
        self._scales[gate] = one
        self._read_under(gate, codes, one, parameters=self._parameters("(up to 1)", one))
        if kind == "HardSwish":
            inputs = [self._dequantised[source], self._dequantised[gate]]
            self._add("Mul", inputs, f"{output}.float")
            self._requantise(output, f"{output}.float", Scale.of(self._range(output), signed=False))

    def _pad(self, node: NodeProto, output: str) -> None:
        """Repeat codes as they are: onnxruntime pads float32 where it finds a scale around."""
        source, *amounts = node.input
        values = {a.name: self._helper.get_attribute_value(a) for a in node.attribute}
        codes, scale = f"{output}.codes", self._scales[source]
        self._add("Pad", [self._codes[source], *map(self._kept, amounts)], codes, **values)
        self._scales[output] = scale
        self._read_under(output, codes, scale)

    def _copy(self, node: NodeProto, inputs: list[str], output: str, scale: Scale) -> None:
        values = {a.name: self._helper.get_attribute_value(a) for a in node.attribute}
        made = self._helper.make_node(
            node.op_type, inputs, [f"{output}.float"], name=node.name, **values
        )
        self.nodes.append(made)
        self._requantise(output, f"{output}.float", scale)

    def _requantise(self, name: str, source: str, scale: Scale) -> None:
        codes = f"{name}.codes"
        parameters = self._parameters(name, scale)
        self._add("QuantizeLinear", [source, *parameters], codes)
        self._scales[name] = scale
        self._read_under(name, codes, scale, parameters=parameters)

    def _read_under(
        self, name: str, codes: str, scale: Scale, parameters: list[str] | None = None
    ) -> None:
        self._codes[name] = codes
        value = self._dequantised[name] = f"{name}.value"
        parameters = parameters or self._parameters(name, scale)
        self._add("DequantizeLinear", [codes, *parameters], value)

    def _layer_arrays(self, node: NodeProto) -> list[str]:
        """Store weight and bias of a layer in 8 and 32 bits; return what they are read under."""
        weight_name, *bias_name = node.input[1:]
        weight = self._numpy.to_array(self._given[weight_name])
        codes, steps = weight_codes(weight, axis=0)
        names = [self._array(weight_name, codes, steps)]
        for name in bias_name:
            bias = self._numpy.to_array(self._given[name])
            steps = (steps * self._scales[node.input[0]].step).astype(np.float32)
            names.append(self._array(name, bias_codes(bias, steps), steps))
        return names

    def _array(self, name: str, codes: npt.NDArray[Any], steps: npt.NDArray[np.float32]) -> str:
        zeros = np.zeros(len(steps), codes.dtype)
        parts = {f"{name}.codes": codes, f"{name}.step": steps, f"{name}.zero": zeros}
        for part, value in parts.items():
            self._store(part, value)
        self._add("DequantizeLinear", list(parts), f"{name}.value", axis=0)
        return f"{name}.value"

    def _constant(self, name: str, value: float) -> str:
        """Store a positive scalar as the greatest code of its scale."""
        if name not in self._constants:
            self._constants.add(name)
            scale = Scale.of((0.0, value), signed=False)
            self._store(f"{name}.codes", np.asarray(scale.encode(value), np.uint8))
            parameters = self._parameters(name, scale)
            self._add("DequantizeLinear", [f"{name}.codes", *parameters], f"{name}.value")
        return f"{name}.value"

    def _parameters(self, name: str, scale: Scale) -> list[str]:
        """Store step and zero point under `name`, once; return the names of both."""
        names = [f"{name}.step", f"{name}.zero"]
        if names[0] not in self._constants:
            self._constants.add(names[0])
            self._store(names[0], np.asarray(scale.step, np.float32))
            self._store(names[1], np.asarray(scale.zero_point, np.uint8))
        return names

    def _kept(self, name: str) -> str:
        """Keep an initialiser that is no weight: a shape, or the bounds of a Clip."""
        if name not in self._constants:
            self._constants.add(name)
            self.initializers.append(self._given[name])
        return name

    def _store(self, name: str, value: npt.NDArray[Any]) -> None:
        self.initializers.append(self._numpy.from_array(value, name))

    def _range(self, name: str) -> tuple[float, float]:
        if name not in self._ranges:
            raise ExportError(
                f"int8 asks for the range of {name!r}; known: {', '.join(self._ranges)}"
            )
        return self._ranges[name]

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        node = self._helper.make_node(kind, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
