"""The doctor and a device: what it finds, what it advises, and how its exit code tells."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgenas.cli import main
from edgenas.core.schema import dump_yaml
from edgenas.hardware import noise
from edgenas.hardware.device import Device, load_device
from edgenas.hardware.noise import Observation
from edgenas.hardware.power import Source
from edgenas.hardware.preparation import restore_path
from edgenas.study import device_check, doctor, meter_check
from edgenas.study.device_check import DeviceCheck, check_device
from edgenas.testing.adb import EmulatedPhone
from edgenas.testing.adb.phone import missing_here
from edgenas.testing.fake_connector import FakeConnector
from edgenas.testing.missing import skip_outside_ci
from edgenas.testing.sshd import missing_program, running_sshd

CPU = "/sys/devices/system/cpu"
FACTS = (
    "#=# uname\nLinux\naarch64\n6.6\n#=# /proc/cpuinfo\nprocessor\t: 0\nCPU part\t: 0xd0b\n\n"
    "processor\t: 1\nCPU part\t: 0xd05\n"
)
CORES = (
    f"#=# {CPU}/online\n0-1\n#=# {CPU}/cpu0/cpu_capacity\n400\n#=# {CPU}/cpu1/cpu_capacity\n1024\n"
    f"#=# {CPU}/cpu0/cpufreq/cpuinfo_max_freq\n1800000\n"
    f"#=# {CPU}/cpu1/cpufreq/cpuinfo_max_freq\n2400000\n"
)
THERMAL = (
    "#=# /sys/class/thermal/thermal_zone0/type\ncpu-thermal\n"
    "#=# /sys/class/thermal/thermal_zone0/temp\n85000\n"
    f"#=# {CPU}/cpufreq/policy0/related_cpus\n0 1\n"
    f"#=# {CPU}/cpufreq/policy0/scaling_cur_freq\n600000\n"
    f"#=# {CPU}/cpufreq/policy0/scaling_max_freq\n2400000\n"
    "#=# vcgencmd\nthrottled=0x10004\n"
)
STATE = "#=# /proc/loadavg\n0.0 0 0 1/1 1\n#=# /proc/meminfo\nMemAvailable: 900 kB\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def board(**changes: str) -> Callable[[tuple[str, ...]], str]:
    """Answer the scripts that ask a device, each told by what it reads."""
    answers = {
        "edgenas.lock": "free",
        "uname": FACTS,
        "cpu_capacity": CORES,
        "thermal_zone": THERMAL,
        "/proc/stat": STATE,
        **changes,
    }

    def answer(argv: tuple[str, ...]) -> str:
        return next(text for mark, text in answers.items() if mark in argv[2])

    return answer


def device(connector: FakeConnector, tmp_path: Path, text: str = "") -> Device:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "schema_version: 1\nid: mine\ndescription: a test\nconnector: {kind: local}\n" + text
    )
    return Device(load_device(path).description, connector)


def connector(**changes: str) -> FakeConnector:
    return FakeConnector(
        {
            ("true",): "",
            ("python3", "-V"): "Python 3.11.2\n",
            ("df",): "Filesystem 1024-blocks Used Available Capacity Mounted on\n"
            "/dev/root 100000 90000 10000 90% /\n",
            ("sh",): board(**changes),
        }
    )


def found(check: DeviceCheck, name: str) -> Observation:
    return next(one for one in check.observations if one.name == name)


def check_remedies(observations: Iterable[Observation]) -> None:
    """Whatever is not well comes with what to do about it."""
    assert [one for one in observations if one.severity != "ok" and not one.remedy] == []


def test_what_a_board_tells_is_judged(home: Path, tmp_path: Path) -> None:
    text = "throttling: {zones: [cpu-thermal], pause_above_c: 80, resume_below_c: 60}\n"
    check = check_device(device(connector(), tmp_path, text), engines=False)
    assert check.reached
    assert check.usable
    assert "fake:1 answers" in found(check, "device mine").measured
    assert found(check, "Python on the device").measured == "3.11.2 (python3)"
    assert found(check, "holder").measured == "free"
    slow, fast = "0 at up to 1800 MHz", "1 at up to 2400 MHz"
    assert found(check, "cores").measured == f"{slow}; {fast} (slowest kind first)"
    assert found(check, "CPUs of litert").remedy.startswith("the cores differ: set affinity")
    assert found(check, "throttling").severity == "warning"
    assert found(check, "throttling").measured == "throttled; 85.0 °C, allowed 80 °C"
    assert "600 of 2400 of ? MHz" in found(check, "clock of CPUs 0 1").measured
    assert found(check, "thermal zones").measured == "cpu-thermal 85.0 °C"
    assert found(check, "disk").severity == "warning"
    assert found(check, "free memory").severity == "warning"
    assert found(check, "power meter").measured == "none described"
    check_remedies(check.observations)


def test_what_a_description_names_and_the_board_lacks_is_told(home: Path, tmp_path: Path) -> None:
    text = (
        "throttling: {zones: [gpu]}\npower: {meter: rapl}\n"
        "runtimes: {litert: {affinity: big}, onnxruntime: {threads: 2, affinity: little}}\n"
    )
    check = check_device(device(connector(powercap=""), tmp_path, text), engines=False)
    zones = found(check, "thermal zones")
    assert (zones.severity, zones.measured) == (
        "warning",
        "not there: gpu; there are: cpu-thermal 85.0 °C",
    )
    assert found(check, "meter").severity == "warning"
    check_remedies(check.observations)
    assert found(check, "CPUs of litert").measured == "1 thread(s) on 1 (big)"
    assert found(check, "CPUs of onnxruntime").measured == "2 thread(s) on 0-1 (little)"


def test_a_board_without_python_is_still_observed(home: Path, tmp_path: Path) -> None:
    there = connector()
    del there.answers[("python3", "-V")]
    text = "power: {meter: modelled, idle_mw: 1, active_mw: [2]}\n"
    check = check_device(device(there, tmp_path, text), engines=False)
    assert found(check, "Python on the device").severity == "note"
    assert "benchmark_model" in found(check, "Python on the device").remedy
    assert "modelled" in found(check, "power meter").measured
    check_remedies(check.observations)


def test_a_meter_of_a_program_needs_the_measuring_process(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("lines", 0.1, argv=("tegrastats",))
    meter = SimpleNamespace(name="tegrastats VDD_IN", source=source)
    monkeypatch.setattr(device_check, "find_meter", lambda *_: meter)
    text = "power: {meter: tegrastats, rails: [VDD_IN]}\n"
    check = check_device(device(connector(), tmp_path, text), engines=False)
    assert found(check, "power meter").severity == "note"
    assert found(check, "power meter").measured.startswith("tegrastats VDD_IN: found, not read")
    check_remedies(check.observations)


def test_a_healthy_board_needs_no_torch_here(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("schema_version: 1\nid: mine\nextends: generic-ssh-linux\nconnector: {host: b}")
    monkeypatch.setattr(doctor, "unavailable_reason", lambda module: f"no {module}")
    for engines, exit_code in ((["litert"], 0), ([], 6)):
        check = DeviceCheck("board", engines=engines, reached=True)
        monkeypatch.setattr(doctor, "check_device", lambda *_, check=check, **__: check)
        diagnosis = doctor.examine(str(path))
        assert (diagnosis.works, diagnosis.exit_code) == (False, exit_code)
        check_remedies(diagnosis.observations)


def test_a_board_that_somebody_holds_is_not_measured(home: Path, tmp_path: Path) -> None:
    holder = 'held 3\n{"host": "h", "user": "u", "pid": 1, "since": "then"}'
    check = check_device(device(connector(**{"edgenas.lock": holder}), tmp_path))
    assert not check.usable
    assert found(check, "holder").measured == "held by process 1 of u on h, since then"
    assert not check.engines


def test_one_look_that_fails_does_not_end_the_others(home: Path, tmp_path: Path) -> None:
    check = check_device(device(connector(cpu_capacity=""), tmp_path), engines=False)
    assert found(check, "cores").severity == "warning"
    assert found(check, "throttling").severity == "warning"


def test_a_device_out_of_reach_has_its_own_exit_code(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "schema_version: 1\nid: mine\nextends: generic-ssh-linux\n"
        "connector: {host: 127.0.0.1, port: 1, connect_timeout_s: 2}\n"
    )
    assert main(["doctor", "--device", str(path), "--json"]) == 5
    told = json.loads(capsys.readouterr().out)
    assert (told["works"], told["exit_code"]) == (False, 5)
    (reason,) = [one for one in told["findings"] if one["name"] == "device mine"]
    assert "127.0.0.1" in reason["measured"]


def test_a_template_says_what_to_write(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "jetson-orin-nano"]) == 2
    assert "my-jetson-orin-nano.yaml" in capsys.readouterr().err


def test_what_was_left_changed_is_found_and_restored(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = restore_path(load_device("local").connector)
    path.parent.mkdir(parents=True)
    changed = tmp_path / "governor"
    changed.write_text("performance")
    undo = ["sh", "-c", 'printf %s "$2" >"$1"', "sh", str(changed), "powersave"]
    path.write_text(json.dumps({"step": "governor", "undo": undo}) + "\n")
    assert main(["doctor", "--no-noise", "--json"]) == 0
    observations = json.loads(capsys.readouterr().out)["findings"]
    (state,) = [one for one in observations if one["name"] == "state"]
    assert state["remedy"] == "run: edgenas doctor --device local --restore"
    assert changed.read_text() == "performance"
    assert main(["doctor", "--no-noise", "--restore"]) == 0
    assert "put back: governor" in capsys.readouterr().out
    assert changed.read_text() == "powersave"
    assert main(["doctor", "--no-noise", "--restore", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["restored"] == []


def test_a_machine_behind_ssh_is_examined_whole(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skip_outside_ci(missing_program(), pytest.skip)
    with running_sshd(tmp_path / "sshd") as server:
        path = tmp_path / "mine.yaml"
        document = {
            "schema_version": 1,
            "id": "mine",
            "extends": "generic-ssh-linux",
            "connector": server.settings().model_dump(mode="json", exclude_none=True),
            "python": sys.executable,
            "prepare": {"governor": {"files": "/no/such/governor"}},
            "lock": {"folder": str(tmp_path), "stale_s": 1},  # renewed all the time
        }
        path.write_text(dump_yaml(document))
        assert main(["doctor", "--device", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    observations = {one["name"]: one for one in told["findings"]}
    assert told["works"]
    governor = observations["prepare governor"]
    assert governor["severity"] == "note"
    assert governor["remedy"].startswith("let the user run sudo without a password there, or set")
    check_remedies(Observation(**one) for one in told["findings"])
    for name in ("onnxruntime", "litert"):
        assert "timer resolution" in observations[f"engine {name}"]["measured"]
        assert observations[f"delegate of {name}"]["severity"] == "ok"
    assert "ms for the largest network" in observations["timing"]["measured"]
    assert not list(home.glob("locks/*.restore.jsonl"))


def test_a_phone_without_python_is_examined(
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing_here(pytest.skip)
    monkeypatch.setattr(noise, "DEADLINE_S", 1.0)  # not all visits: each starts a program
    monkeypatch.setattr(meter_check, "_READ_S", 0.5)
    with EmulatedPhone() as phone:
        path = tmp_path / "mine.yaml"
        program = {"binary": str(phone.benchmark_model()), "affinity": "auto"}
        document = {
            "schema_version": 1,
            "id": "mine",
            "extends": "pixel-8",
            "connector": phone.connector,
            "lock": {"stale_s": 1},
            "runtimes": {"benchmark_model": program},
            "power": {"meter": "android", "interval_s": 0.05},
        }
        path.write_text(dump_yaml(document))
        assert main(["doctor", "--device", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    observations = {one["name"]: one for one in told["findings"]}
    assert told["works"]
    assert observations["Python on the device"]["severity"] == "note"
    assert observations["engine benchmark_model"]["severity"] == "ok"
    assert "LITTLE" in observations["thermal zones"]["measured"]
    assert observations["prepare stay awake"]["severity"] == "ok"
    assert observations["visits"]["measured"].endswith(" of 60 within 1 s")
    assert "ms for the largest network" in observations["timing"]["measured"]
    assert observations["power meter"]["severity"] == "note"  # an emulated gauge stands still
    check_remedies(Observation(**one) for one in told["findings"])


def test_a_held_local_device_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with load_device("local").claim():
        diagnosis = doctor.examine("local", noise=False)
    (holder,) = [one for one in diagnosis.observations if one.name == "holder"]
    assert holder.measured == f"held by process {os.getpid()} on this host"
    assert diagnosis.exit_code == 5
