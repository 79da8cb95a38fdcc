"""An ONNX graph whose weights alone are 8 bits: values stay float32, files are a quarter as large.

Each weight is read through a DequantizeLinear, one scale an output channel. onnxruntime computes
these once, when it opens the file, if its session says ``session.disable_quant_qdq: 1``, and then
runs what it runs of the float32 model; else it computes them at every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas.core.extras import require
from edgenas.lowering.quantisation import weight_codes

if TYPE_CHECKING:
    from onnx import NodeProto

_LAYERS = ("Conv", "Gemm")


def with_weight_codes(
    nodes: list[NodeProto], initializers: list[Any]
) -> tuple[list[NodeProto], list[Any]]:
    """Return the float32 graph that was given with the weights of its layers in int8.

    Biases, and whatever is no layer's weight, stay as they are.
    """
    helper, numpy = require("onnx.helper"), require("onnx.numpy_helper")
    given = {tensor.name: tensor for tensor in initializers}
    kept, written = dict(given), []
    for node in nodes:
        name = node.input[1] if node.op_type in _LAYERS else ""
        if name in kept:
            del kept[name]
            codes, steps = weight_codes(numpy.to_array(given[name]), axis=0)
            zeros = np.zeros(len(steps), codes.dtype)
            parts = {f"{name}.codes": codes, f"{name}.step": steps, f"{name}.zero": zeros}
            kept |= {part: numpy.from_array(value, part) for part, value in parts.items()}
            value = f"{name}.value"
            written.append(
                helper.make_node("DequantizeLinear", list(parts), [value], name=value, axis=0)
            )
        if name:
            node.input[1] = f"{name}.value"
        written.append(node)
    return written, list(kept.values())
