"""A small space to profile, and a bench without an engine whose times are known."""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgenas.core.errors import AgentError
from edgenas.costs.table import CostTable
from edgenas.hardware.device import Device, load_device
from edgenas.profiling import profile as profile_module
from edgenas.profiling import workload as workload_module
from edgenas.profiling.workload import ProfileSettings
from edgenas.runtimes import Visit
from edgenas.spaces.base import SearchSpace
from edgenas.testing.space_contract import width_space

Samples = dict[int, tuple[str, float, list[float]]]
Make = Callable[..., CostTable]


@dataclass
class FakeProcess:
    """What one measuring process was given and what it timed."""

    models: dict[str, bytes] = field(default_factory=dict)
    visited: list[str] = field(default_factory=list)


@dataclass
class FakeBench:
    """Times that follow from the key alone; dies at the visits that it is told to.

    `slowdown` says what a time is multiplied with, by the whole key and thus by the session.
    """

    version: str = "1.0"
    dies_after: float = float("inf")
    slowdown: Callable[[str], float] = lambda key: 1.0
    processes: list[FakeProcess] = field(default_factory=list)
    visited: list[str] = field(default_factory=list)

    @property
    def n_opened(self) -> int:
        return len(self.processes)

    @property
    def info(self) -> Any:
        return SimpleNamespace(engine_version=self.version, affinity=(0,))

    @contextmanager
    def open(
        self, device: Device, runtime: str, *, precision: str, timeout_s: float
    ) -> Iterator["FakeBench"]:
        self.processes.append(FakeProcess())
        with device.claim():
            yield self

    def load(self, key: str, path: Path) -> None:
        models = self.processes[-1].models
        assert key not in models
        models[key] = path.read_bytes()

    def visit(
        self, keys: Sequence[str], *, n_runs: int, n_warmup: int, timeout_s: float
    ) -> list[Visit]:
        process = self.processes[-1]
        assert process.models.keys() >= set(keys)
        if len(self.visited) + len(keys) > self.dies_after:
            raise AgentError("the measuring process died: as it was told to")
        self.visited += keys
        process.visited += keys
        return [Visit(key=key, at_s=0.0, samples_ms=tuple([self.ms(key)] * n_runs)) for key in keys]

    def ms(self, key: str) -> float:
        """Returns made-up milliseconds: networks about one, operators a fifth of that."""
        spread = 1 + zlib.crc32(key.partition("@")[0].encode()) % 1000 / 2000
        return round(spread * (0.2 if key.startswith("op:") else 1.0) * self.slowdown(key), 6)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> FakeBench:
    """Takes the place of every engine; a model file is the graph's text.

    The first chunk of a process is four visits, all others are one.
    """
    fake = FakeBench()
    monkeypatch.setattr(profile_module, "open_bench", fake.open)
    monkeypatch.setattr(
        workload_module, "model_bytes", lambda graph, *_, **__: repr(graph).encode()
    )
    monkeypatch.setattr(profile_module, "_CHUNK_S", 0.0)
    return fake


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return width_space()


@pytest.fixture
def device() -> Device:
    return load_device("local")


@pytest.fixture
def few() -> ProfileSettings:
    """As little as there can be."""
    return ProfileSettings(
        n_networks=20,
        n_operator_visits=2,
        n_network_visits=2,
        n_runs=2,
        anchor_every=10,
        n_pools=1,
        n_sessions=3,
        n_session_networks=10,
        least_session_s=0,
    )


@pytest.fixture
def make(
    bench: FakeBench, device: Device, space: SearchSpace, few: ProfileSettings, tmp_path: Path
) -> Make:
    """A function that makes a table; each argument of `profile` can be another one."""

    def make(
        root: Path = tmp_path,
        settings: ProfileSettings = few,
        *,
        device: Device = device,
        space: SearchSpace = space,
        **others: Any,
    ) -> CostTable:
        return profile_module.profile(device, "onnxruntime", space, settings, root, **others)

    return make


@pytest.fixture
def die_after(bench: FakeBench, make: Make) -> Callable[..., None]:
    """A function that begins a table, as `make` would, and dies after so many visits."""

    def die_after(n_visits: int, *args: Any, **others: Any) -> None:
        bench.dies_after = n_visits
        with pytest.raises(AgentError, match="as it was told to"):
            make(*args, **others)
        bench.dies_after = float("inf")

    return die_after


@pytest.fixture
def read_samples() -> Callable[[Path], Samples]:
    """A function that reads the samples beside a table: visit to (key, seconds, milliseconds)."""

    def read(path: Path) -> Samples:
        packed = path.with_name(path.name.removesuffix(".csv") + ".samples.csv.gz")
        found: Samples = {}
        with gzip.open(packed, "rt") as stream:
            for row in csv.DictReader(stream):
                visit: tuple[str, float, list[float]] = (row["artefact"], float(row["at_s"]), [])
                key, at_s, times = found.setdefault(int(row["visit"]), visit)
                assert (key, at_s) == visit[:2]
                assert int(row["run"]) == len(times)
                times.append(float(row["latency_ms"]))
        return found

    return read
