"""A TFLite graph whose weights alone are 8 bits: values stay float32, files are a quarter as large.

Each weight is read through a DEQUANTIZE, one scale an output channel, which XNNPACK computes when
it takes the graph over.
"""

from __future__ import annotations

from edgenas.lowering.quantisation import weight_codes
from edgenas.lowering.tflite_file import FlatModel

WEIGHT_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""Kinds of operators that have a weight, and which of its axes counts output channels."""

_DEQUANTIZE_VERSION = 5  # the first that takes a scale a channel


def encode_weights(model: FlatModel) -> None:
    """Store every layer's weight in int8, in place; biases stay float32."""
    operators = model.take_operators()
    whole: dict[int, int] = {}
    for one in operators:
        inputs = list(one.inputs)
        if one.kind in WEIGHT_AXES:
            tensor = inputs[1]
            if tensor not in whole:
                whole[tensor] = _read(model, tensor, WEIGHT_AXES[one.kind])
            inputs[1] = whole[tensor]
        model.operator(one.kind, inputs, one.output, one.options)
    model.set_versions({"DEQUANTIZE": _DEQUANTIZE_VERSION})


def _read(model: FlatModel, tensor: int, axis: int) -> int:
    """Turn a constant into codes; return the tensor that holds what they stand for."""
    value, name = model.data(tensor), model.name(tensor)
    assert value is not None  # noqa: S101  # a layer's weight is a constant
    codes, steps = weight_codes(value, axis=axis)
    model.replace(tensor, codes)
    model.encode(tensor, codes.dtype.type, steps=steps, zero_points=[0] * len(steps), axis=axis)
    model.rename(tensor, f"{name}.codes")
    result = model.tensor(name, model.shape(tensor))
    model.operator("DEQUANTIZE", [tensor], result)
    return result
