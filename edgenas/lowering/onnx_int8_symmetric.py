"""An ONNX graph in 8 bits as TensorRT takes it: symmetric int8 codes around what layers read.

TensorRT's integer kernels have no zero points. A QuantizeLinear and a DequantizeLinear stand before
every layer, a DequantizeLinear behind every weight, one scale an output channel; biases,
activations, sums and pools are float32, and TensorRT fuses of these what it can (NVIDIA TensorRT
documentation, explicit quantisation). The other 8-bit form, `onnx_int8`, is for onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.lowering.quantisation import LEAST_WIDTH, weight_codes

if TYPE_CHECKING:
    from onnx import NodeProto

_LAYERS = ("Conv", "Gemm")
_COPIES = ("Flatten", "Reshape", "Transpose")
_MOST = 127


def quantised_symmetric(
    nodes: list[NodeProto], initializers: list[Any], ranges: Mapping[str, tuple[float, float]]
) -> tuple[list[NodeProto], list[Any]]:
    """Return the nodes and initialisers of the float32 graph that was given, in 8 bits.

    Args:
        nodes: in order; every weight is an initialiser.
        initializers: float32 weights, and integers that stay as they are.
        ranges: of each value that a layer reads, by its name.

    Raises:
        ExportError: a range is missing.
    """
    writer = _Writer(initializers, ranges)
    for node in nodes:
        writer.visit(node)
    return writer.nodes, list(writer.arrays.values())


class _Writer:
    """Rewrites nodes in order."""

    def __init__(self, initializers: list[Any], ranges: Mapping[str, tuple[float, float]]) -> None:
        self._helper, self._numpy = require("onnx.helper"), require("onnx.numpy_helper")
        self.nodes: list[NodeProto] = []
        self.arrays = {tensor.name: tensor for tensor in initializers}
        self._ranges, self._sources = ranges, dict[str, str]()
        self._read: dict[str, str] = {}

    def visit(self, node: NodeProto) -> None:
        if node.op_type in _COPIES:
            self._sources[node.output[0]] = node.input[0]
        if node.op_type in _LAYERS:
            node.input[0] = self._coded(node.input[0])
            node.input[1] = self._weight(node.input[1])
        self.nodes.append(node)

    def _coded(self, name: str) -> str:
        """Return what a value is read under behind its codes."""
        if name not in self._read:
            greatest = max(map(abs, self._range(name)))
            step = np.asarray(max(greatest, LEAST_WIDTH) / _MOST, np.float32)
            parameters = self._parameters(name, step, np.zeros((), np.int8))
            self._add("QuantizeLinear", [name, *parameters], f"{name}.codes")
            self._add("DequantizeLinear", [f"{name}.codes", *parameters], f"{name}.value")
            self._read[name] = f"{name}.value"
        return self._read[name]

    def _weight(self, name: str) -> str:
        if name in self._read:
            return self._read[name]
        codes, steps = weight_codes(self._numpy.to_array(self.arrays.pop(name)), axis=0)
        self._store(f"{name}.codes", codes)
        parameters = self._parameters(name, steps, np.zeros(len(steps), np.int8))
        self._add("DequantizeLinear", [f"{name}.codes", *parameters], f"{name}.value", axis=0)
        self._read[name] = f"{name}.value"
        return self._read[name]

    def _range(self, name: str) -> tuple[float, float]:
        source = name
        while source not in self._ranges and source in self._sources:
            source = self._sources[source]
        if source not in self._ranges:
            raise ExportError(
                f"int8 asks for the range of {name!r}; known: {', '.join(self._ranges)}"
            )
        return self._ranges[source]

    def _parameters(
        self, name: str, step: npt.NDArray[np.float32], zero: npt.NDArray[np.int8]
    ) -> list[str]:
        names = [f"{name}.step", f"{name}.zero"]
        self._store(names[0], step)
        self._store(names[1], zero)
        return names

    def _store(self, name: str, value: npt.NDArray[Any]) -> None:
        self.arrays[name] = self._numpy.from_array(value, name)

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(self._helper.make_node(kind, inputs, [output], name=output, **attributes))
