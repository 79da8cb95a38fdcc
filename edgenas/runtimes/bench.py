"""A bench: one engine on one device, with models loaded side by side and timed in any order."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgenas.core.errors import AgentError
from edgenas.hardware.device import Device
from edgenas.runtimes.base import RUNTIMES, Runtime
from edgenas.runtimes.client import AgentClient, BenchInfo, Natural, Positive, Reply

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]


class Tensor(Reply):
    """An input or output of a model; a batch left open is 1."""

    name: str
    shape: tuple[Natural, ...]
    dtype: str


class LoadInfo(Reply):
    """A model on the bench: how long it took to load, and what of it the delegate left out.

    `rss_kib` is the memory of the whole measuring process after loading. `outside` names the
    operators that the delegate does not run.
    """

    load_ms: Positive
    rss_kib: Natural
    inputs: tuple[Tensor, ...]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    delegated: bool
    outside: tuple[str, ...]


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


class _RawVisit(Reply):
    key: str
    at_ns: Natural
    samples_ns: tuple[Annotated[int, Field(gt=0)], ...]


class _Visits(Reply):
    visits: tuple[_RawVisit, ...]


class _Memory(Reply):
    rss_kib: Natural


class _Outputs(Reply):
    outputs: dict[str, str]


class _Nodes(Reply):
    nodes: tuple[NodeInfo, ...]


class Bench:
    """Loads, times and runs models of one runtime in a measuring process on a device.

    Every method raises:
        AgentError: the process refused (it lives on) or died (see `alive`); the message holds the
            end of its error output.
        DeviceTimeoutError: no answer in time; the process is killed, `alive` is False.
    A bench whose process has gone is not restarted: open a new one.
    """

    def __init__(
        self, device: Device, runtime: Runtime, client: AgentClient, info: BenchInfo
    ) -> None:
        self.device = device
        self.runtime = runtime
        self.info = info
        self._client = client

    @property
    def alive(self) -> bool:
        """Whether the measuring process still runs."""
        return self._client.alive

    def load(self, key: str, path: Path, *, timeout_s: float = 60.0) -> LoadInfo:
        """Load the model file at `path` under the name `key` and run it once."""
        if not path.is_file():
            raise AgentError(f"{path}: no such model file")
        remote = self.device.connector.place(path)
        info = self._client.call("load", LoadInfo, timeout_s=timeout_s, key=key, path=remote)
        if info.outside or not info.delegated:
            left = ", ".join(sorted(set(info.outside))) or "everything"
            log.warning("%s: %s runs outside the delegate: %s", path, self.runtime.name, left)
        return info

    def unload(self, key: str, *, timeout_s: float = 60.0) -> None:
        """Free the model called `key`."""
        self._client.call("unload", _Memory, timeout_s=timeout_s, key=key)

    def memory_kib(self, *, timeout_s: float = 10.0) -> int:
        """Return the memory that the measuring process holds now."""
        return self._client.call("memory", _Memory, timeout_s=timeout_s).rss_kib

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
        if n_runs < 1 or n_warmup < 0 or timeout_s <= 0:
            raise AgentError(
                f"a visit needs n_runs >= 1, n_warmup >= 0 and timeout_s > 0, "
                f"not {n_runs}, {n_warmup} and {timeout_s}"
            )
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

    def infer(
        self, key: str, arrays: Mapping[str, Array], *, timeout_s: float = 60.0
    ) -> dict[str, Array]:
        """Return the outputs of a model, by name, for inputs by name."""
        reply = self._client.call(
            "infer",
            _Outputs,
            timeout_s=timeout_s,
            key=key,
            inputs={name: _encoded(array) for name, array in arrays.items()},
        )
        try:
            return {name: _decoded(text) for name, text in reply.outputs.items()}
        except ValueError as error:
            raise AgentError(f"the outputs of {key!r} are not arrays: {error}") from error

    def nodes(self, key: str, *, timeout_s: float = 60.0) -> tuple[NodeInfo, ...]:
        """Return the operators of a model after the engine's own optimisation.

        LiteRT does not show what XNNPACK fuses: its nodes are those of the file, `inside` if
        the delegate runs them.
        """
        return self._client.call("nodes", _Nodes, timeout_s=timeout_s, key=key).nodes

    def close(self) -> None:
        """End the measuring process."""
        self._client.close()

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


@contextmanager
def open_bench(
    device: Device, runtime_name: str, *, timeout_s: float = 60.0, wait_s: float = 0.0
) -> Iterator[Bench]:
    """Claim the device, start the measuring process there, and end both on leaving.

    `timeout_s` is for the process to come up; `wait_s` for another holder of the device to go.

    Raises:
        RegistryError: there is no such runtime.
        MissingExtraError: its engine is not installed on the device.
        AgentError: the process does not come up or speaks another protocol.
        DeviceTimeoutError: it does not come up in time.
        DeviceError: another process holds the device.
    """
    runtime = RUNTIMES.get(runtime_name)()
    with device.claim(wait_s=wait_s):
        client = AgentClient(device, runtime)
        try:
            bench = Bench(device, runtime, client, client.hello(timeout_s))
            yield bench
        finally:
            client.close()


def _encoded(array: Array) -> str:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _decoded(text: str) -> Array:
    array: Array = np.load(io.BytesIO(base64.b64decode(text, validate=True)), allow_pickle=False)
    return array
