"""ONNX Runtime: runs `.onnx` files, on the CPU unless a device's providers say otherwise."""

from __future__ import annotations

from edgenas.core.precision import PRECISIONS
from edgenas.hardware.description import DeviceDescription, OnnxRuntimeSettings
from edgenas.runtimes.agent_bench import AgentRuntime
from edgenas.runtimes.base import BUILD_S, LOAD_S, RUNTIMES

_TENSORRT = "TensorrtExecutionProvider"


@RUNTIMES.add("onnxruntime")
class OnnxRuntime(AgentRuntime):
    """ONNX Runtime with sequential execution and full graph optimisation.

    Its CPU provider computes int8 in integers, uint8 values with int8 weights. Float16 it computes
    in float32 wherever it has no kernel for it, which is everywhere on x86. Its TensorRT provider
    builds engines on the device, once a model.
    """

    name = "onnxruntime"
    format = "onnx"
    precisions = PRECISIONS
    module = "onnxruntime"
    distribution = "onnxruntime"
    packages_there = (
        "numpy and onnxruntime by its pip (for a Jetson's GPU: NVIDIA's wheel of onnxruntime-gpu)"
    )

    def settings(self, description: DeviceDescription) -> OnnxRuntimeSettings:  # noqa: D102
        return description.runtimes.onnxruntime

    def load_timeout_s(self, description: DeviceDescription) -> float:  # noqa: D102
        return BUILD_S if _TENSORRT in self.settings(description).providers else LOAD_S
