"""ONNX Runtime: runs `.onnx` files, on the CPU unless a device's providers say otherwise."""

from __future__ import annotations

from edgenas.hardware.description import DeviceDescription, OnnxRuntimeSettings
from edgenas.runtimes.base import RUNTIMES, Runtime


@RUNTIMES.add("onnxruntime")
class OnnxRuntime(Runtime):
    """ONNX Runtime with sequential execution and full graph optimisation."""

    name = "onnxruntime"
    format = "onnx"
    precisions = ("float32",)
    module = "onnxruntime"
    distribution = "onnxruntime"

    def settings(self, description: DeviceDescription) -> OnnxRuntimeSettings:  # noqa: D102
        return description.runtimes.onnxruntime
