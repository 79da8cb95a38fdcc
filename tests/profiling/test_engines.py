"""Profiling with the real engines: tables end to end, killed at any moment, agents that die."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from edgenas.core.errors import AgentError, RegistryError
from edgenas.core.files import Journal
from edgenas.core.measurement import Measurement, MeasurementPlan
from edgenas.core.ops import parse_key
from edgenas.costs.model import LatencyModel
from edgenas.costs.table import CostTable
from edgenas.hardware.device import Device
from edgenas.profiling import measure as measure_module
from edgenas.profiling import profile as profile_module
from edgenas.profiling.measure import measure_files, measure_networks
from edgenas.profiling.profile import _plan, profile
from edgenas.profiling.workload import ProfileSettings, Workload, model_bytes
from edgenas.runtimes import Bench, open_bench
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace

Samples = dict[int, tuple[str, float, list[float]]]
ReadSamples = Callable[[Path], Samples]
PROFILE = """
import json, sys
from pathlib import Path
from edgenas.hardware.device import load_device
from edgenas.profiling.profile import profile
from edgenas.profiling.workload import ProfileSettings
from edgenas.testing.space_contract import width_space
settings = ProfileSettings(**json.loads(sys.argv[2]))
with load_device("local") as device:
    profile(device, sys.argv[1], width_space(), settings, Path(sys.argv[3]))
"""
RUNTIMES = {"onnxruntime": "onnx", "litert": "tflite"}


def path_of(root: Path, device: Device, space: SearchSpace, runtime: str) -> Path:
    return root / device.fingerprint.slug / f"{runtime}-float32" / f"{space.name}.csv"


def journal_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}.journal.jsonl")


def order_of(space: SearchSpace, settings: ProfileSettings) -> list[str]:
    """Returns the keys in the order of their visits, if all engines fit in memory at once."""
    workload = Workload.of(space, settings)
    return list(
        chain.from_iterable(_plan(workload, settings, workload.pools(settings, float("inf"))))
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_table_is_made_and_predicts(
    runtime: str,
    device: Device,
    space: SearchSpace,
    few: ProfileSettings,
    tmp_path: Path,
    read_samples: ReadSamples,
) -> None:
    profile(device, runtime, space, few, tmp_path)
    path = path_of(tmp_path, device, space, runtime)
    table = CostTable.load(path)
    samples = read_samples(path)
    assert [samples[k][0] for k in range(len(samples))] == order_of(space, few)
    assert all(len(ms) == few.n_runs and min(ms) > 0 for _, _, ms in samples.values())
    model = LatencyModel(space, table)
    value, low, high = model.predict(space.sample(30, np.random.default_rng(0)))
    assert (low < high).all()
    assert (value > 0).all()
    assert table.passport.runtime.name == runtime
    assert table.passport.runtime.affinity == [max(os.sched_getaffinity(0))]
    assert not journal_of(path).exists()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_blocks_with_pools_are_timed_and_predicted(
    runtime: str, device: Device, few: ProfileSettings, tmp_path: Path
) -> None:
    stages = [{"width": 32, "stride": 2, "depths": [1, 2]}]
    space = get("resnet_tiny", stages=stages, resolutions=[12], widths=[1.0], expansions=[0.25, 1])
    profile(device, runtime, space, few, tmp_path)
    table = CostTable.load(path_of(tmp_path, device, space, runtime))
    assert {parse_key(key).kind for key in table.rows} == {"resnet_stem", "bottleneck", "pool_head"}
    value, low, high = LatencyModel(space, table).predict(space.sample(9, np.random.default_rng(0)))
    assert (value > 0).all()
    assert (low < high).all()


def wait_for(condition: Callable[[], bool], child: subprocess.Popen[bytes]) -> bool:
    """Waits until `condition` holds; returns whether the child still ran then."""
    end = time.monotonic() + 60
    while child.poll() is None:
        if condition():
            return child.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    return False


def n_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def agents_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if "edgenas-agent" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


@pytest.mark.slow
def test_a_killed_run_goes_on_and_loses_and_doubles_nothing(
    device: Device,
    space: SearchSpace,
    tmp_path: Path,
    repository: Path,
    read_samples: ReadSamples,
) -> None:
    settings = ProfileSettings(
        n_networks=20,
        n_operator_visits=30,
        n_network_visits=40,
        n_runs=3,
        anchor_every=10,
        n_sessions=2,
        n_session_networks=10,
        least_session_s=0,
    )
    path = path_of(tmp_path, device, space, "onnxruntime")
    journal = journal_of(path)
    order = order_of(space, settings)
    arguments = ["onnxruntime", json.dumps(asdict(settings)), str(tmp_path)]
    command = [sys.executable, "-W", "error", "-c", PROFILE, *arguments]
    kept: dict[int, dict[str, Any]] = {}
    moments = [0.0, 0.05, 0.5, 0.75]  # before the first visit, early, late, in the last process
    n_killed = 0
    for share in moments:
        with subprocess.Popen(command, cwd=repository) as child:
            agents: list[psutil.Process] = []

            def reached(
                child: subprocess.Popen[bytes] = child,
                share: float = share,
                agents: list[psutil.Process] = agents,
            ) -> bool:
                agents[:] = agents_of(child) or agents
                return bool(agents) and n_lines(journal) >= share * len(order)

            if wait_for(reached, child):
                child.send_signal(signal.SIGKILL)
                n_killed += 1
            child.wait()
        psutil.wait_procs(agents, timeout=10)
        assert not [agent for agent in agents if agent.is_running()]  # it dies with its host
        records = [record for record in Journal(journal).read()[1:] if "k" in record]
        assert [record["k"] for record in records] == list(range(len(records)))
        assert [record["key"] for record in records] == order[: len(records)]
        assert all(records[k] == record for k, record in kept.items())
        kept = {record["k"]: record for record in records}
        assert not path.exists()
    assert "@" in "".join(order[: len(kept)])
    assert n_killed == len(moments)
    subprocess.run(command, cwd=repository, check=True, timeout=120)
    samples = read_samples(path)
    assert [samples[k][0] for k in range(len(samples))] == order
    for k, record in kept.items():
        assert samples[k] == (record["key"], record["at_s"], record["ms"])
    assert not journal.exists()
    assert set(CostTable.load(path).rows) == {op.key for op in space.distinct_ops()}


def test_a_measuring_process_that_dies_is_an_error_and_the_run_goes_on(
    device: Device,
    space: SearchSpace,
    few: ProfileSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_samples: ReadSamples,
) -> None:
    benches: list[Bench] = []

    @contextmanager
    def watched(
        device: Device, runtime: str, *, precision: str, timeout_s: float
    ) -> Iterator[Bench]:
        with open_bench(device, runtime, precision=precision, timeout_s=timeout_s) as bench:
            benches.append(bench)
            yield bench

    monkeypatch.setattr(profile_module, "open_bench", watched)

    def kill(what: str, done: int, total: int) -> None:
        """Kills the first process while it loads, the second and the last one's in visits."""
        moment = (len(benches), what.partition(" ")[0])
        due = (moment == (1, "loading") and done == 5) or moment == (4, "profiling")
        due |= moment == (2, "profiling") and done >= 4
        if due and benches[-1].alive:
            os.kill(benches[-1].info.pid, signal.SIGKILL)

    for command in ("load", "visit", "visit"):
        with pytest.raises(AgentError, match=f"died during '{command}' .*SIGKILL"):
            profile(device, "onnxruntime", space, few, tmp_path, progress=kill)
    profile(device, "onnxruntime", space, few, tmp_path, progress=kill)
    assert len(benches) == len({bench.info.pid for bench in benches}) == 6
    samples = read_samples(path_of(tmp_path, device, space, "onnxruntime"))
    assert [samples[k][0] for k in range(len(samples))] == order_of(space, few)


# -- files and networks ---------------------------------------------------------------------


@pytest.fixture
def files(space: SearchSpace, tmp_path: Path) -> Callable[[str], dict[str, Path]]:
    """A function that writes three model files of a runtime's format."""

    def write(runtime: str) -> dict[str, Path]:
        model_format = RUNTIMES[runtime]
        paths = {}
        for key, row in zip("abc", space.sample(3, np.random.default_rng(0)), strict=True):
            paths[key] = tmp_path / f"{key}.{model_format}"
            paths[key].write_bytes(model_bytes(space.network(row), model_format))
        return paths

    return write


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_files_are_timed_as_often_as_planned(
    runtime: str, files: Callable[[str], dict[str, Path]], device: Device
) -> None:
    told: list[tuple[int, int]] = []
    found = measure_files(
        device,
        runtime,
        files(runtime),
        MeasurementPlan(n_visits=7, n_runs=2),
        progress=lambda what, done, total: told.append((done, total)),
    )
    assert list(found) == ["a", "b", "c"]
    for key, measurement in found.items():
        assert measurement.key == key
        assert measurement.samples_ms.shape == (7, 2)
        assert 0 < measurement.latency_ms <= measurement.percentile_ms(100)
    assert told == [(16, 21), (21, 21)]


def test_visits_are_shared_by_measuring_processes(
    files: Callable[[str], dict[str, Path]], device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_bench = measure_module.open_bench

    def counted(
        of: Device, runtime: str, *, precision: str, timeout_s: float
    ) -> AbstractContextManager[Bench]:
        opened.append(precision)
        return open_bench(of, runtime, precision=precision, timeout_s=timeout_s)

    monkeypatch.setattr(measure_module, "open_bench", counted)
    plan = MeasurementPlan(n_visits=7, n_runs=2, n_processes=3)
    found = measure_files(device, "onnxruntime", files("onnxruntime"), plan, precision="float16")
    assert opened == ["float16"] * 3
    for measurement in found.values():
        samples = measurement.samples_ms
        assert samples.shape == (7, 2)
        parts = (samples[:3], samples[3:5], samples[5:])
        assert measurement.process_ms == tuple(part.min() for part in parts)
        assert measurement.latency_ms == min(measurement.process_ms)


def test_more_processes_than_visits_are_not_started() -> None:
    assert MeasurementPlan(n_visits=2, n_processes=5).visits_of_processes() == [1, 1]
    assert MeasurementPlan(n_visits=5).visits_of_processes() == [5]
    alone = Measurement("x", np.array([[3.0, 2.0], [4.0, 5.0]]))
    assert alone.process_ms == (2.0,)


def test_visits_are_spread_over_the_time_that_is_asked(
    files: Callable[[str], dict[str, Path]], device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=slept.append)
    monkeypatch.setattr(measure_module, "time", clock)
    plan = MeasurementPlan(n_visits=16, n_runs=1, spread_s=600.0)
    measure_files(device, "onnxruntime", files("onnxruntime"), plan)
    # 48 visits in three chunks: a pause after each but the last, up to its share of the time.
    assert len(slept) == 2
    assert slept == pytest.approx([200.0, 400.0], rel=0.1)


def test_networks_are_timed_in_the_order_of_their_rows(device: Device, space: SearchSpace) -> None:
    rows = np.stack([space.largest(), space.smallest()])
    found = measure_networks(
        device, "onnxruntime", space, rows, MeasurementPlan(n_visits=3, n_runs=4)
    )
    assert [measurement.key for measurement in found] == ["0", "1"]
    assert [measurement.samples_ms.shape for measurement in found] == [(3, 4)] * 2
    assert measure_networks(device, "onnxruntime", space, rows[:0], MeasurementPlan()) == []


def test_a_file_that_is_no_model_fails_all(
    files: Callable[[str], dict[str, Path]], device: Device, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    paths = {**files("onnxruntime"), "broken": broken}
    with pytest.raises(AgentError, match="refused 'load'"):
        measure_files(device, "onnxruntime", paths, MeasurementPlan(n_visits=2))
    with pytest.raises(AgentError, match="no such model file"):
        measure_files(device, "onnxruntime", {"x": tmp_path / "x.onnx"}, MeasurementPlan())


def test_an_unknown_runtime_is_refused(
    device: Device, space: SearchSpace, few: ProfileSettings, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match=r"unknown runtime 'onnx'.*nearest: onnxruntime"):
        profile(device, "onnx", space, few, tmp_path)
    assert not list(tmp_path.iterdir())
