"""A profile of a real engine here and over ssh: whatever breaks, nothing is lost or doubled."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from edgenas.core.errors import AgentError, DeviceError, RefusedError, StorageError
from edgenas.core.files import Journal
from edgenas.core.measurement import MeasurementPlan
from edgenas.costs.table import CostTable
from edgenas.hardware.connectors import ssh as ssh_module
from edgenas.hardware.connectors.base import PipedProcess
from edgenas.hardware.device import load_device
from edgenas.profiling import measure as measure_module
from edgenas.profiling import profile as profile_module
from edgenas.profiling import retrying
from edgenas.profiling.measure import measure_files
from edgenas.profiling.profile import _plan, profile
from edgenas.profiling.workload import ProfileSettings, Workload, model_bytes
from edgenas.spaces.base import SearchSpace
from edgenas.testing.disk import small_disk
from edgenas.testing.missing import skip_outside_ci
from edgenas.testing.peers import BEFORE, MEASURING, Peer, check_clean, local_peer, ssh_peer
from edgenas.testing.sshd import Sshd, make_key, missing_program, running_sshd, trust

Samples = dict[int, tuple[str, float, list[float]]]
ReadSamples = Callable[[Path], Samples]
Strike = Callable[[str], None]
CLAIM = """
import sys
from pathlib import Path
from edgenas.core.errors import DeviceError
from edgenas.hardware.device import load_device
try:
    with load_device(Path(sys.argv[1])) as device, device.claim():
        print("claimed")
except DeviceError as error:
    print("refused:", error)
"""

PYTHON = """#!/bin/sh
case $1 in -*) exec {python} "$@" ;; esac
exec {python} {folder}/clock.py "$@"
"""
CLOCK = """
import runpy, sys, time
from pathlib import Path
AHEAD, now, now_ns = Path(__file__).with_name("ahead_s"), time.time, time.time_ns
time.time = lambda: now() + int(AHEAD.read_text())
time.time_ns = lambda: now_ns() + int(AHEAD.read_text()) * 10**9
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a program whose clock, the one that can be set, is ahead by what a file says."""

pytestmark = pytest.mark.slow


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peer:
    peer = local_peer(tmp_path / "peer")
    monkeypatch.setenv("EDGENAS_HOME", str(peer.home))
    return peer


@pytest.fixture
def board(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    with ssh_peer(tmp_path / "peer", sshd) as peer:
        monkeypatch.setenv("EDGENAS_HOME", str(peer.home))
        yield peer


@pytest.fixture(params=["local", "board"])
def peer(request: pytest.FixtureRequest) -> Peer:
    found: Peer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit at a time, so that something can happen between any two; no long waiting."""
    monkeypatch.setattr(retrying, "_RETRY_S", (0.2,))
    monkeypatch.setattr(profile_module, "_CHUNK_S", 0.0)


@pytest.fixture
def least(few: ProfileSettings) -> ProfileSettings:
    return replace(few, n_runs=1, n_sessions=2)


def order_of(space: SearchSpace, settings: ProfileSettings) -> list[str]:
    workload = Workload.of(space, settings)
    pools = workload.pools(settings, float("inf"))
    return list(chain.from_iterable(_plan(workload, settings, pools)))


class Striker:
    """A progress display that has something break at given visits, or while models load."""

    def __init__(self, moments: dict[int | str, Callable[[], object]]) -> None:
        self.moments = moments

    def __call__(self, what: str, done: int, total: int) -> None:
        loading = what.startswith("loading")
        for moment in list(self.moments):
            due = loading if isinstance(moment, str) else not loading and moment <= done
            if due:
                self.moments.pop(moment)()
                break


def check_whole(table: CostTable, order: list[str], read_samples: ReadSamples) -> Samples:
    """The table holds every visit of the plan, in its order, once."""
    assert table.source is not None
    path = Path(table.source)
    samples = read_samples(path)
    assert [samples[k][0] for k in range(len(samples))] == order
    times = [at_s for _, at_s, _ in samples.values()]
    assert times == sorted(times)
    assert not path.with_name(f"{path.stem}.journal.jsonl").exists()
    return samples


def signal_agents(peer: Peer, number: int) -> None:
    for pid in peer.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def in_mid_visit(peer: Peer, then: Callable[[], object]) -> None:
    """Let the next visit not come to its end until something else has happened."""
    signal_agents(peer, signal.SIGSTOP)
    threading.Timer(0.5, then).start()


def hang(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the measuring process; the request under way is soon given up."""
    patience = profile_module._TIMEOUT_S
    monkeypatch.setattr(profile_module, "_TIMEOUT_S", 2.0)
    threading.Timer(1.5, monkeypatch.setattr, (profile_module, "_TIMEOUT_S", patience)).start()
    signal_agents(peer, signal.SIGSTOP)


def claimed_by_another(path: Path, repository: Path, home: Path | None) -> str:
    """Have another process, or one with a home of its own, claim the device; return its words."""
    own = {} if home is None else {"EDGENAS_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", CLAIM, str(path)],
        capture_output=True, check=True, text=True, timeout=120, cwd=repository,
        env={**os.environ, **own},
    )  # fmt: skip
    return done.stdout


def garble(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change a byte of the next reply of a process here."""
    read, due = PipedProcess.read, [True]

    def garbled(self: PipedProcess, n_bytes: int, timeout_s: float) -> bytes:
        content = read(self, n_bytes, timeout_s)
        if due and n_bytes > 4:
            due.clear()
            return bytes([content[0] ^ 0x55]) + content[1:]
        return content

    monkeypatch.setattr(PipedProcess, "read", garbled)


def test_a_process_that_is_lost_here_is_started_anew(
    local: Peer,
    space: SearchSpace,
    least: ProfileSettings,
    tmp_path: Path,
    read_samples: ReadSamples,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Killed while it loads, between visits and in one; hung; a garbled reply; the clock set."""
    order = order_of(space, least)
    clock, ahead_s = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: clock() + ahead_s[0])
    strike = Striker(
        {
            "loading": lambda: signal_agents(local, signal.SIGKILL),
            5: lambda: ahead_s.__setitem__(0, -86400.0),
            20: lambda: signal_agents(local, signal.SIGKILL),
            40: lambda: in_mid_visit(local, lambda: signal_agents(local, signal.SIGKILL)),
            60: lambda: garble(monkeypatch),
            70: lambda: ahead_s.__setitem__(0, 7 * 86400.0),
            80: lambda: hang(local, monkeypatch),
        }
    )
    with load_device(local.device_file()) as device:
        table = profile(device, "onnxruntime", space, least, tmp_path, n_retries=2, progress=strike)
    assert not strike.moments
    for told in ("died during 'load'", "died during 'visit'", "garbage", "did not finish 'visit'"):
        assert told in caplog.text
    check_whole(table, order, read_samples)
    check_clean(local)


def test_a_connection_that_is_lost_is_made_anew(
    board: Peer,
    space: SearchSpace,
    least: ProfileSettings,
    tmp_path: Path,
    read_samples: ReadSamples,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Cut while models load, between visits, in one and in a reply; garbled; a killed agent."""
    proxy = board.proxy
    assert proxy is not None
    order = order_of(space, least)
    strike = Striker(
        {
            "loading": proxy.cut,
            15: proxy.cut,
            30: lambda: in_mid_visit(board, proxy.cut),
            45: proxy.garble,
            60: lambda: proxy.cut_after(60),
            75: lambda: signal_agents(board, signal.SIGKILL),
        }
    )
    with load_device(board.device_file()) as device:
        table = profile(device, "onnxruntime", space, least, tmp_path, n_retries=2, progress=strike)
    assert not strike.moments
    assert "was lost" in caplog.text
    assert caplog.text.count("trying again") >= 5
    check_whole(table, order, read_samples)
    check_clean(board)


def test_a_board_that_restarts_is_prepared_again(
    tmp_path: Path,
    space: SearchSpace,
    least: ProfileSettings,
    read_samples: ReadSamples,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a restart undoes, here the governor, is made anew."""
    skip_outside_ci(missing_program(), pytest.skip)
    seen: list[str] = []
    with (
        running_sshd(tmp_path / "sshd") as sshd,
        ssh_peer(tmp_path / "peer", sshd) as board,
        load_device(board.device_file()) as device,
    ):
        monkeypatch.setenv("EDGENAS_HOME", str(board.home))

        def restart() -> None:
            board.governor.write_text(BEFORE)
            sshd.reboot()

        strike = Striker(
            {
                15: restart,
                25: lambda: seen.append(board.governor.read_text()),
            }
        )
        table = profile(device, "onnxruntime", space, least, tmp_path, n_retries=2, progress=strike)
        assert not strike.moments
        assert seen == [MEASURING]
        assert "trying again" in caplog.text
        check_whole(table, order_of(space, least), read_samples)
        check_clean(board)


def test_a_clock_that_is_set_on_the_device_moves_nothing(
    tmp_path: Path,
    space: SearchSpace,
    least: ProfileSettings,
    read_samples: ReadSamples,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ahead by a week, then back by a day: no time is told by it, and no lock grows old."""
    skip_outside_ci(missing_program(), pytest.skip)
    told: list[str] = []
    with (
        running_sshd(tmp_path / "sshd") as sshd,
        ssh_peer(tmp_path / "peer", sshd) as board,
    ):
        monkeypatch.setenv("EDGENAS_HOME", str(board.home))
        ahead = board.folder / "ahead_s"
        python = board.folder / "python"
        (board.folder / "clock.py").write_text(CLOCK)
        python.write_text(PYTHON.format(python=sys.executable, folder=board.folder))
        python.chmod(0o755)
        ahead.write_text("0")
        now = f"$(($(/bin/date +%s) + $(cat {ahead})))"
        sshd.stand_in("date", f'exec /bin/date -d "@{now}" "$@"')
        path = board.device_file(python=str(python))

        def put(ahead_s: int) -> None:
            ahead.write_text(str(ahead_s))
            told.append(claimed_by_another(path, repository, tmp_path / "another"))

        with load_device(path) as device:
            asked = device.connector.run(["date", "+%s"], 60).stdout
            assert abs(int(asked) - time.time()) < 600
            strike = Striker({20: lambda: put(7 * 86400), 50: lambda: put(-86400)})
            table = profile(device, "onnxruntime", space, least, tmp_path, progress=strike)
            asked = device.connector.run(["date", "+%s"], 60).stdout
            assert abs(int(asked) + 86400 - time.time()) < 600
        assert [one.startswith("refused: the device") for one in told] == [True, True]
        samples = check_whole(table, order_of(space, least), read_samples)
        assert max(at_s for _, at_s, _ in samples.values()) < 600
        assert max(max(times) for _, _, times in samples.values()) < 600e3
        check_clean(board)


def test_files_are_measured_on_after_a_process_or_connection_is_lost(
    board: Peer,
    least: ProfileSettings,
    space: SearchSpace,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed and cut off between two visits; what was timed before counts."""
    monkeypatch.setattr(measure_module, "_CHUNK", 2)
    assert board.proxy is not None
    paths = {}
    for name, row in (("small", space.smallest()), ("large", space.largest())):
        paths[name] = tmp_path / f"{name}.onnx"
        paths[name].write_bytes(model_bytes(space.network(row), "onnx"))
    strike = Striker({4: lambda: signal_agents(board, signal.SIGKILL), 10: board.proxy.cut})
    plan = MeasurementPlan(n_visits=8, n_runs=2, timeout_s=20, n_processes=2)
    told: list[int] = []

    def progress(what: str, done: int, total: int) -> None:
        told.append(done)
        strike(what, done, total)

    with load_device(board.device_file()) as device:
        with pytest.raises(AgentError, match="died during 'visit'"):
            measure_files(
                device, "onnxruntime", paths, plan,
                progress=Striker({4: lambda: signal_agents(board, signal.SIGKILL)}),
            )  # fmt: skip
        found = measure_files(device, "onnxruntime", paths, plan, n_retries=2, progress=progress)
        broken = paths | {"broken": tmp_path / "broken.onnx"}
        broken["broken"].write_bytes(b"no model")
        n_told = caplog.text.count("trying again")
        with pytest.raises(RefusedError, match="refused 'load'"):
            measure_files(device, "onnxruntime", broken, plan, n_retries=2)
    assert not strike.moments
    assert n_told == caplog.text.count("trying again") >= 2
    assert told == list(range(2, 17, 2))
    assert {key: one.samples_ms.shape for key, one in found.items()} == dict.fromkeys(paths, (8, 2))
    check_clean(board)


def test_without_retries_the_error_is_clear_and_the_same_command_goes_on(
    peer: Peer,
    space: SearchSpace,
    least: ProfileSettings,
    tmp_path: Path,
    read_samples: ReadSamples,
) -> None:
    order = order_of(space, least)
    strike = Striker({30: lambda: signal_agents(peer, signal.SIGKILL)})
    with load_device(peer.device_file()) as device:
        with pytest.raises(AgentError, match=r"died during 'visit' \(killed by SIGKILL"):
            profile(device, "onnxruntime", space, least, tmp_path, progress=strike)
        assert peer.governor.read_text() == BEFORE
        (journal,) = tmp_path.glob("*/*/*.journal.jsonl")
        kept = [record for record in Journal(journal).read() if "k" in record]
        assert [record["key"] for record in kept] == order[: len(kept)]
        assert len(kept) >= 30
        table = profile(device, "onnxruntime", space, least, tmp_path)
    samples = check_whole(table, order, read_samples)
    for record in kept:
        assert samples[record["k"]] == (record["key"], record["at_s"], record["ms"])
    check_clean(peer)


def test_a_full_disk_here_loses_nothing(
    local: Peer,
    space: SearchSpace,
    least: ProfileSettings,
    tmp_path: Path,
    read_samples: ReadSamples,
) -> None:
    order = order_of(space, least)
    with small_disk(tmp_path / "small", kib=256) as disk, load_device(local.device_file()) as here:
        with pytest.raises(StorageError, match="No space left on device; what was there before"):
            profile(here, "onnxruntime", space, least, disk.path, progress=Striker({30: disk.fill}))
        assert local.unrestored() == []
        disk.free()
        table = profile(here, "onnxruntime", space, least, disk.path)
        check_whole(table, order, read_samples)
    check_clean(local)


def test_a_full_disk_on_the_device_loses_nothing(
    sshd: Sshd,
    space: SearchSpace,
    least: ProfileSettings,
    tmp_path: Path,
    read_samples: ReadSamples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = order_of(space, least)
    with (
        small_disk(tmp_path / "work", kib=4096) as disk,
        ssh_peer(tmp_path / "peer", sshd, workdir=str(tmp_path / "work")) as board,
        load_device(board.device_file()) as device,
    ):
        monkeypatch.setenv("EDGENAS_HOME", str(board.home))
        if not os.path.ismount(disk.path):
            pytest.skip("this user may not mount a disk of a size")
        full = pytest.raises(DeviceError, match=r"No space left on device; free space there")
        with pytest.MonkeyPatch.context() as patch, full:
            patch.setattr(ssh_module, "_SPARE_BYTES", 0)  # there is nothing to make room with
            strike = Striker({"loading": disk.fill})
            profile(device, "onnxruntime", space, least, tmp_path / "t", progress=strike)
        disk.free()
        table = profile(device, "onnxruntime", space, least, tmp_path / "t")
        check_whole(table, order, read_samples)


def test_another_holder_is_refused_and_disturbs_nothing(
    peer: Peer,
    space: SearchSpace,
    least: ProfileSettings,
    tmp_path: Path,
    read_samples: ReadSamples,
    repository: Path,
) -> None:
    """A second process; for a device elsewhere one that shares no folder with this one."""
    path = peer.device_file()
    told: list[str] = []

    def claim() -> None:
        home = None if peer.kind == "local" else tmp_path / "another"
        told.append(claimed_by_another(path, repository, home))
        assert peer.governor.read_text() == MEASURING

    with load_device(path) as device:
        strike = Striker({20: claim})
        table = profile(device, "onnxruntime", space, least, tmp_path, progress=strike)
    assert told[0].startswith("refused: the device")
    assert "is held by process" in told[0]
    check_whole(table, order_of(space, least), read_samples)
    check_clean(peer)


def test_a_device_that_was_taken_over_is_waited_for_and_prepared_again(
    board: Peer,
    space: SearchSpace,
    least: ProfileSettings,
    tmp_path: Path,
    read_samples: ReadSamples,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = board.folder / "lock"
    path = board.device_file(lock={"folder": str(folder), "stale_s": 2})
    seen: list[str] = []

    def take_over() -> None:
        facts = {"host": "elsewhere", "host_id": "another", "user": "u", "pid": 1, "started": "1"}
        (folder / "edgenas.lock/holder").write_text(json.dumps(facts) + "\n")
        board.governor.write_text(BEFORE)
        end = time.monotonic() + 20
        while device.lost is None and time.monotonic() < end:
            time.sleep(0.05)

    with load_device(path) as device:
        strike = Striker({30: take_over, 35: lambda: seen.append(board.governor.read_text())})
        table = profile(
            device, "onnxruntime", space, least, tmp_path, n_retries=60, progress=strike
        )
    assert seen == [MEASURING]
    assert "was taken over by process 1 of u on elsewhere" in caplog.text
    check_whole(table, order_of(space, least), read_samples)
    check_clean(board)


def test_another_host_key_after_a_cut_is_refused_and_nothing_mixed(
    tmp_path: Path,
    space: SearchSpace,
    least: ProfileSettings,
    read_samples: ReadSamples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    skip_outside_ci(missing_program(), pytest.skip)
    with (
        running_sshd(tmp_path / "sshd") as sshd,
        ssh_peer(tmp_path / "peer", sshd) as board,
        load_device(board.device_file()) as device,
    ):
        monkeypatch.setenv("EDGENAS_HOME", str(board.home))
        proxy = board.proxy
        assert proxy is not None
        other = tmp_path / "other"
        make_key(other)

        def swap() -> None:
            trust(sshd, " ".join(other.with_suffix(".pub").read_text().split()[:2]))
            proxy.cut()

        with pytest.raises(DeviceError, match="host key"):
            profile(
                device, "onnxruntime", space, least, tmp_path, n_retries=1,
                progress=Striker({30: swap}),
            )  # fmt: skip
        trust(sshd)
        with load_device(board.device_file()) as again:
            table = profile(again, "onnxruntime", space, least, tmp_path)
        check_whole(table, order_of(space, least), read_samples)
        check_clean(board)
