"""TensorRT by its Python package: builds engines from `.onnx` files on the device, and runs both.

The device's own package (`tensorrt` of JetPack, or `tensorrt_rtx`) is used. The measuring process
has been tested against stand-ins of TensorRT and CUDA, and builds engines with TensorRT-RTX; it has
not yet been run on a GPU.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from edgenas.core.errors import DeviceError
from edgenas.hardware.description import DeviceDescription, TensorRtSettings
from edgenas.runtimes.agent_bench import AgentBench, AgentRuntime
from edgenas.runtimes.base import BUILD_S, RUNTIMES
from edgenas.runtimes.engine_files import (
    FORMAT,
    BuildInfo,
    BuildOptions,
    EngineBuilder,
    Gpu,
    timings_folder,
    warn_of,
)

_SHORT_S = 30.0


class TensorRtBench(AgentBench, EngineBuilder):
    """A bench whose measuring process builds engine files, too."""

    def gpu(self, *, timeout_s: float = 60.0) -> Gpu:  # noqa: D102
        return self._client.call("gpu", Gpu, timeout_s=timeout_s)

    def build(  # noqa: D102
        self, model: Path, target: Path, options: BuildOptions, *, timeout_s: float
    ) -> BuildInfo:
        connector = self.device.connector
        remote = f"{connector.workdir}/built-{target.name}"
        with self._placed(model) as placed:
            info = self._client.call(
                "build",
                BuildInfo,
                timeout_s=timeout_s,
                path=placed,
                target=remote,
                tf32=options.tf32,
                compute_capability=options.compute_capability,
                folder=timings_folder(connector, options.timings),
                key=f"{self._info.distribution}-{self._info.engine_version}",
            )
        warn_of(info.timings, self.device.id)
        connector.pull(remote, target)
        with suppress(DeviceError):  # what stays goes with the connector
            connector.run(["rm", "-f", remote], _SHORT_S)
        return info


@RUNTIMES.add("tensorrt")
class TensorRt(AgentRuntime):
    """TensorRT 8.5 or later, or TensorRT-RTX, on the GPU; inputs and outputs in host memory.

    Types are those of the file. Versions without strong typing are allowed no others than the
    precision needs: float16 kernels for float16, integer ones for int8. Its 8 bits are signed and
    symmetric, which those of other ONNX files of edgenas are not.
    """

    name = "tensorrt"
    format = "onnx"
    also = (FORMAT,)
    precisions = ("float32", "float16", "int8")
    symmetric = True
    module = "tensorrt_rtx"
    distribution = "tensorrt-rtx-cu12"
    packages_there = (
        "numpy and tensorrt: of a Jetson by apt-get install python3-numpy python3-libnvinfer "
        "for the system's python3, elsewhere numpy and tensorrt by its pip"
    )

    bench = TensorRtBench

    def settings(self, description: DeviceDescription) -> TensorRtSettings:  # noqa: D102
        return description.runtimes.tensorrt

    def load_timeout_s(self, description: DeviceDescription) -> float:  # noqa: D102
        return BUILD_S

    def absent_reason(self, description: DeviceDescription) -> str | None:  # noqa: D102
        if self.name in description.runtimes.model_fields_set:
            return None
        return "its device file has no block runtimes.tensorrt; add one where there is a GPU"
