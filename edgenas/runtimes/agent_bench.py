"""A bench by the agent: a measuring process with Python and the engine, kept for many models."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgenas.core.errors import AgentError, DeviceError, RefusedError
from edgenas.core.extras import requirement_of, unavailable_reason
from edgenas.hardware.description import DeviceDescription
from edgenas.hardware.device import LOCAL, Device
from edgenas.hardware.power.base import Reading, Source
from edgenas.runtimes.base import (
    Array,
    Bench,
    Count,
    LoadInfo,
    Natural,
    NodeInfo,
    Repeated,
    Reply,
    Runtime,
    Visit,
    check_runs,
)
from edgenas.runtimes.client import AgentClient, BenchInfo
from edgenas.runtimes.sustained import RawReadings, RawRuns, RawSustained, Sustained

log = logging.getLogger(__name__)

_SPARE_S = 30.0


class _RawVisit(Reply):
    key: str
    at_ns: Natural
    samples_ns: tuple[Count, ...]


class _Visits(Reply):
    visits: tuple[_RawVisit, ...]


class _Memory(Reply):
    rss_kib: Natural


class _Outputs(Reply):
    outputs: dict[str, str]


class _Nodes(Reply):
    nodes: tuple[NodeInfo, ...]


class AgentBench(Bench):
    """A bench whose models live in one process of the agent on the device."""

    def __init__(
        self, device: Device, runtime: Runtime, client: AgentClient, info: BenchInfo
    ) -> None:
        self.device = device
        self.runtime = runtime
        self._info = info
        self._client = client
        self._paths: dict[str, Path] = {}

    @property
    def info(self) -> BenchInfo:  # noqa: D102
        return self._info

    @property
    def alive(self) -> bool:  # noqa: D102
        return self._client.alive

    def load(  # noqa: D102
        self, key: str, path: Path, *, timeout_s: float | None = None
    ) -> LoadInfo:
        limit_s = self._load_limit_s(timeout_s)
        with self._placed(path) as remote:
            info = self._client.call("load", LoadInfo, timeout_s=limit_s, key=key, path=remote)
        self._paths[key] = path
        if info.outside or not info.delegated:
            left = ", ".join(sorted(set(info.outside))) or "everything"
            log.warning("%s: %s runs outside the delegate: %s", path, self.runtime.name, left)
        if self.runtime.settings(self.device.description).on_gpu:
            return info.model_copy(update={"peak_kib": None})
        return info

    def unload(self, key: str, *, timeout_s: float = 60.0) -> None:  # noqa: D102
        self._client.call("unload", _Memory, timeout_s=timeout_s, key=key)
        self._paths.pop(key, None)

    def memory_kib(self, *, timeout_s: float = 10.0) -> int:  # noqa: D102
        return self._client.call("memory", _Memory, timeout_s=timeout_s).rss_kib

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
        raw = self._client.call(
            "visit",
            _Visits,
            timeout_s=timeout_s,
            sequence=list(keys),
            n_runs=n_runs,
            n_warmup=n_warmup,
            deadline_s=deadline_s,
        ).visits
        self._check(raw, keys, n_runs, cut=deadline_s is not None)
        return [
            Visit(
                key=visit.key,
                at_s=visit.at_ns / 1e9,
                samples_ms=tuple(sample / 1e6 for sample in visit.samples_ns),
            )
            for visit in raw
        ]

    def infer(  # noqa: D102
        self, key: str, arrays: Mapping[str, Array], *, timeout_s: float = 60.0
    ) -> dict[str, Array]:
        reply = self._client.call(
            "infer",
            _Outputs,
            timeout_s=timeout_s,
            key=key,
            inputs={name: _encoded(array) for name, array in arrays.items()},
        )
        try:
            return {name: _decoded(text) for name, text in reply.outputs.items()}
        except Exception as error:  # the reader of foreign arrays fails in many ways
            raise AgentError(f"the outputs of {key!r} are not arrays: {error!r:.200}") from error

    def nodes(self, key: str, *, timeout_s: float = 60.0) -> tuple[NodeInfo, ...]:  # noqa: D102
        path = self._paths.get(key)
        with self._placed(path) if path else nullcontext():  # where it was when it was loaded
            return self._client.call("nodes", _Nodes, timeout_s=timeout_s, key=key).nodes

    def sustain(
        self, key: str | None, *, duration_s: float, timeout_s: float | None = None
    ) -> Sustained:
        """Run one model back to back for `duration_s`, or leave the device alone if `key` is None.

        The calling process waits as long. `timeout_s` is for everything; by default half a minute
        more than the duration.
        """
        limit_s = duration_s + _SPARE_S if timeout_s is None else timeout_s
        raw = self._client.call(
            "sustain", RawSustained, timeout_s=limit_s, key=key, duration_s=duration_s
        )
        at_ns: list[int] = []
        samples_ns: list[int] = []
        while len(at_ns) < raw.n_runs:
            fields = {"offset": len(at_ns), "count": raw.n_runs - len(at_ns)}
            part = self._client.call("runs", RawRuns, timeout_s=_SPARE_S, **fields)
            if not part.at_ns or len(part.at_ns) != len(part.samples_ns):
                self.kill()
                raise AgentError(f"of {raw.n_runs} runs only {len(at_ns)} came back")
            at_ns.extend(part.at_ns)
            samples_ns.extend(part.samples_ns)
        return Sustained(
            key=key,
            start_s=raw.start_ns / 1e9,
            end_s=raw.end_ns / 1e9,
            at_s=np.array(at_ns) / 1e9,
            samples_ms=np.array(samples_ns) / 1e6,
            peak_kib=raw.peak_kib,
        )

    def run_for(  # noqa: D102
        self, key: str, *, duration_s: float, timeout_s: float
    ) -> Repeated:
        run = self.sustain(key, duration_s=duration_s, timeout_s=timeout_s)
        return Repeated(n_runs=len(run.samples_ms), period_ms=run.period_ms)

    def sample(self, sources: Mapping[str, Source], *, timeout_s: float = 30.0) -> None:
        """Have a thread on the device read these sources from now on, and no others.

        Raises:
            AgentError: also if a source is not there; nothing is read then.
        """
        requests = [source.request(name) for name, source in sources.items()]
        self._client.call("sample", Reply, timeout_s=timeout_s, sources=requests)

    def readings(self, *, timeout_s: float = 30.0) -> dict[str, list[Reading]]:
        """Return what the sources showed since the last call; times are those of `visit`.

        Raises:
            AgentError: also if so much was read that some was lost: ask more often.
        """
        found: dict[str, list[Reading]] = {}
        more = True
        while more:
            raw = self._client.call("readings", RawReadings, timeout_s=timeout_s)
            if raw.n_dropped:
                raise AgentError(
                    f"{raw.n_dropped} readings of sensors were lost; read them at longer intervals"
                )
            for one in raw.readings:
                reading = Reading(at_s=one.at_ns / 1e9, values=one.values)
                found.setdefault(one.source, []).append(reading)
            more = raw.more
        return found

    def kill(self) -> None:  # noqa: D102
        self._client.kill()

    def close(self) -> None:  # noqa: D102
        self._client.close()

    @contextmanager
    def _placed(self, path: Path) -> Iterator[str]:
        """Put a file on the device for as long as the engine reads it."""
        if not path.is_file():
            raise RefusedError(f"{path}: no such model file")
        remote = self.device.connector.place(path)
        try:
            yield remote
        finally:
            if self.alive:  # else the way to the device may be lost; the folder goes with it
                with suppress(DeviceError):
                    self.device.connector.discard([remote])

    def _check(
        self, raw: Sequence[_RawVisit], keys: Sequence[str], n_runs: int, *, cut: bool
    ) -> None:
        """Refuse visits that are not those asked for, in their order, with all their samples."""
        found = [visit.key for visit in raw]
        short = [visit.key for visit in raw if len(visit.samples_ns) != n_runs]
        starts = [visit.at_ns for visit in raw]
        whole = len(found) == len(keys) or (cut and len(found) < len(keys))
        if not whole or found != list(keys[: len(found)]) or short or starts != sorted(starts):
            self._client.kill()
            raise AgentError(
                f"asked for {len(keys)} visits of {n_runs} runs, got {len(found)}, or other keys, "
                f"times out of order, wrong numbers of samples ({', '.join(short) or 'none'}); "
                "the measuring process is killed"
            )


class AgentRuntime(Runtime):
    """An engine that the agent imports as a Python module."""

    module: ClassVar[str]
    """What the measuring process imports."""
    distribution: ClassVar[str]
    """The installed package that brings the module."""
    packages_there: ClassVar[str]
    """What a device needs that edgenas itself is not installed on, for its Python."""
    bench: ClassVar[type[AgentBench]] = AgentBench
    """What is opened: a bench of its own where the engine can do more than others."""
    device_module: ClassVar[str | None] = None
    """The module with a plug-in's part of the measuring process, ``ENGINES``; no package.

    It travels to the device: it may import nothing but Python 3.8's own modules, numpy, the engine
    and `edgenas.runtimes.agent`.
    """

    @property
    def requirement(self) -> str:  # noqa: D102
        return requirement_of(self.module)

    def unavailable_reason(self) -> str | None:  # noqa: D102
        return unavailable_reason(self.module)

    def version(self) -> str | None:  # noqa: D102
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None

    def agent_settings(self, description: DeviceDescription, precision: str) -> dict[str, Any]:
        """Return the settings as the measuring process takes them; the affinity None is auto."""
        values = self.settings(description).model_dump(mode="json")
        affinity = None if values["affinity"] == "auto" else values["affinity"]
        return {**values, "affinity": affinity, "precision": precision}

    def remedy(self, device: Device) -> str:
        """Return what to do where the engine is missing; edgenas itself needs not be there."""
        if device.connector.address == LOCAL and device.python == device.connector.python:
            return f"run: pip install '{self.requirement}'"
        return (
            f"give {device.python} there {self.packages_there}; another interpreter, of a virtual "
            "environment for one, is named by the key python of the device file"
        )

    @contextmanager
    def open(  # noqa: D102
        self, device: Device, *, timeout_s: float, precision: str = "float32"
    ) -> Iterator[Bench]:
        settings = self.agent_settings(device.resolved, precision)
        client = AgentClient(
            device, self.name, self.remedy(device), settings, module=self.device_module
        )
        try:
            yield self.bench(device, self, client, client.hello(timeout_s))
        finally:
            client.close()


def _encoded(array: Array) -> str:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _decoded(text: str) -> Array:
    content = io.BytesIO(base64.b64decode(text, validate=True))
    array: Array = np.lib.format.read_array(content, allow_pickle=False)
    return array
