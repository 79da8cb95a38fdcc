"""Locks on a device itself: one holder among hosts, stale ones taken over, lost ones noticed."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from edgenas.core.errors import DeviceError
from edgenas.hardware.connectors.base import Completed, Connector
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.description import LockSettings
from edgenas.hardware.device import load_device
from edgenas.hardware.lock import DeviceLock, Holder, host_holder, lock_path
from edgenas.testing.fake_connector import FakeConnector

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from edgenas.hardware.device import load_device
with load_device(sys.argv[1]).claim():
    print("held", flush=True)
    time.sleep(600)
"""


class Cuttable(LocalConnector):
    """A way to this machine that can be cut."""

    cut = False

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        if self.cut:
            raise DeviceError("the connection is cut")
        return super().run(argv, timeout_s)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "on $(the) 'device"
    path.mkdir()
    return path


def lock(folder: Path, connector: Connector | None = None, stale_s: float = 60.0) -> DeviceLock:
    return DeviceLock(
        connector or LocalConnector(), LockSettings(folder=str(folder), stale_s=stale_s), "mine"
    )


def foreign(folder: Path, *, beat: str | None, **facts: object) -> str:
    """Leave the lock of another host there."""
    line = json.dumps({"host": "elsewhere", "user": "u", "pid": 12, "since": "then", **facts})
    (folder / "edgenas.lock").mkdir()
    (folder / "edgenas.lock" / "holder").write_text(line + "\n")
    if beat is not None:
        (folder / "edgenas.lock" / "beat").write_text(beat + "\n")
    return line


def beat_at(age_s: float) -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    up_s = float(Path("/proc/uptime").read_text().split()[0])
    return f"{boot} {int(up_s - age_s)}"


def test_one_holder_at_a_time(folder: Path) -> None:
    first, second = lock(folder), lock(folder)
    with first.held(wait_s=0):
        holder = second.holder()
        assert holder is not None
        assert f"process {os.getpid()} of" in holder.text
        message = f"'mine' is held by process {os.getpid()} of"
        with pytest.raises(DeviceError, match=message), second.held(wait_s=0):
            pytest.fail("the lock was held")
    assert second.holder() is None
    with second.held(wait_s=0):
        pass
    assert not list(folder.iterdir())


def test_a_holder_is_waited_for(folder: Path) -> None:
    release = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with lock(folder).held(wait_s=0):
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    timer = threading.Timer(0.2, release.set)
    timer.start()
    with lock(folder).held(wait_s=30):
        assert release.is_set()
    thread.join()
    timer.join()


def test_another_hosts_lock_is_kept_while_it_is_renewed(folder: Path) -> None:
    foreign(folder, beat=beat_at(30))
    message = "held by process 12 of u on elsewhere, since then"
    with pytest.raises(DeviceError, match=message), lock(folder).held(wait_s=0):
        pytest.fail("the lock was held")


@pytest.mark.parametrize("beat", ["old", "another boot", "never"])
def test_a_stale_lock_is_taken_over_with_a_warning(
    folder: Path, beat: str, caplog: pytest.LogCaptureFixture
) -> None:
    beats = {"old": beat_at(61), "another boot": "00000000-0000 99999999", "never": None}
    foreign(folder, beat=beats[beat])
    with lock(folder).held(wait_s=0):
        assert "process 12 of u on elsewhere, since then is stale; it is taken over" in caplog.text
        holder = lock(folder).holder()
        assert holder is not None
        assert not holder.gone(60)


def test_garbage_in_the_lock_is_an_unknown_holder(folder: Path) -> None:
    foreign(folder, beat=beat_at(0))
    (folder / "edgenas.lock" / "holder").write_text("$(touch pwned) [1]\n")
    message = "held by an unknown holder"
    with pytest.raises(DeviceError, match=message), lock(folder).held(wait_s=0):
        pytest.fail("the lock was held")


def test_a_dead_process_of_this_host_holds_nothing(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "schema_version: 1\nid: mine\ndescription: a test\nconnector: {kind: local}\n"
        f"lock: {{folder: {json.dumps(str(folder))}}}\n"
    )
    command = [sys.executable, "-c", HOLD, str(path)]
    environment = {**os.environ, "EDGENAS_HOME": str(tmp_path / "another user")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(DeviceError, match=f"held by process {holder.pid} of"),
            load_device(path).claim(),
        ):
            pytest.fail("the device was held")
        holder.kill()
    with load_device(path).claim():
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_removes_the_lock(folder: Path, number: signal.Signals) -> None:
    with pytest.raises(SystemExit) as caught, lock(folder).held(wait_s=0):
        signal.raise_signal(number)
    assert caught.value.code == 128 + number
    assert not list(folder.iterdir())
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_pid_that_is_another_process_now_holds_nothing() -> None:
    mine = json.loads(lock(Path("/"))._line)
    assert not Holder(json.dumps(mine), 0.0).gone(60)
    assert Holder(json.dumps({**mine, "started": psutil.Process().create_time() - 99}), 0.0).gone(
        60
    )
    assert not Holder(json.dumps({**mine, "host_id": "x", "pid": 0}), 0.0).gone(60)
    assert Holder(json.dumps({**mine, "pid": "x"}), 0.0).gone(60)


def test_the_lock_is_renewed_and_a_loss_is_noticed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    connector = Cuttable()
    held = lock(folder, connector, stale_s=1.0)
    with held.held(wait_s=0):
        first = (folder / "edgenas.lock" / "beat").read_text()
        end = time.monotonic() + 30
        while (folder / "edgenas.lock" / "beat").read_text() == first:
            assert time.monotonic() < end
            time.sleep(0.05)
        connector.cut = True
        while "is not renewed" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.05)
        (folder / "edgenas.lock" / "holder").write_text('{"host": "other"}\n')
        connector.cut = False
        while held.lost is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert "on other" in held.lost
    assert (folder / "edgenas.lock" / "holder").is_file()  # another one's lock stays


def test_a_lock_that_was_removed_is_lost(folder: Path) -> None:
    held = lock(folder)
    with held.held(wait_s=0):
        held.beat()
        assert held.lost is None
        for path in (folder / "edgenas.lock").iterdir():
            path.unlink()
        held.beat()
        assert held.lost == "removed by somebody"


def test_a_lock_that_a_cut_connection_left_does_not_hold_its_own_process_back(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connector = Cuttable()
    with lock(folder, connector).held(wait_s=0):
        connector.cut = True
    assert "cannot be removed" in caplog.text
    with lock(folder).held(wait_s=0):
        pass
    assert not list(folder.iterdir())


def test_a_taking_over_that_was_cut_off_does_not_block(folder: Path) -> None:
    foreign(folder, beat=beat_at(999))
    (folder / "edgenas.lock" / "seize").mkdir()
    (folder / "edgenas.lock" / "seize" / "beat").write_text(beat_at(61) + "\n")
    with lock(folder).held(wait_s=0):
        pass


def test_only_one_of_many_gets_a_stale_lock(folder: Path) -> None:
    foreign(folder, beat=beat_at(999))
    got: list[int] = []
    done = threading.Barrier(6)

    def take(i: int) -> None:
        try:
            with lock(folder).held(wait_s=0):
                got.append(i)
                done.wait(60)
        except DeviceError:
            done.wait(60)

    threads = [threading.Thread(target=take, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    missing = folder / "file"
    missing.touch()
    message = r"cannot write .*file/edgenas\.lock/holder; free space there"
    with pytest.raises(DeviceError, match=message), lock(missing).held(wait_s=0):
        pytest.fail("there is no lock")


def test_a_device_that_answers_garbage_is_refused() -> None:
    with pytest.raises(DeviceError, match="cannot be used"):
        lock(Path("/"), FakeConnector({("sh",): ""})).holder()


def test_addresses_that_look_alike_have_locks_of_their_own() -> None:
    paths = {
        lock_path(FakeConnector(address=name)) for name in ("ssh:a@b:22", "ssh:a_b_22", "local")
    }
    assert len(paths) == 3
    assert lock_path(FakeConnector(address="local")).name == "local.lock"


def test_the_holder_on_this_host_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path))
    connector = LocalConnector()
    assert host_holder(connector) is None
    with load_device("local").claim():
        assert host_holder(connector) == str(os.getpid())
    assert host_holder(connector) is None
