"""A claimed device after the way to it was lost: the same one, held, prepared anew."""

import json
from pathlib import Path

import psutil
import pytest

from edgenas.core.errors import DeviceError, OtherDeviceError
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.description import DeviceDescription, LockSettings
from edgenas.hardware.device import Device
from edgenas.hardware.fingerprint import MARK
from edgenas.hardware.lock import DeviceLock, Holder
from edgenas.hardware.preparation import restore_path
from edgenas.testing.fake_connector import FakeConnector

STEPS = {
    "clocks": {"do": "run", "run": ["fix"], "undo": ["unfix"], "until_reboot": True},
    "mode": {"do": "run", "read": ["q"], "run": ["m", "0"], "undo": ["m", "{before}"]},
}


class Board(FakeConnector):
    """A device that can be restarted and exchanged."""

    def __init__(self) -> None:
        super().__init__(address="fake:board")
        self.started("boot-1", part="0xd0b")

    def started(self, boot: str, *, part: str, n_online: int = 6) -> None:
        cpuinfo = "\n".join(f"processor : {n}\nCPU part : {part}\n" for n in range(n_online))
        facts = f"{MARK} uname\nLinux\naarch64\n6.1\n{MARK} /proc/cpuinfo\n{cpuinfo}"
        facts += f"\n{MARK} /sys/devices/system/cpu/present\n0-5\n"
        for n in range(n_online):
            facts += f"{MARK} /sys/devices/system/cpu/cpu{n}/topology/core_id\n{n}\n"
        self.boot = boot
        self.answers = {
            ("cat",): f"{boot}\n", ("true",): "", "take": "taken\n", "beat": "kept\n",
            "drop": "dropped\n", ("fix",): "", ("unfix",): "", ("q",): "3\n", ("m",): "",
            ("python3",): "Python 3.11.2\n", ("sh", "-c"): facts,
        }  # fmt: skip

    def count(self, *command: str) -> int:
        return self.ran.count(command)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path))
    return Board()


def device(board: Board) -> Device:
    document = {
        "schema_version": 1,
        "id": "mine",
        "description": "a test",
        "connector": {"kind": "fake"},
        "prepare": STEPS,
    }
    return Device(DeviceDescription.model_validate_json(json.dumps(document)), board)


def test_nothing_has_to_be_done_where_nothing_happened(board: Board) -> None:
    mine = device(board)
    with mine.claim():
        mine.check()
        assert board.count("fix") == 1
    assert (board.count("unfix"), board.count("m", "3")) == (1, 1)


def test_a_restart_is_noticed_and_the_device_prepared_anew(board: Board) -> None:
    mine = device(board)
    with mine.claim():
        board.started("boot-2", part="0xd0b")
        with pytest.raises(DeviceError, match="'mine' was restarted while it was measured"):
            mine.check()
        mine.renew()
        mine.check()
        assert [one.step for one in mine.prepared] == ["clocks", "mode"]
        assert board.count("fix") == 2
        assert board.count("unfix") == 0  # the restart undid it
        assert board.count("m", "3") == 1  # this outlived it
    assert (board.count("unfix"), board.count("m", "3")) == (1, 2)
    assert not restore_path(board).exists()


def test_other_hardware_is_refused_and_left_as_it_is(board: Board) -> None:
    mine = device(board)
    assert mine.fingerprint.cpu == ("CPU part=0xd0b",)
    other = pytest.raises(OtherDeviceError, match=r"answers in its place \(fake:board\)")
    with other as caught, mine.claim():
        board.started("boot-7", part="0xd0c")
        mine.renew()
    assert "clocks, mode of the device 'mine' are to be put back" in caught.value.__notes__[0]
    assert (board.count("unfix"), board.count("m", "3")) == (0, 0)
    with pytest.raises(OtherDeviceError, match=r"clocks, mode of the device 'mine' are to be put"):
        device(board).restore()
    board.started("boot-2", part="0xd0b")
    assert device(board).restore() == ["mode", "clocks"]
    assert (board.count("unfix"), board.count("m", "3")) == (0, 1)


def test_a_board_that_switches_cores_off_is_the_same_one(board: Board) -> None:
    """A power mode does so, which a step of its own may have changed before the board was lost."""
    mine = device(board)
    with mine.claim():
        assert (mine.fingerprint.n_logical, mine.fingerprint.n_physical) == (6, 6)
        board.started("boot-2", part="0xd0b", n_online=4)
        mine.renew()
    lost = pytest.raises(DeviceError, match="is not as it was")
    with lost, device(board).claim():
        board.reachable = False
    board.reachable = True
    board.started("boot-3", part="0xd0b", n_online=2)
    assert device(board).restore() == ["mode", "clocks"]


def test_a_device_that_is_out_of_reach_cannot_be_renewed(board: Board) -> None:
    mine = device(board)
    with mine.claim():
        board.reachable = False
        with pytest.raises(DeviceError, match="is cut"):
            mine.renew()
        board.reachable = True
    assert board.count("unfix") == 1


def test_a_lost_lock_is_taken_again_once_it_is_free(tmp_path: Path) -> None:
    lock = DeviceLock(LocalConnector(), LockSettings(folder=str(tmp_path), stale_s=60), "mine")
    holder = tmp_path / "edgenas.lock" / "holder"
    with lock.held(wait_s=0):
        mine = holder.read_text()
        lock.renew()
        assert holder.read_text() == mine
        holder.write_text(json.dumps({"host": "elsewhere", "host_id": "x", "pid": 1}) + "\n")
        lock.beat()
        assert lock.lost
        with pytest.raises(DeviceError, match="is held by process 1 of None on elsewhere"):
            lock.renew()
        holder.unlink()
        lock.renew()
        assert lock.lost is None
        assert holder.read_text() == mine
    assert not holder.exists()


def test_a_holder_lives_on_when_the_clock_of_this_host_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = DeviceLock(LocalConnector(), LockSettings(folder=str(tmp_path)), "mine")
    with lock.held(wait_s=0):
        line = (tmp_path / "edgenas.lock" / "holder").read_text()
        created = psutil.Process().create_time()
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: created + 3600)
        assert not Holder(line, 0.0).gone(60.0)
