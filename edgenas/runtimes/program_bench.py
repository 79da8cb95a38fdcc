"""What benches share whose engine is a program of the device: one process a visit."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError, RefusedError
from edgenas.hardware.device import Device
from edgenas.runtimes.base import Array, Bench, EngineInfo, Runtime, Visit, check_runs


@dataclass(frozen=True, slots=True)
class PlacedModel:
    """A loaded model: the file on the device that the program runs."""

    remote: str


Model = TypeVar("Model", bound=PlacedModel)


class ProgramBench(Bench, Generic[Model]):
    """A bench whose models are files on the device; each visit starts the program anew.

    There is no process between two visits: nothing is held in memory then, and as a rule nothing
    can be computed with given inputs. What a bench adds is `load`, which ends with an entry in
    `_models`, `nodes`, and the two methods below that are abstract.
    """

    comparable: ClassVar[str]
    """The runtime of the same engine that computes with given inputs."""

    def __init__(self, device: Device, runtime: Runtime, info: EngineInfo) -> None:
        self.device, self.runtime = device, runtime
        self._info = info
        self._models: dict[str, Model] = {}
        self._opened = time.monotonic()
        self._alive = True

    @abstractmethod
    def _samples_ms(
        self, model: Model, n_runs: int, n_warmup: int, timeout_s: float
    ) -> tuple[float, ...]:
        """Return the times of exactly `n_runs` runs, each process of them warmed up."""

    @abstractmethod
    def _remove(self, remotes: Sequence[str]) -> None:
        """Remove the files of models from the device."""

    @property
    def info(self) -> EngineInfo:  # noqa: D102
        return self._info

    @property
    def alive(self) -> bool:  # noqa: D102
        return self._alive

    def unload(self, key: str, *, timeout_s: float = 60.0) -> None:  # noqa: D102
        remote = self._model(key).remote
        del self._models[key]
        self._discard([remote])

    def memory_kib(self, *, timeout_s: float = 10.0) -> int:  # noqa: D102
        raise AgentError(
            f"{self.runtime.name} holds no memory between visits; what a model takes is in its "
            "LoadInfo, if the program tells"
        )

    def visit(  # noqa: D102
        self,
        keys: Sequence[str],
        *,
        n_runs: int,
        n_warmup: int,
        timeout_s: float,
        deadline_s: float | None = None,
    ) -> list[Visit]:
        check_runs(n_runs, n_warmup, timeout_s)
        self._check_alive()
        models = [(key, self._model(key)) for key in keys]
        began = time.monotonic()
        visits: list[Visit] = []
        for key, model in models:
            now = time.monotonic()
            if deadline_s is not None and now - began >= deadline_s:
                break
            samples_ms = self._samples_ms(model, n_runs, n_warmup, timeout_s - (now - began))
            visits.append(Visit(key=key, at_s=now - self._opened, samples_ms=samples_ms))
        return visits

    def infer(  # noqa: D102
        self, key: str, arrays: Mapping[str, Array], *, timeout_s: float = 60.0
    ) -> dict[str, Array]:
        raise AgentError(
            f"{self.runtime.name} computes on inputs of its own; compare outputs on a device with "
            f"the runtime {self.comparable}"
        )

    def kill(self) -> None:  # noqa: D102
        self._alive = False

    def close(self) -> None:  # noqa: D102
        self._alive = False
        left = [model.remote for model in self._models.values()]
        self._models.clear()
        self._discard(left)

    # -- for the benches -------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"{self.runtime.name} on the device {self.device.id!r}"

    def _run_program(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        """Return the exit status and all that it printed; a timeout ends the bench."""
        self._check_alive()
        try:
            if timeout_s <= 0:
                raise DeviceTimeoutError(f"no time is left for {self._where}")
            done = self.device.connector.run(argv, timeout_s)
        except DeviceTimeoutError:
            self._alive = False
            raise
        return done.status, (done.stdout + b"\n" + done.stderr).decode(errors="replace")

    def _check_new(self, key: str, path: Path) -> None:
        """Refuse a model that cannot be loaded, for the reasons that no program matters to."""
        self._check_alive()
        if key in self._models:
            raise RefusedError(f"the key {key!r} is loaded already")
        if not path.is_file():
            raise RefusedError(f"{path}: no such model file")

    def _model(self, key: str) -> Model:
        if key not in self._models:
            raise RefusedError(f"no model is loaded under the key {key!r}")
        return self._models[key]

    def _discard(self, remotes: Iterable[str]) -> None:
        """Remove files that are loaded under no other key; what stays goes with the connector."""
        used = {model.remote for model in self._models.values()}
        left = sorted(set(remotes) - used)
        if left:
            with suppress(DeviceError):
                self._remove(left)

    def _check_alive(self) -> None:
        if not self._alive:
            raise AgentError(f"{self._where} has ended; open a new bench")
