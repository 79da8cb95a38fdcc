"""A TFLite graph with float16 weights, as converters write it: each is read through DEQUANTIZE."""

from __future__ import annotations

import numpy as np

from edgenas.lowering.tflite_file import FlatModel

METADATA = {"reduced_precision_support": "fp16accfp16"}
"""Lets XNNPACK compute in float16 where the processor can; elsewhere it computes in float32."""

_DEQUANTIZE_VERSION = 3  # the first that takes float16


def halve(model: FlatModel) -> None:
    """Store the float32 weights of `model` in 16 bits, in place.

    Lone numbers stay whole: nothing is saved by them, and the sixth of a hard sigmoid would be off
    by the same part in 4000 in every gate, which adds up to more than all rounding of weights.
    """
    operators = model.take_operators()
    whole: dict[int, int] = {}
    for tensor in range(model.n_tensors):
        value = model.data(tensor)
        if value is not None and value.dtype == np.float32 and value.size > 1:
            name = model.name(tensor)
            model.replace(tensor, value.astype(np.float16))
            model.rename(tensor, f"{name}.half")
            whole[tensor] = model.tensor(name, model.shape(tensor))
            model.operator("DEQUANTIZE", [tensor], whole[tensor])
    for one in operators:
        inputs = [whole.get(index, index) for index in one.inputs]
        model.operator(one.kind, inputs, one.output, one.options)
    model.set_versions({"DEQUANTIZE": _DEQUANTIZE_VERSION})
