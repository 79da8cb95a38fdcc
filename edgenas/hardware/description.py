"""The schema of `devices/<id>.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgenas.core.schema import StrictModel

Cpus = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class ConnectorSettings(StrictModel):
    """How the device is reached."""

    kind: str


class EngineSettings(StrictModel):
    """What every runtime is told: its threads, and the CPUs that they stay on.

    The affinity ``auto`` is the last `threads` CPUs that the measuring process may use.
    """

    threads: int = Field(default=1, ge=1)
    affinity: Literal["auto"] | Cpus = "auto"


class OnnxRuntimeSettings(EngineSettings):
    """Settings of ONNX Runtime."""

    providers: tuple[str, ...] = Field(default=("CPUExecutionProvider",), min_length=1)


class LiteRtSettings(EngineSettings):
    """Settings of LiteRT."""

    delegate: Literal["xnnpack", "none"] = "xnnpack"


class RuntimeSettings(StrictModel):
    """The runtimes that the device has; one left out runs with its defaults."""

    onnxruntime: OnnxRuntimeSettings = OnnxRuntimeSettings()
    litert: LiteRtSettings = LiteRtSettings()


class DeviceDescription(StrictModel):
    """One device.

    `python` is the interpreter that runs the measuring process there; without it the connector
    chooses. `match_key` is the fingerprint that the device must show, if given.
    """

    schema_version: Literal[1]
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str
    connector: ConnectorSettings
    python: str | None = None
    runtimes: RuntimeSettings = RuntimeSettings()
    match_key: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
