"""The schema of `devices/<id>.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, create_model, model_validator

from edgenas.core.registry import Registry
from edgenas.core.schema import StrictModel
from edgenas.hardware.connectors.base import CONNECTORS, ConnectorSettings
from edgenas.hardware.power.settings import PowerSettings

Cpus = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
Argv = Annotated[tuple[str, ...], Field(min_length=1)]
"""A command as its program and arguments; no shell reads it."""
BEFORE = "{before}"
"""The argument of an undoing command that stands for the state before."""


class EngineSettings(StrictModel):
    """What every runtime is told: its threads, and the CPUs that they stay on.

    The affinity ``auto`` is the last `threads` CPUs that the measuring process may use; ``big``
    and ``little`` are the last ones of the fastest and the slowest kind of core that the device
    has, ``all`` is every CPU (see `edgenas.hardware.cores`).
    """

    threads: int = Field(default=1, ge=1)
    affinity: Literal["auto", "big", "little", "all"] | Cpus = "auto"

    told_elsewhere: ClassVar[frozenset[str]] = frozenset({"threads", "delegate"})
    """What a table's passport tells on its own, or what decides no time."""

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides the times beside engine version, threads and delegate, by name."""
        return self.model_dump(mode="json", exclude=set(self.told_elsewhere))

    @property
    def on_gpu(self) -> bool:
        """Whether another processor than the CPU computes, as far as the engine has it."""
        return False


class OnnxRuntimeSettings(EngineSettings):
    """Settings of ONNX Runtime."""

    providers: tuple[str, ...] = Field(default=("CPUExecutionProvider",), min_length=1)

    @property
    def on_gpu(self) -> bool:  # noqa: D102
        return any(name != "CPUExecutionProvider" for name in self.providers)


class LiteRtSettings(EngineSettings):
    """Settings of LiteRT."""

    delegate: Literal["xnnpack", "none"] = "xnnpack"


class TensorRtSettings(EngineSettings):
    """Settings of TensorRT, which builds an engine on the device from an ONNX file.

    The types in which it computes follow from the precision that is measured; `tf32` allows it to
    round float32 to 10 bits of mantissa on the way.
    """

    tf32: bool = False

    @property
    def on_gpu(self) -> bool:  # noqa: D102
        return True


class TrtexecSettings(TensorRtSettings):
    """Settings of TensorRT by its command line tool, for devices without its Python package.

    `program` is its path on the device, where JetPack puts it unless said otherwise.
    """

    told_elsewhere: ClassVar[frozenset[str]] = EngineSettings.told_elsewhere | {"program"}

    program: str = Field(default="/usr/src/tensorrt/bin/trtexec", min_length=1)


class BenchmarkModelSettings(EngineSettings):
    """Settings of TensorFlow Lite's `benchmark_model`, for devices without Python.

    `binary` is the program for the device, as a path on this machine; it is copied there.
    `device_binary` is the path of one that is there already. `version` is how it is called in
    tables, beside its hash. `op_profiling` names the operators that the delegate leaves out.
    """

    told_elsewhere: ClassVar[frozenset[str]] = EngineSettings.told_elsewhere | {
        "binary",
        "device_binary",
        "version",
        "op_profiling",
    }

    binary: str | None = None
    device_binary: str | None = Field(default=None, pattern=r"^/")
    version: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    delegate: Literal["none", "xnnpack", "gpu", "nnapi"] = "xnnpack"
    op_profiling: bool = True

    @property
    def on_gpu(self) -> bool:  # noqa: D102
        return self.delegate in ("gpu", "nnapi")

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        if self.binary is not None and self.device_binary is not None:
            raise ValueError("binary and device_binary exclude each other")
        return self


ENGINE_SETTINGS: Registry[type[EngineSettings]] = Registry("engine settings")
"""Settings of the runtimes that plug-ins bring, by the name of the runtime."""
E = TypeVar("E", bound=EngineSettings)


class RuntimeSettings(StrictModel):
    """The runtimes that the device has; one left out runs with its defaults.

    Runtimes of plug-ins are fields too, where a device file names any (see `description_of`).
    """

    onnxruntime: OnnxRuntimeSettings = OnnxRuntimeSettings()
    litert: LiteRtSettings = LiteRtSettings()
    benchmark_model: BenchmarkModelSettings = BenchmarkModelSettings()
    tensorrt: TensorRtSettings = TensorRtSettings()
    trtexec: TrtexecSettings = TrtexecSettings()

    def of(self, name: str, kind: type[E]) -> E:
        """Return the settings of a plug-in's runtime, its defaults where the file has none."""
        found = getattr(self, name, None)
        return found if isinstance(found, kind) else kind()


class Step(StrictModel):
    """What every preparing step may say.

    A step that is `optional` warns where it fails; any other undoes what was done before it.
    """

    as_root: bool = False
    optional: bool = False
    remedy: str = ""
    timeout_s: float = Field(default=30.0, gt=0)


class RunStep(Step):
    """A command, and the one that takes it back.

    `read` prints the state before, which stands for ``{before}`` in `undo`. If it prints `becomes`
    already nothing is done, and it must print it afterwards. What lasts `until_reboot` need not be
    undone after one.
    """

    do: Literal["run"]
    run: Argv
    undo: Argv | None
    read: Argv | None = None
    becomes: str | None = None
    until_reboot: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        undo = self.undo or ()
        if self.read is None and (self.becomes is not None or BEFORE in undo):
            raise ValueError(f"becomes and {BEFORE} need the key read: what prints the state")
        for i, part in enumerate(undo):
            text_of_shell = i == 0 or re.fullmatch(r"-[a-z]*c|eval", undo[i - 1])
            if BEFORE in part and (part != BEFORE or text_of_shell):
                raise ValueError(
                    f"undo: {BEFORE} must be a whole argument, and no program or text of a shell"
                )
        return self


class WriteStep(Step):
    """A value for files of the system; what each held before is read and written back exactly.

    `files` is an absolute path, which may hold the wildcards ``*``, ``?`` and ``[...]``.
    """

    do: Literal["write"]
    files: str = Field(pattern=r"^/")
    value: str


PrepareStep = Annotated[RunStep | WriteStep, Field(discriminator="do")]
Zone = Annotated[str, Field(pattern=r"^[^|]+(\|[^|]+)*$")]
"""The type of a thermal zone; ``a|b`` is one that some systems call a and others b."""


class ThrottlingLimits(StrictModel):
    """When timing pauses, and when it goes on.

    `zones` are the types of the thermal zones that count, all if none is named. Without
    temperatures only what the system itself reports pauses the run.
    """

    zones: tuple[Zone, ...] = ()
    pause_above_c: float | None = None
    resume_below_c: float | None = None
    check_every_s: float = Field(default=5.0, ge=0)
    timeout_s: float = Field(default=900.0, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if (self.pause_above_c is None) != (self.resume_below_c is None):
            raise ValueError("pause_above_c and resume_below_c go together")
        if (self.resume_below_c or 0.0) > (self.pause_above_c or 0.0):
            raise ValueError("resume_below_c must not be above pause_above_c")
        return self


class LockSettings(StrictModel):
    """The lock on the device itself, for holders on several hosts.

    `folder` is on the device; without it the first of /data/local/tmp and /tmp. A holder that has
    not been heard of for `stale_s` has lost it.
    """

    folder: str | None = Field(default=None, pattern=r"^/")
    stale_s: float = Field(default=120.0, ge=1)


class DeviceDescription(StrictModel):
    """One device.

    `extends` names the device whose description this one changes. `needs` are keys, as paths with
    dots, that a description which extends this one has to give, with what they are.
    `python` is the interpreter that runs the measuring process there; without it the connector
    chooses. `match_key` is the fingerprint that the device must show, if given. `as_root` is put
    before commands that need it. `prepare` are the steps before measuring, by name; they are
    taken back afterwards, the last one first. A step that is null is left out.
    """

    schema_version: Literal[1]
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str
    extends: str | None = None
    needs: Mapping[str, str] = {}
    connector: ConnectorSettings
    python: str | None = None
    as_root: Argv | None = None
    prepare: Mapping[str, PrepareStep | None] = {}
    throttling: ThrottlingLimits = ThrottlingLimits()
    lock: LockSettings = LockSettings()
    runtimes: RuntimeSettings = RuntimeSettings()
    power: PowerSettings | None = None
    match_key: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")


def description_of(document: Mapping[str, object]) -> type[DeviceDescription]:
    """Return the schema of a device's document: connectors and plug-ins bring keys of their own.

    Raises:
        RegistryError: no such connector.
    """
    fields: dict[str, Any] = {}
    connector = document.get("connector")
    kind = connector.get("kind") if isinstance(connector, Mapping) else None
    if isinstance(kind, str):
        fields["connector"] = (CONNECTORS.get(kind).settings_type, ...)
    runtimes = document.get("runtimes")
    if isinstance(runtimes, Mapping) and not set(runtimes) <= set(RuntimeSettings.model_fields):
        settings = _settings_with_plugins()
        fields["runtimes"] = (settings, settings())
    if not fields:
        return DeviceDescription
    return create_model("DeviceDescription", __base__=DeviceDescription, **fields)


def _settings_with_plugins() -> type[RuntimeSettings]:
    own = RuntimeSettings.model_fields
    fields: dict[str, Any] = {
        name: (kind, kind()) for name, kind in ENGINE_SETTINGS.items() if name not in own
    }
    return create_model("RuntimeSettings", __base__=RuntimeSettings, **fields)
