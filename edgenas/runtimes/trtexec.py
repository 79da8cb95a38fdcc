"""TensorRT by its tool `trtexec`, for devices without its Python package.

The tool builds an engine from each ONNX file once, on the device, and each visit starts it anew
with that engine; so does each inference, which takes it a second or more. Its times are with
inputs and outputs in the host's memory, as the agent's. It has been tested against a program that
prints and exports as it does; not yet on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError
from edgenas.core.extras import requirement_of
from edgenas.hardware.description import DeviceDescription, TrtexecSettings
from edgenas.hardware.device import Device
from edgenas.runtimes.base import BUILD_S, RUNTIMES, Bench, EngineInfo, Runtime
from edgenas.runtimes.engine_files import FORMAT
from edgenas.runtimes.trtexec_bench import TrtexecBench
from edgenas.runtimes.trtexec_output import parse_version

_RESOLUTION_NS = 1000


@RUNTIMES.add("trtexec")
class Trtexec(Runtime):
    """TensorRT by its command line tool."""

    name = "trtexec"
    format = "onnx"
    also = (FORMAT,)
    precisions = ("float32", "float16", "int8")
    symmetric = True

    def settings(self, description: DeviceDescription) -> TrtexecSettings:  # noqa: D102
        return description.runtimes.trtexec

    @property
    def requirement(self) -> str:  # noqa: D102
        return requirement_of("onnx")

    def load_timeout_s(self, description: DeviceDescription) -> float:  # noqa: D102
        return BUILD_S

    def absent_reason(self, description: DeviceDescription) -> str | None:  # noqa: D102
        if self.name in description.runtimes.model_fields_set:
            return None
        return "its device file has no block runtimes.trtexec; add one where there is a GPU"

    @contextmanager
    def open(  # noqa: D102
        self, device: Device, *, timeout_s: float, precision: str = "float32"
    ) -> Iterator[Bench]:
        settings = self.settings(device.description)
        try:
            found = device.connector.run([settings.program, "--help"], timeout_s)
            printed = (found.stdout + b"\n" + found.stderr).decode(errors="replace")
            version = parse_version(printed)
        except (AgentError, DeviceError) as error:
            if isinstance(error, DeviceTimeoutError):
                raise
            raise DeviceError(
                f"{settings.program} is no trtexec on the device {device.id!r} ({error}); "
                "set runtimes.trtexec.program to its path there"
            ) from error
        info = EngineInfo(
            engine=self.name,
            engine_version=version,
            affinity=(),
            threads=settings.threads,
            timer_resolution_ns=_RESOLUTION_NS,
        )
        with closing(TrtexecBench(device, self, settings, info, precision=precision)) as bench:
            yield bench
