"""The emulated phone as Debian's adb sees it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenas.core.errors import DeviceError
from edgenas.hardware.connectors.adb import AdbConnector, AdbSettings
from edgenas.testing.adb import EmulatedPhone
from edgenas.testing.adb import phone as phone_module
from edgenas.testing.adb.phone import missing_here, unavailable_reason
from edgenas.testing.missing import skip_outside_ci


@pytest.fixture(scope="module")
def phone() -> Iterator[EmulatedPhone]:
    missing_here(pytest.skip)
    with EmulatedPhone() as phone:
        phone.adb("connect", phone.serial)
        yield phone


def adb(phone: EmulatedPhone, *arguments: str) -> str:
    return phone.adb("-s", phone.serial, *arguments)


def test_it_is_listed_as_what_it_emulates(phone: EmulatedPhone) -> None:
    line = f"{phone.serial}\\s+device product:shiba model:Pixel_8 device:shiba"
    assert re.search(line, phone.adb("devices", "-l"))
    assert adb(phone, "get-state") == "device\n"


def test_exit_codes_and_both_outputs_come_through(phone: EmulatedPhone) -> None:
    done = subprocess.run(
        ["adb", "-P", str(phone.server_port), "-s", phone.serial, "shell", "-T",
         "echo out; echo err >&2; exit 7"],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_bytes_come_through_unchanged(phone: EmulatedPhone) -> None:
    content = bytes(range(256)) * 3000
    phone.path("/data/local/tmp/bytes").write_bytes(content)
    for command in (["exec-out", "cat /data/local/tmp/bytes"],
                    ["shell", "-T", "cat /data/local/tmp/bytes"]):  # fmt: skip
        done = subprocess.run(
            ["adb", "-P", str(phone.server_port), "-s", phone.serial, *command],
            capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        assert done.stdout == content


def test_input_reaches_commands(phone: EmulatedPhone) -> None:
    content = os.urandom(500_000)
    done = subprocess.run(
        ["adb", "-P", str(phone.server_port), "-s", phone.serial, "shell", "-T", "sha256sum"],
        input=content, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    expected = subprocess.run(["sha256sum"], input=content, capture_output=True, check=True)
    assert done.stdout.split() == expected.stdout.split()


def test_folders_are_sent_listed_and_fetched(phone: EmulatedPhone, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "below" / "large").write_bytes(os.urandom(300_000))
    (source / "a name, with a comma").write_bytes(b"content")
    adb(phone, "push", str(source), "/data/local/tmp/folder")
    listed = adb(phone, "ls", "/data/local/tmp/folder")
    assert [line.split(" ", 3)[3] for line in listed.splitlines()] == [
        ".",
        "..",
        "a name, with a comma",
        "below",
    ]
    adb(phone, "pull", "/data/local/tmp/folder", str(tmp_path / "back"))
    for path in source.rglob("*"):
        if path.is_file():
            back = tmp_path / "back" / path.relative_to(source)
            assert back.read_bytes() == path.read_bytes()
    with pytest.raises(DeviceError, match=r"No such file or directory|does not exist"):
        adb(phone, "pull", "/data/local/tmp/absent", str(tmp_path / "absent"))


def test_only_the_phones_files_are_seen_where_it_has_them(phone: EmulatedPhone) -> None:
    assert adb(phone, "shell", "grep -c ^processor /proc/cpuinfo") == "9\n"
    governor = "/sys/devices/system/cpu/cpu8/cpufreq/scaling_governor"
    assert adb(phone, "shell", f"cat {governor}") == "sched_pixel\n"
    assert adb(phone, "shell", "getprop ro.soc.model; uname -m") == "Tensor G3\naarch64\n"
    assert "level: 83" in adb(phone, "shell", "dumpsys battery")
    assert adb(phone, "shell", "which python3 bash || echo none") == "none\n"


def test_a_reboot_keeps_settings_and_is_seen(phone: EmulatedPhone) -> None:
    adb(phone, "shell", "settings put global some_setting 3")
    assert adb(phone, "shell", "settings get global some_setting") == "3\n"
    boot = adb(phone, "shell", "cat /proc/sys/kernel/random/boot_id")
    phone.reboot()
    phone.adb("disconnect")
    phone.adb("connect", phone.serial)
    assert adb(phone, "shell", "cat /proc/sys/kernel/random/boot_id") not in ("", boot)
    assert adb(phone, "shell", "settings get global some_setting") == "3\n"
    adb(phone, "shell", "settings delete global some_setting")
    assert adb(phone, "shell", "settings get global some_setting") == "null\n"


def test_a_phone_without_the_shell_protocol_is_refused_by_the_connector() -> None:
    missing_here(pytest.skip)
    with EmulatedPhone(features="cmd") as old:
        old.adb("connect", old.serial)
        assert old.adb("-s", old.serial, "shell", "echo old").strip() == "old"
        connector = AdbConnector(AdbSettings.model_validate(old.connector))
        with pytest.raises(DeviceError, match="Android 7"):
            connector.run(["true"], 30)


def test_the_tool_refuses_what_it_does_not_know(phone: EmulatedPhone) -> None:
    for version, message in (("2.2", "Unconsumed cmdline flags: --no_such=1"),
                             ("2.16", "Please specify the name")):  # fmt: skip
        program = f"/data/local/tmp/benchmark_model-{version}"
        adb(phone, "push", str(phone.benchmark_model(version)), program)
        with pytest.raises(DeviceError):
            adb(phone, "shell", f"{program} --no_such=1")
        assert message in adb(phone, "shell", f"{program} --no_such=1 || true")


def test_what_is_missing_is_said_and_never_skipped_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(phone_module, "PROGRAMS", {"no-such-program": "its-package"})
    assert unavailable_reason() == "missing programs; Debian: apt-get install its-package"
    told: list[str] = []
    monkeypatch.delenv("CI", raising=False)
    missing_here(told.append)
    skip_outside_ci(None, told.append)
    assert told == [unavailable_reason()]
    monkeypatch.setenv("CI", "true")
    skip_outside_ci(None, told.append)
    with pytest.raises(AssertionError, match="nothing is left out: missing programs"):
        missing_here(told.append)
    assert len(told) == 1
