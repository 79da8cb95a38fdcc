"""Devices elsewhere are claimed: locked there, prepared, and put back after everything."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenas.core.errors import DeviceError
from edgenas.core.schema import dump_yaml
from edgenas.hardware.cores import _READ_CORES, parse_cores
from edgenas.hardware.description import RunStep
from edgenas.hardware.device import Device, load_device
from edgenas.hardware.throttling import read_thermal, throttled
from edgenas.testing.adb import EmulatedPhone
from edgenas.testing.adb.facts import SETTINGS
from edgenas.testing.adb.phone import missing_here
from edgenas.testing.missing import skip_outside_ci
from edgenas.testing.sshd import Sshd, missing_program, running_sshd
from edgenas.testing.tcp_proxy import TcpProxy

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import sys, time
from edgenas.hardware.device import load_device
with load_device(sys.argv[1]).claim():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A folder that stands for a board's /sys."""
    folder = tmp_path / "b o'ard $(id)"
    folder.mkdir()
    for i in range(2):
        (folder / f"governor{i}").write_text(("ondemand\n", "powersave\n")[i])
    return folder


def described(folder: Path, sshd: Sshd, board: Path, **connector: object) -> Path:
    path = folder / "mine.yaml"
    settings = sshd.settings(**connector).model_dump(mode="json", exclude_none=True)
    document = {
        "schema_version": 1,
        "id": "mine",
        "extends": "raspberry-pi-5",
        "connector": settings,
        "as_root": ["env"],
        "prepare": {"governor": {"files": str(board / "governor?")}},
        "lock": {"folder": str(board / "lock"), "stale_s": 60},
    }
    path.write_text(dump_yaml(document))
    return path


def governors(board: Path) -> list[str]:
    return [(board / f"governor{i}").read_text() for i in range(2)]


def test_a_board_is_prepared_and_put_back(
    home: Path, tmp_path: Path, sshd: Sshd, board: Path
) -> None:
    with load_device(described(tmp_path, sshd, board)) as device:
        with device.claim():
            assert governors(board) == ["performance\n"] * 2
            holder = json.loads((board / "lock/edgenas.lock/holder").read_text())
            assert holder["pid"] == os.getpid()
            assert device.lost is None
        assert governors(board) == ["ondemand\n", "powersave\n"]
        assert not list((board / "lock").iterdir())


def test_a_board_is_held_against_another_user_of_this_host(
    home: Path, tmp_path: Path, sshd: Sshd, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = described(tmp_path, sshd, board)
    with load_device(path) as first, load_device(path) as second:
        with first.claim():
            monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "another"))
            with pytest.raises(DeviceError, match=f"held by process {os.getpid()} of"):
                second.claim().__enter__()
        with second.claim():
            pass


def test_a_killed_host_leaves_nothing_behind_for_the_next(
    home: Path, tmp_path: Path, sshd: Sshd, board: Path
) -> None:
    path = described(tmp_path, sshd, board)
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    assert governors(board) == ["performance\n"] * 2
    with load_device(path) as device:
        with device.claim():
            assert device.prepared[0].before == "ondemand, powersave"
        assert governors(board) == ["ondemand\n", "powersave\n"]


def test_a_cut_connection_is_made_anew_to_put_the_board_back(
    home: Path, tmp_path: Path, sshd: Sshd, board: Path, proxy: TcpProxy
) -> None:
    path = described(tmp_path, sshd, board, port=proxy.port)
    with load_device(path) as device:
        with device.claim():
            proxy.cut()
        assert governors(board) == ["ondemand\n", "powersave\n"]


def test_a_board_out_of_reach_is_put_back_by_the_next_holder(
    home: Path, tmp_path: Path, sshd: Sshd, board: Path, proxy: TcpProxy
) -> None:
    path = described(tmp_path, sshd, board, port=proxy.port, connect_timeout_s=2)
    with load_device(path) as device:
        cut = pytest.raises(DeviceError, match=r"not as it was.*--restore")
        with cut, device.claim():
            proxy.stall()
            proxy.cut()
        assert governors(board) == ["performance\n"] * 2
        proxy.resume()
    with load_device(path) as device:
        assert device.restore() == ["governor"]
    assert governors(board) == ["ondemand\n", "powersave\n"]


def test_a_restart_that_no_command_saw_is_noticed_and_the_board_prepared_anew(
    home: Path, tmp_path: Path, board: Path
) -> None:
    """The way is made anew without a word, so each command tells the start of the system."""
    skip_outside_ci(missing_program(), pytest.skip)
    with (
        running_sshd(tmp_path / "sshd") as server,
        load_device(described(tmp_path, server, board)) as device,
        device.claim(),
    ):
        device.check()
        assert device.connector.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        server.reboot()
        for i, governor in enumerate(("ondemand", "powersave")):
            (board / f"governor{i}").write_text(f"{governor}\n")
        assert device.connector.run(["echo", "back"], timeout_s=30).stdout == b"back\n"
        with pytest.raises(DeviceError, match="'mine' was restarted while it was measured"):
            device.check()
        device.renew()
        device.check()
        assert governors(board) == ["performance\n"] * 2
    assert governors(board) == ["ondemand\n", "powersave\n"]


# -- a phone --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def phone() -> Iterator[EmulatedPhone]:
    missing_here(pytest.skip)
    with EmulatedPhone() as phone:
        yield phone


@pytest.fixture
def pixel(phone: EmulatedPhone, home: Path, tmp_path: Path) -> Iterator[Device]:
    with load_device(pixel_file(phone, tmp_path)) as device:
        yield device


def pixel_file(phone: EmulatedPhone, folder: Path) -> Path:
    path = folder / "mine.yaml"
    connector = {**phone.connector, "connect_timeout_s": 3}
    document = {"schema_version": 1, "id": "mine", "extends": "pixel-8", "connector": connector}
    path.write_text(dump_yaml(document))
    return path


def said(phone: EmulatedPhone) -> list[str]:
    return phone.path("/data/cmd.log").read_text().splitlines()


def state(phone: EmulatedPhone) -> dict[str, str]:
    """Return what the phone is set to."""
    folder = phone.path("/data/settings")
    found = {path.name: path.read_text().strip() for path in folder.iterdir()}
    return {**found, "wakefulness": phone.path("/data/wakefulness").read_text().strip()}


AT_FIRST = {**SETTINGS, "wakefulness": "Asleep"}


def test_a_phone_is_prepared_as_shipped_and_put_back(phone: EmulatedPhone, pixel: Device) -> None:
    with pixel.claim():
        assert state(phone) == {
            "global.stay_on_while_plugged_in": "7",
            "global.airplane_mode_on": "1",
            "system.screen_brightness_mode": "0",
            "system.screen_brightness": "1",
            "system.screen_off_timeout": "2147483647",
            "wakefulness": "Awake",
        }
        assert said(phone)[-1] == "power set-fixed-performance-mode-enabled true"
        assert phone.path("/data/local/tmp/edgenas.lock/holder").is_file()
        assert {one.state for one in pixel.prepared} == {"done"}
    assert state(phone) == AT_FIRST
    assert said(phone)[-2:] == [
        "power set-fixed-performance-mode-enabled false",
        "connectivity airplane-mode disable",
    ]
    assert not phone.path("/data/local/tmp/edgenas.lock").exists()


@pytest.mark.parametrize("name", ["global.stay_on_while_plugged_in", "system.screen_off_timeout"])
def test_a_setting_that_was_never_made_is_deleted_again(
    phone: EmulatedPhone, pixel: Device, name: str
) -> None:
    path = phone.path(f"/data/settings/{name}")
    path.unlink()
    with pixel.claim():
        assert path.read_text() in ("7\n", "2147483647\n")
    assert not path.exists()
    path.write_text(f"{SETTINGS[name]}\n")


def test_a_phone_on_its_battery_stays_awake(phone: EmulatedPhone, pixel: Device) -> None:
    """Left alone for an hour; without the steps it would have gone to sleep after 30 s or 10 s."""
    look = ["sh", "-c", "dumpsys power | grep -c Awake || true"]
    wakefulness = phone.path("/data/wakefulness")

    def awake_after(left_alone_s: float) -> bool:
        since_s = time.time() - left_alone_s
        os.utime(wakefulness, (since_s, since_s))
        return pixel.connector.run(look, 60).stdout == b"1\n"

    with pixel.claim():
        assert awake_after(3600)
        phone.path("/data/settings/system.screen_off_timeout").write_text("30000\n")
        assert awake_after(25)
        assert not awake_after(35)
        pixel.connector.run(["input", "keyevent", "KEYCODE_WAKEUP"], 60)  # it is locked now
        assert awake_after(5)
        assert not awake_after(15)
    assert state(phone) == AT_FIRST


@pytest.mark.parametrize(
    ("properties", "cut"),
    [
        ({"service.adb.tcp.port": "5555"}, True),
        ({"persist.adb.tcp.port": "5555"}, True),
        ({"service.adb.tcp.port": "0"}, False),  # as `adb usb` leaves it
        ({"service.adb.tcp.port": "-1", "persist.adb.tcp.port": ""}, False),
        ({"service.adb.tcp.port": "0", "persist.adb.tcp.port": "5555"}, False),
        ({}, False),
    ],
)
def test_airplane_mode_knows_by_what_way_adb_comes(
    phone: EmulatedPhone, pixel: Device, properties: dict[str, str], cut: bool
) -> None:
    step = pixel.description.prepare["airplane mode"]
    assert isinstance(step, RunStep)
    assert step.undo is not None
    paths = {phone.path(f"/system/props/{name}"): text for name, text in properties.items()}
    for path, text in paths.items():
        path.write_text(f"{text}\n")
    try:
        done = pixel.connector.run(step.run, 60)
        assert done.status == (1 if cut else 0)
        assert (b"adb runs over Wi-Fi" in done.stderr) is cut
        assert state(phone)["global.airplane_mode_on"] == ("0" if cut else "1")
        assert pixel.connector.run([*step.undo[:-1], "0"], 60).status == 0
    finally:
        for path in paths:
            path.unlink()
    assert state(phone) == AT_FIRST


def test_airplane_mode_does_not_cut_its_own_way(phone: EmulatedPhone, pixel: Device) -> None:
    port = phone.path("/system/props/service.adb.tcp.port")
    port.write_text("5555\n")
    try:
        with pixel.claim():
            (step,) = [one for one in pixel.prepared if one.step == "airplane mode"]
            assert step.state == "failed"
            assert "adb runs over Wi-Fi" in (step.error or "")
            assert state(phone)["global.airplane_mode_on"] == "0"
    finally:
        port.unlink()
    assert state(phone) == AT_FIRST


def test_a_phone_tells_its_cores_and_heat(phone: EmulatedPhone, pixel: Device) -> None:
    told = pixel.connector.run(["sh", "-c", _READ_CORES], 60).stdout.decode()
    told = re.sub("(?<=Cpus_allowed_list:).*", "0-8", told)  # the emulation has this machine's
    assert parse_cores(told).kinds == ((0, 1, 2, 3), (4, 5, 6, 7), (8,))
    assert pixel.resolved.runtimes.benchmark_model.affinity == pixel.cores.chosen("big", 1)
    state = read_thermal(pixel.connector)
    assert state.temperatures_c["BIG"] == 41.0
    assert throttled(state, pixel.description.throttling) == ()


def test_after_a_reboot_what_a_reboot_undoes_is_left_alone(
    phone: EmulatedPhone, home: Path, tmp_path: Path
) -> None:
    path = pixel_file(phone, tmp_path)
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    journal = next(home.glob("locks/*.restore.jsonl"))
    text = journal.read_text()
    journal.write_text(text.replace('"boot": "', '"boot": "0'))  # as if it was booted since
    phone.path("/data/cmd.log").write_text("")
    with load_device(path) as device:
        assert "fixed performance" in device.restore()
    assert said(phone) == ["connectivity airplane-mode disable"]
    assert state(phone) == AT_FIRST


def test_a_phone_that_vanishes_is_put_back_when_it_returns(
    phone: EmulatedPhone, pixel: Device
) -> None:
    with pytest.raises(DeviceError, match="not as it was"), pixel.claim():
        phone.switch_off()
    phone.switch_on()
    end = time.monotonic() + 60
    while True:
        try:
            pixel.restore()
            break
        except DeviceError:  # adb needs a moment to see it again
            assert time.monotonic() < end
            time.sleep(0.5)
    assert state(phone) == AT_FIRST
