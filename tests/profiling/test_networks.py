"""Tables of whole networks' costs: measured once, resumed, refused; fakes take engines' place."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgenas.core.errors import AgentError, OtherDeviceError, StorageError, UsageError
from edgenas.costs.kinds import SOURCES, Kind, Source
from edgenas.costs.samples import read_samples
from edgenas.costs.table import CostTable, networks_journal_path, samples_path
from edgenas.hardware.device import Device
from edgenas.profiling import networks as networks_module
from edgenas.profiling import retrying, whole_networks
from edgenas.profiling import workload as workload_module
from edgenas.profiling.campaign import Campaign
from edgenas.profiling.networks import profile_networks
from edgenas.profiling.whole_networks import MEASURES, NetworkSettings, measure_costs, reduced
from edgenas.spaces.base import SearchSpace
from tests.costs.conftest import price
from tests.profiling.conftest import Make

SETTINGS = NetworkSettings(n_networks=20, n_sessions=2, n_processes=3)
FOOTPRINTS: list[Kind] = ["load", "cold_start", "peak_memory"]


@dataclass
class FakeMeasures:
    """Takes the place of everything that measures files; costs follow from a file's bytes."""

    dies_after: float = float("inf")
    calls: list[tuple[Source, int]] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)
    error: Exception = field(default_factory=lambda: AgentError("died as it was told to"))
    version: str = "1.0"
    precision: str = "float32"

    @property
    def n_measured(self) -> int:
        return sum(n for _, n in self.calls)

    @contextmanager
    def open(
        self, device: Device, runtime: str, *, precision: str, timeout_s: float
    ) -> Iterator[Any]:
        assert precision == self.precision
        yield SimpleNamespace(info=SimpleNamespace(engine_version=self.version, affinity=(0,)))

    def measure(self, source: Source) -> Callable[..., dict[str, dict[str, Any]]]:
        def measure(
            device: Device,
            runtime: str,
            paths: Mapping[str, Path],
            settings: NetworkSettings,
            precision: str,
        ) -> dict[str, dict[str, Any]]:
            assert precision == self.precision
            if self.n_measured + len(paths) > self.dies_after:
                raise self.error
            self.calls.append((source, len(paths)))
            return {key: self.values(path.read_bytes()) for key, path in paths.items()}

        return measure

    def values(self, content: bytes) -> dict[str, Any]:
        size = len(content) / 1000 + zlib.crc32(content) % 100 / 1e4
        values = {
            "load_ms": 10 + size,
            "build_ms": 0.0,
            "first_ms": size / 2,
            "peak_memory_kib": 9000 + round(100 * size),
            "energy_mj": size,
            "low": 0.9 * size,
            "high": 1.1 * size,
            "meter": "rapl package-0",
            "provenance": "measured",
            "p95_ms": 1 + size,
        }
        return values | self.changes


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMeasures:
    fake = FakeMeasures()
    monkeypatch.setattr(networks_module, "open_bench", fake.open)
    monkeypatch.setattr(
        workload_module, "model_bytes", lambda graph, *_, **__: repr(graph).encode()
    )
    for source in MEASURES:
        monkeypatch.setitem(whole_networks.MEASURES, source, fake.measure(source))
    monkeypatch.setattr(retrying, "_RETRY_S", (0.0,))
    monkeypatch.setattr(whole_networks, "_APART_S", 0.0)
    return fake


@pytest.fixture
def latency(make: Make, tmp_path: Path) -> CostTable:
    return make(tmp_path / "latency")


@pytest.fixture
def made(fake: FakeMeasures, device: Device, space: SearchSpace, tmp_path: Path) -> Any:
    """A function that makes tables; each argument of `profile_networks` can be another one."""

    def make(
        kinds: list[Kind],
        root: Path = tmp_path,
        settings: NetworkSettings = SETTINGS,
        **others: Any,
    ) -> dict[Kind, CostTable]:
        return profile_networks(
            device, "onnxruntime", space, kinds, root, settings=settings, **others
        )

    return make


def test_what_one_measurement_tells_is_measured_once(
    fake: FakeMeasures, made: Any, latency: CostTable, space: SearchSpace
) -> None:
    told: list[tuple[str, int, int]] = []
    tables = made(
        [*FOOTPRINTS, "energy"], latency=latency, progress=lambda *what: told.append(what)
    )
    assert list(tables) == ["energy", *FOOTPRINTS]
    n_loads, n_energies = 20 * 2 * 3, 20 * 2
    assert [source for source, _ in fake.calls] == ["energy"] * 8 + ["footprint"] * n_loads
    assert told[0] == (f"energy of {space.name} on onnxruntime", 0, n_energies)
    assert told[-1] == (f"footprint of {space.name} on onnxruntime", n_loads, n_loads)
    for kind, table in tables.items():
        path = Path(table.source)
        assert path.name == f"{space.name}.{kind}.csv"
        assert CostTable.load(path).passport.network_fit == table.passport.network_fit
        own = table.passport
        assert (own.kind, own.provenance, own.runtime.version) == (kind, "fitted", "1.0")
        assert own.network_fit is not None
        assert own.network_plan is not None
        assert own.network_plan.n_sessions == 2
        assert own.network_fit.n_networks == 20
        assert own.environment is not None
        assert not networks_journal_path(path, kind, space=space.name).exists()
        n = n_energies if kind == "energy" else n_loads
        assert len(read_samples(samples_path(path), kind)) == n
    assert tables["load"].passport.parents == []
    (parent,) = tables["cold_start"].passport.parents
    assert parent.checksum == latency.passport.checksum
    plan = tables["energy"].passport.network_plan
    assert plan is not None
    assert (plan.run_s, plan.idle_s, plan.n_processes) == (10, 5, None)
    assert plan.meter == "rapl package-0"
    plan = tables["peak_memory"].passport.network_plan
    assert plan is not None
    assert (plan.run_s, plan.n_processes) == (None, 3)


def test_every_network_is_measured_in_every_session(device: Device, space: SearchSpace) -> None:
    campaign = Campaign(device, "onnxruntime", space, ["load"], SETTINGS, "float32")
    first, second = campaign.orders(20)
    assert sorted(first) == sorted(second) == sorted([*range(20)] * 3)
    assert first != second
    assert sorted(first[:20]) == [*range(20)]
    assert campaign.orders(20) == [first, second]


@pytest.mark.parametrize("n_bytes", [0, 1, 17])
def test_what_was_killed_goes_on_without_loss_or_double_visits(
    fake: FakeMeasures, made: Any, space: SearchSpace, tmp_path: Path, n_bytes: int
) -> None:
    whole = made(["load"], tmp_path / "whole")["load"]
    fake.calls.clear()
    fake.dies_after = 50
    with pytest.raises(AgentError, match="as it was told to"):
        made(["load"])
    assert not list(tmp_path.glob("*/*/*.csv"))
    (journal,) = tmp_path.glob("*/*/*.footprint.journal.jsonl")
    if n_bytes:  # cut off in the middle of a line
        content = journal.read_bytes()
        journal.write_bytes(content[:-n_bytes])
    fake.dies_after = float("inf")
    table = made(["load"])["load"]
    lost = 1 if n_bytes else 0
    assert fake.n_measured == 20 * 2 * 3 + lost
    assert table.rows == whole.rows
    assert table.passport.network_fit == whole.passport.network_fit
    visits = read_samples(samples_path(Path(table.source)), "load")
    assert [visit.number for visit in visits] == [*range(120)]


def test_kinds_of_one_measurement_can_be_finished_one_by_one(
    fake: FakeMeasures, made: Any, tmp_path: Path
) -> None:
    fake.dies_after = 100
    with pytest.raises(AgentError):
        made(["load", "peak_memory"])
    fake.dies_after = float("inf")
    assert list(made(["peak_memory"])) == ["peak_memory"]
    assert fake.n_measured == 120
    assert not list(tmp_path.glob("*/*/*.load.csv"))


def test_a_loss_is_gone_on_from(fake: FakeMeasures, made: Any, device: Device) -> None:
    fake.dies_after = 30
    renewed: list[bool] = []

    def renew() -> None:
        renewed.append(True)
        fake.dies_after = float("inf")

    device.renew = renew  # type: ignore[method-assign]
    assert made(["load"], n_retries=1)["load"].passport.network_fit is not None
    assert renewed == [True]
    assert fake.n_measured == 120


def test_another_device_ends_it(fake: FakeMeasures, made: Any) -> None:
    fake.dies_after, fake.error = 30, OtherDeviceError("another one answers")
    with pytest.raises(OtherDeviceError):
        made(["load"], n_retries=3)
    assert fake.n_measured == 30


def test_a_journal_of_something_else_is_not_gone_on_with(fake: FakeMeasures, made: Any) -> None:
    fake.dies_after = 10
    with pytest.raises(AgentError):
        made(["load"])
    fake.dies_after = float("inf")
    with pytest.raises(StorageError, match="was begun with another networks, settings"):
        made(["load"], settings=NetworkSettings(n_networks=21, n_sessions=2))
    fake.version = "2.0"
    with pytest.raises(StorageError, match=r"begun with engine 1\.0, now it is 2\.0"):
        made(["load"])


@pytest.mark.parametrize("broken", ['"values": {}', '"values": 3', '"valuables": {}'])
def test_a_journal_that_was_damaged_is_refused(
    fake: FakeMeasures, made: Any, tmp_path: Path, broken: str
) -> None:
    fake.dies_after = 10
    with pytest.raises(AgentError):
        made(["load"])
    (journal,) = tmp_path.glob("*/*/*.footprint.journal.jsonl")
    with journal.open("a") as stream:
        stream.write(f'{{"k": 10, "key": "net:1", "at_s": 99.0, {broken}}}\n')
    with pytest.raises(StorageError, match="none of a measurement"):
        made(["load"])


@pytest.mark.parametrize(
    ("kinds", "changes", "message"),
    [
        (
            ["peak_memory"],
            {"peak_memory_kib": None},
            r"the peak_memory of a model .* is not told.*\(the memory of a GPU is no process's own",
        ),
        (["peak_memory"], {"peak_memory_kib": 0}, "is 0: nothing can be said"),
        (["load"], {"load_ms": float("inf")}, "the load of a model .* is inf"),
    ],
)
def test_what_is_not_told_is_refused_at_once(
    fake: FakeMeasures, made: Any, kinds: list[Kind], changes: dict[str, Any], message: str
) -> None:
    fake.changes = changes
    with pytest.raises(UsageError, match=message):
        made(kinds, n_retries=3)
    assert fake.n_measured == 1


def test_a_cold_start_needs_the_first_run(
    fake: FakeMeasures, made: Any, latency: CostTable
) -> None:
    fake.changes = {"first_ms": None}
    assert list(made(["load"])) == ["load"]
    with pytest.raises(UsageError, match="the cold_start of a model"):
        made(["cold_start"], latency=latency)


def test_modelled_energies_say_so(fake: FakeMeasures, made: Any, latency: CostTable) -> None:
    fake.changes = {"provenance": "modelled", "meter": "modelled"}
    own = made(["energy"], latency=latency)["energy"].passport
    assert own.provenance == "modelled"
    assert own.network_plan is not None
    assert (own.network_plan.run_s, own.network_plan.meter) == (None, "modelled")


def test_what_cannot_be_made_is_refused_before_measuring(fake: FakeMeasures, made: Any) -> None:
    with pytest.raises(UsageError, match="latencies are measured operator by operator"):
        made(["latency"])
    with pytest.raises(UsageError, match="energy, sustained_p95 start from a table of latencies"):
        made(["energy", "load", "sustained_p95"])
    assert fake.calls == []
    assert made([]) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_networks": 19}, "n_networks is 19; at least 20"),
        ({"n_processes": 0}, "n_processes is 0; at least 1"),
        ({"load_s": 0.0}, "load_s is 0.0; a time above 0"),
        ({"run_s": float("nan")}, "run_s is nan"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        NetworkSettings(**changes)


def test_settings_follow_from_what_is_measured() -> None:
    assert [NetworkSettings().of(source).n_networks for source in MEASURES] == [60, 40, 30]
    assert [NetworkSettings().of(source).n_processes for source in MEASURES] == [5, 1, 1]
    assert NetworkSettings(n_networks=25).of("energy").n_networks == 25
    assert set(MEASURES) == set(SOURCES.values()) - {"operators"}


def test_several_measurements_of_a_file_become_one() -> None:
    loads = [
        {"load_ms": 3.0, "first_ms": 1.0, "peak_memory_kib": 1024},
        {"load_ms": 9.0, "first_ms": 2.0, "peak_memory_kib": 3072},
        {"load_ms": 4.0, "first_ms": 9.0, "peak_memory_kib": 2048},
    ]
    assert reduced("load", loads) == 3.0
    assert reduced("cold_start", loads) == 4.0
    assert reduced("peak_memory", loads) == 3.0
    assert reduced("cold_start", [*loads, {"load_ms": 3.0, "first_ms": None}]) is None
    assert reduced("load", []) is None


def test_networks_and_files_are_measured_in_the_precision_asked_for(
    fake: FakeMeasures, made: Any, device: Device, tmp_path: Path
) -> None:
    fake.precision = "float16"
    table = made(["load"], precision="float16")["load"]
    assert table.passport.runtime.precision == "float16"
    (tmp_path / "file").write_bytes(b"x" * 1000)
    paths = {"file": tmp_path / "file"}
    measure_costs(device, "onnxruntime", paths, ["load"], settings=SETTINGS, precision="float16")


def test_files_are_measured_as_networks_are(
    fake: FakeMeasures, device: Device, tmp_path: Path
) -> None:
    paths = {name: tmp_path / name for name in ("small", "large")}
    paths["small"].write_bytes(b"x" * 1000)
    paths["large"].write_bytes(b"x" * 9000)
    kinds: list[Kind] = ["peak_memory", "energy", "load"]
    found = measure_costs(device, "onnxruntime", paths, kinds, settings=SETTINGS)
    assert fake.calls == [("footprint", 2)] * 3 + [("energy", 2)]
    assert set(found["small"]) == set(kinds)
    assert found["small"]["load"].value == pytest.approx(11, abs=0.02)
    energy = found["large"]["energy"]
    assert energy.value == pytest.approx(9, abs=0.02)
    assert energy.low is not None
    assert energy.low < energy.value
    assert (energy.provenance, energy.meter) == ("measured", "rapl package-0")
    fake.changes = {"peak_memory_kib": None}
    with pytest.raises(UsageError, match="ask for other kinds of costs"):
        measure_costs(device, "onnxruntime", paths, kinds)


def test_operators_get_costs_that_predict_networks(
    made: Any,
    fake: FakeMeasures,
    device: Device,
    space: SearchSpace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth: dict[bytes, float] = {}

    def graph_bytes(graph: Any, *_: Any, **__: Any) -> bytes:
        content = repr(graph).encode()
        truth[content] = 5 + sum(price(node) for node in ops_of[content])
        return content

    ops_of = {
        repr(space.network(row)).encode(): [op for _, op in space.ops(row)]
        for row in Campaign(device, "onnxruntime", space, ["load"], SETTINGS, "float32").networks()
    }
    monkeypatch.setattr(workload_module, "model_bytes", graph_bytes)
    monkeypatch.setattr(fake, "values", lambda content: {"load_ms": truth[content]})
    fit = made(["load"])["load"].passport.network_fit
    assert fit.held_out.mape < 0.02
    assert fit.noise_ceiling.mape == 0
