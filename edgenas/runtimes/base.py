"""What a runtime is: an engine that runs one format of model file, and its bench on a device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from edgenas.core.errors import AgentError, RefusedError, UsageError
from edgenas.core.precision import PRECISIONS
from edgenas.core.registry import Registry
from edgenas.hardware.description import DeviceDescription, EngineSettings
from edgenas.hardware.device import Device

Array = npt.NDArray[Any]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Natural = Annotated[int, Field(ge=0, lt=1 << 63)]
Count = Annotated[int, Field(gt=0, lt=1 << 63)]
"""As large as a clock's nanoseconds or a memory's size can be; what is beyond is garbage."""

LOAD_S = 60.0
BUILD_S = 600.0
"""How long a model may take to load, and where an engine is built from it on the device first."""


class Reply(BaseModel):
    """Base of what is told of a measuring process; anything else is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EngineInfo(Reply):
    """What a bench runs with."""

    engine: str
    engine_version: str
    affinity: tuple[Natural, ...]
    threads: Count
    timer_resolution_ns: Count


class Tensor(Reply):
    """An input or output of a model; a batch left open is 1."""

    name: str
    shape: tuple[Natural, ...]
    dtype: str


class LoadInfo(Reply):
    """A model on the bench: how long it took to load, and what of it the delegate left out.

    `load_ms` is opening the file, `build_ms` compiling it on the device before that, `first_ms` the
    first inference. `rss_before_kib` and `rss_kib` are the memory of the whole measuring process
    before and after, `peak_kib` its most in between; a program that tells how much it grew by has
    0 before. Where another processor computes there is no peak: its memory is not the process's.
    `outside` names the operators that the delegate does not run.
    """

    load_ms: Positive
    build_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    first_ms: Positive | None = None
    rss_before_kib: Natural | None = None
    rss_kib: Natural
    peak_kib: Natural | None = None
    inputs: tuple[Tensor, ...]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    delegated: bool
    outside: tuple[str, ...]

    @property
    def peak_memory_kib(self) -> int | None:
        """The most memory that loading and the first inference added, if it is told."""
        if self.peak_kib is None or self.rss_before_kib is None:
            return None
        return max(self.peak_kib - self.rss_before_kib, 0)


class NodeInfo(Reply):
    """One operator as the engine runs it, with all its inputs, weights included."""

    kind: str
    name: str
    in_shapes: tuple[tuple[int, ...], ...]
    out_shapes: tuple[tuple[int, ...], ...]
    inside: bool


class Visit(Reply):
    """The timed runs of one visit, in milliseconds; `at_s` is when it began, since the start."""

    key: str
    at_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    samples_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Repeated:
    """How often a model ran back to back, and how long it was from one run to the next."""

    n_runs: int
    period_ms: float


class Bench(ABC):
    """One engine on one device, with models loaded side by side and timed in any order.

    Every method raises:
        RefusedError: the measuring process refused; it lives on.
        AgentError: it died (see `alive`); the message holds the end of its error output.
        DeviceTimeoutError: no answer in time; the process is killed.
    A bench whose process has gone is not restarted: open a new one.
    """

    device: Device
    runtime: Runtime

    @property
    @abstractmethod
    def info(self) -> EngineInfo:
        """What the engine is and what it runs on."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether requests can still be made."""

    @abstractmethod
    def load(self, key: str, path: Path, *, timeout_s: float | None = None) -> LoadInfo:
        """Load the model file at `path` under the name `key` and run it once.

        `timeout_s` is as long as the runtime allows if nothing is given.
        """

    @abstractmethod
    def unload(self, key: str, *, timeout_s: float = 60.0) -> None:
        """Free the model called `key`."""

    @abstractmethod
    def memory_kib(self, *, timeout_s: float = 10.0) -> int:
        """Return the memory that the measuring process holds now."""

    @abstractmethod
    def visit(
        self,
        keys: Sequence[str],
        *,
        n_runs: int,
        n_warmup: int,
        timeout_s: float,
        deadline_s: float | None = None,
    ) -> list[Visit]:
        """Visit the models in the order of `keys`: each `n_warmup` runs, then `n_runs` timed.

        After `deadline_s` no further visit begins and the list is shorter than `keys`;
        `timeout_s` is for the whole call and loses all its visits.
        """

    def run_for(self, key: str, *, duration_s: float, timeout_s: float) -> Repeated:
        """Run one model back to back for `duration_s`, with whatever starting it takes before."""
        raise AgentError(f"{self.runtime.name} cannot run a model for a given time")

    @abstractmethod
    def infer(
        self, key: str, arrays: Mapping[str, Array], *, timeout_s: float = 60.0
    ) -> dict[str, Array]:
        """Return the outputs of a model, by name, for inputs by name."""

    @abstractmethod
    def nodes(self, key: str, *, timeout_s: float = 60.0) -> tuple[NodeInfo, ...]:
        """Return the operators of a model after the engine's own optimisation.

        LiteRT does not show what XNNPACK fuses: its nodes are those of the file, `inside` if
        the delegate runs them. An engine may read the file again, which must still be there.
        """

    @abstractmethod
    def kill(self) -> None:
        """End the measuring process at once."""

    @abstractmethod
    def close(self) -> None:
        """End the measuring process."""

    def _load_limit_s(self, asked_s: float | None) -> float:
        """Return how long loading may take: as asked, or as the runtime allows."""
        if asked_s is not None:
            return asked_s
        return self.runtime.load_timeout_s(self.device.description)


def check_runs(n_runs: int, n_warmup: int, timeout_s: float) -> None:
    """Refuse a visit that times nothing.

    Raises:
        RefusedError: always about the caller's numbers.
    """
    if n_runs < 1 or n_warmup < 0 or timeout_s <= 0:
        raise RefusedError(
            f"a visit needs n_runs >= 1, n_warmup >= 0 and timeout_s > 0, "
            f"not {n_runs}, {n_warmup} and {timeout_s}"
        )


def check_precision(precision: str) -> None:
    """Refuse what is no precision.

    Raises:
        UsageError: it is none.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"{precision!r} is no precision; there are: {', '.join(PRECISIONS)}")


class Runtime(ABC):
    """An engine, by name; it holds no state and runs nothing in this process."""

    name: ClassVar[str]
    format: ClassVar[str]
    """The format of the model files that it runs, a name of `edgenas.core.artifact.FORMATS`."""
    also: ClassVar[tuple[str, ...]] = ()
    """Formats of files that it runs beside, and that are made on the device."""
    precisions: ClassVar[tuple[str, ...]]
    """Those in which it runs the files that edgenas writes."""
    returns_outputs: ClassVar[bool] = True
    """Whether its benches can infer: some programs compute on inputs of their own."""
    symmetric: ClassVar[bool] = False
    """Whether its 8 bits are signed and symmetric around 0, as TensorRT's are."""

    @classmethod
    def runs(cls, model_format: str | None) -> bool:
        """Return whether it runs files of a format."""
        return model_format in (cls.format, *cls.also)

    @abstractmethod
    def settings(self, description: DeviceDescription) -> EngineSettings:
        """Return the settings of this runtime on a device."""

    @abstractmethod
    def open(
        self, device: Device, *, timeout_s: float, precision: str = "float32"
    ) -> AbstractContextManager[Bench]:
        """Return a bench on a claimed device, which is up within `timeout_s`, closed on leaving.

        `precision` is that of the models: engines that may compute in another one than the file's
        are told not to, and those that have to be allowed it are allowed it.

        Raises:
            MissingExtraError: the engine is not installed on the device.
            AgentError: the measuring process does not come up or is not what is expected.
            DeviceTimeoutError: it does not come up in time.
            DeviceError: the device cannot be used.
        """

    @property
    @abstractmethod
    def requirement(self) -> str:
        """What pip installs for it, e.g. ``edgenas[onnx]``."""

    def load_timeout_s(self, description: DeviceDescription) -> float:
        """Return how long loading a model may take on a device: minutes, if it is built there."""
        return LOAD_S

    def absent_reason(self, description: DeviceDescription) -> str | None:
        """Return why a device, by its description, does not have this runtime, or None."""
        return None

    def unavailable_reason(self) -> str | None:
        """Return why the engine cannot be used on this machine, or None if it can."""
        return None

    def version(self) -> str | None:
        """Return the engine's version on this machine, or None if it is not installed."""
        return None


RUNTIMES: Registry[type[Runtime]] = Registry("runtime")
"""Runtimes by name."""


def runtimes_on(description: DeviceDescription) -> tuple[str, ...]:
    """Return the names of the runtimes that a device has, by its description."""
    return tuple(
        name for name, kind in RUNTIMES.items() if kind().absent_reason(description) is None
    )
