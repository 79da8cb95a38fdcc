"""Profiling a phone without Python: adb and benchmark_model, killed, cut off and resumed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core.files import Journal
from edgenas.costs.model import LatencyModel
from edgenas.costs.table import CostTable
from edgenas.hardware.device import load_device
from edgenas.profiling import retrying
from edgenas.profiling.profile import _plan, profile
from edgenas.profiling.workload import ProfileSettings, Workload
from edgenas.spaces.base import SearchSpace
from edgenas.testing.adb import EmulatedPhone
from edgenas.testing.adb.facts import SETTINGS
from edgenas.testing.adb.phone import missing_here
from edgenas.testing.adb.shell import Fault
from edgenas.testing.peers import PROFILE, Peer, adb_peer
from edgenas.testing.space_contract import width_space

Samples = dict[int, tuple[str, float, list[float]]]
ReadSamples = Callable[[Path], Samples]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    missing_here(pytest.skip)
    with adb_peer(tmp_path_factory.mktemp("peer")) as peer:
        yield peer


@pytest.fixture
def phone(peer: Peer) -> EmulatedPhone:
    assert peer.phone is not None
    return peer.phone


@pytest.fixture
def device_file(peer: Peer) -> Path:
    return peer.device_file()


@pytest.fixture(scope="module")
def space(peer: Peer) -> SearchSpace:
    return width_space(peer.size)


def order_of(space: SearchSpace, settings: ProfileSettings) -> list[str]:
    workload = Workload.of(space, settings)
    pools = workload.pools(settings, float("inf"))
    return list(chain.from_iterable(_plan(workload, settings, pools)))


def test_a_phone_without_python_gets_a_table_whatever_breaks(
    device_file: Path,
    phone: EmulatedPhone,
    space: SearchSpace,
    few: ProfileSettings,
    tmp_path: Path,
    read_samples: ReadSamples,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The connection is cut, output is garbled, the phone reboots."""
    monkeypatch.setattr(retrying, "_RETRY_S", (0.0,))
    order = order_of(space, few)
    moments = {20: "cut", 60: "garble", 100: "reboot"}
    assert max(moments) < len(order)

    def strike(what: str, done: int, total: int) -> None:
        due = [moment for moment in moments if what.startswith("profiling") and moment <= done]
        for moment in due:
            kind: Any = moments.pop(moment)
            if kind == "reboot":
                phone.reboot(down_s=0.5)
            else:
                phone.fail(Fault(kind, "--num_runs"))

    with load_device(device_file) as device:
        table = profile(
            device, "benchmark_model", space, few, tmp_path, n_retries=1, progress=strike
        )
    assert not moments
    for told in ("was cut while", "benchmark_model printed", "connecting anew"):
        assert told in caplog.text
    assert table.source is not None
    path = Path(table.source)
    assert path.parent.name == "benchmark_model-float32"
    samples = read_samples(path)
    assert [samples[k][0] for k in range(len(samples))] == order  # nothing lost, nothing doubled
    assert all(len(ms) == few.n_runs and min(ms) > 0 for _, _, ms in samples.values())
    found = CostTable.load(path).passport
    assert (found.runtime.name, found.runtime.delegate) == ("benchmark_model", "xnnpack")
    assert found.runtime.version.startswith("2.16+")
    assert (found.runtime.threads, found.runtime.affinity) == (1, [0])
    facts = found.device.fingerprint
    assert (facts["arch"], facts["max_khz"], facts["python"]) == ("aarch64", 2914000, None)
    rows = space.sample(20, np.random.default_rng(0))
    value, low, high = LatencyModel(space, table).predict(rows)
    assert (low < high).all()
    assert (value > 0).all()
    check_restored(phone)


def test_a_killed_host_leaves_nothing_running_and_the_run_goes_on(
    peer: Peer,
    phone: EmulatedPhone,
    space: SearchSpace,
    few: ProfileSettings,
    tmp_path: Path,
    repository: Path,
    read_samples: ReadSamples,
) -> None:
    order = order_of(space, few)
    facts = [peer.runtime, str(peer.size), json.dumps(asdict(few)), str(tmp_path)]
    command = [sys.executable, "-W", "error", "-c", PROFILE, str(peer.device_file()), *facts]
    with subprocess.Popen(command, cwd=repository) as child:
        end = time.monotonic() + 120
        while child.poll() is None and n_records(tmp_path) < 20 and time.monotonic() < end:
            time.sleep(0.02)
        assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    (journal,) = tmp_path.glob("*/*/*.journal.jsonl")
    kept = {record["k"]: record for record in Journal(journal).read() if "k" in record}
    assert 20 <= len(kept) < len(order)
    assert [kept[k]["key"] for k in range(len(kept))] == order[: len(kept)]
    assert wait_until(lambda: phone.processes() == [])
    subprocess.run(command, cwd=repository, check=True, timeout=500)
    (path,) = tmp_path.glob("*/*/*.csv")
    samples = read_samples(path)
    assert [samples[k][0] for k in range(len(samples))] == order
    for k, record in kept.items():
        assert samples[k] == (record["key"], record["at_s"], record["ms"])
    check_restored(phone, n_left=1)  # what the killed run had changed, too
    told = phone.path("/data/cmd.log").read_text().splitlines()
    fixed = [line.split()[-1] for line in told if "set-fixed-performance-mode-enabled" in line]
    assert (fixed.count("true") > 0, fixed[-1]) == (True, "false")


def check_restored(phone: EmulatedPhone, *, n_left: int = 0) -> None:
    """The phone is as before it was prepared; a killed run's folder is removed after a day only."""
    found = {path.name: path.read_text().strip() for path in phone.path("/data/settings").iterdir()}
    assert found == SETTINGS
    assert phone.path("/data/wakefulness").read_text() == "Asleep\n"
    assert len(list(phone.path("/data/local/tmp").iterdir())) == n_left


def n_records(folder: Path) -> int:
    """Returns how many visits are in the journal."""
    return sum(path.read_bytes().count(b'"k":') for path in folder.glob("*/*/*.journal.jsonl"))


def wait_until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()
