"""TensorRT: runs `.onnx` files, from which it builds engines on the device, by its Python package.

The device's own package (`tensorrt` of JetPack, or `tensorrt_rtx`) is used. The measuring process
has been tested against stand-ins of TensorRT and CUDA, and builds engines with TensorRT-RTX; it has
not yet been run on a GPU.
"""

from __future__ import annotations

from edgenas.hardware.description import DeviceDescription, TensorRtSettings
from edgenas.runtimes.agent_bench import AgentRuntime
from edgenas.runtimes.base import BUILD_S, RUNTIMES


@RUNTIMES.add("tensorrt")
class TensorRt(AgentRuntime):
    """TensorRT 8.5 or later, or TensorRT-RTX, on the GPU; inputs and outputs in host memory.

    Types are those of the file. Versions without strong typing are allowed no others than the
    precision needs: float16 kernels for float16, integer ones for int8. Its 8 bits are signed and
    symmetric, which those of `edgenas.lowering.onnx` are not: only files of others have them.
    """

    name = "tensorrt"
    format = "onnx"
    precisions = ("float32", "float16")
    module = "tensorrt_rtx"
    distribution = "tensorrt-rtx-cu12"
    packages_there = (
        "numpy and tensorrt: of a Jetson by apt-get install python3-numpy python3-libnvinfer "
        "for the system's python3, elsewhere numpy and tensorrt by its pip"
    )

    def settings(self, description: DeviceDescription) -> TensorRtSettings:  # noqa: D102
        return description.runtimes.tensorrt

    def load_timeout_s(self, description: DeviceDescription) -> float:  # noqa: D102
        return BUILD_S

    def absent_reason(self, description: DeviceDescription) -> str | None:  # noqa: D102
        if self.name in description.runtimes.model_fields_set:
            return None
        return "its device file has no block runtimes.tensorrt; add one where there is a GPU"
