"""adb: which device, what can go wrong with it, and what is left when the host dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError
from edgenas.core.schema import dump_yaml
from edgenas.hardware.connectors.adb import AdbConnector, AdbSettings
from edgenas.hardware.connectors.adb_devices import device_states
from edgenas.hardware.connectors.adb_shell import split_ending
from edgenas.hardware.connectors.base import Connector, RemoteProcess
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.device import load_device
from edgenas.lowering import onnx
from edgenas.lowering.weights import random_weights
from edgenas.runtimes import open_bench
from edgenas.testing.adb import EmulatedPhone
from edgenas.testing.adb.phone import missing_here
from edgenas.testing.adb.shell import Fault
from edgenas.testing.connector_contract import ConnectorContract, gone, shell
from edgenas.testing.space_contract import width_space

ROOT = Path(__file__).resolve().parents[3]


def reaching(phone: EmulatedPhone, **changes: Any) -> AdbConnector:
    return AdbConnector(AdbSettings.model_validate({**phone.connector, **changes}))


def line(process: RemoteProcess) -> str:
    text = bytearray()
    while (byte := process.read(1, 30)) != b"\n":
        text += byte
    return text.decode()


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    graph = width_space().network(width_space().smallest())
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.lower(graph, random_weights(graph)))
    return path


@pytest.fixture(scope="module")
def phone() -> Iterator[EmulatedPhone]:
    missing_here(pytest.skip)
    with EmulatedPhone() as phone:
        yield phone


@pytest.fixture
def connector(phone: EmulatedPhone) -> Iterator[AdbConnector]:
    with reaching(phone) as connector:
        yield connector
        phone.heal()


@pytest.mark.slow
class TestContract(ConnectorContract):
    @pytest.fixture
    def connect(self, phone: EmulatedPhone) -> Callable[[], Connector]:
        return lambda: reaching(phone)


# -- which device ---------------------------------------------------------------------------


def test_a_missing_program_is_named(phone: EmulatedPhone) -> None:
    with pytest.raises(DeviceError, match=r"no program '/no/adb' here; install it.*connector\.adb"):
        reaching(phone, adb="/no/adb").run(["true"], 10)


def test_the_only_device_needs_no_name(phone: EmulatedPhone) -> None:
    with reaching(phone) as named:
        assert named.serial == phone.serial
        with reaching(phone, serial=None) as unnamed:
            assert unnamed.address == named.address == f"adb:{phone.serial}"
            assert unnamed.run(["getprop", "ro.product.model"], 30).stdout == b"Pixel 8\n"


def test_of_several_devices_one_must_be_named(phone: EmulatedPhone) -> None:
    with EmulatedPhone() as other:
        phone.adb("connect", phone.serial)
        phone.adb("connect", other.serial)
        try:
            with pytest.raises(DeviceError, match="several devices are attached") as caught:
                reaching(phone, serial=None).run(["true"], 10)
            assert f"{phone.serial} (device)" in str(caught.value)
            assert f"{other.serial} (device)" in str(caught.value)
            with reaching(phone, serial=other.serial) as connector:
                connector.run(["touch", "/data/local/tmp/there"], 30)
            assert other.path("/data/local/tmp/there").exists()
            assert not phone.path("/data/local/tmp/there").exists()
        finally:
            phone.adb("disconnect", other.serial)


def test_the_wrong_serial_lists_what_is_there(phone: EmulatedPhone) -> None:
    phone.adb("connect", phone.serial)
    wrong = reaching(phone, serial="0123456789ABCDEF", connect_timeout_s=1.0)
    with pytest.raises(
        DeviceError, match=f"no device '0123456789ABCDEF'; attached: {phone.serial}"
    ):
        wrong.run(["true"], 10)
    nobody = reaching(phone, serial="127.0.0.1:1", connect_timeout_s=1.0)
    with pytest.raises(DeviceError, match=r"no device '127.0.0.1:1' \(adb: .*failed to connect"):
        nobody.run(["true"], 10)


def test_no_device_at_all_says_what_to_do(phone: EmulatedPhone) -> None:
    phone.adb("disconnect")
    alone = reaching(phone, serial=None, connect_timeout_s=1.0)
    with pytest.raises(DeviceError, match=r"no Android device is attached; .*USB debugging"):
        alone.run(["true"], 10)


def test_an_unauthorised_computer_is_told_so() -> None:
    missing_here(pytest.skip)
    with EmulatedPhone(authorised=False) as phone:
        closed = reaching(phone, connect_timeout_s=1.0)
        with pytest.raises(DeviceError, match=r"\(unauthorized\); unlock its screen"):
            closed.run(["true"], 10)


def test_states_are_read_whatever_the_server_says_first() -> None:
    text = (
        "* daemon not running; starting now at tcp:5037\n* daemon started successfully\n"
        "List of devices attached\nR3CN90\tno permissions (missing udev rules? user is in the "
        "plugdev group); see [http://developer.android.com/tools/device.html]\n"
        "emulator-5554\toffline\n10.0.0.7:5555\tdevice\n\n"
    )
    states = device_states(text)
    assert list(states) == ["R3CN90", "emulator-5554", "10.0.0.7:5555"]
    assert states["R3CN90"].startswith("no permissions")


def test_the_status_is_told_from_what_a_command_prints_last() -> None:
    for own in (b"", b"\n", b"text", b"text\n", b"edgenas-ended 3\n", b"\xff\0"):
        assert split_ending(own + b"\nedgenas-ended 7\n") == (7, own)
        assert split_ending(own.strip() + b"\nedgenas-ended 7") == (7, own.strip())
    assert split_ending(b"edgenas-ended 7") == (7, b"")
    for cut in (b"", b"text", b"edgenas-ended", b"edgenas-ended x\n", b"an edgenas-ended 7\n"):
        assert split_ending(cut) == (None, cut)


# -- files ----------------------------------------------------------------------------------


def test_equal_content_is_placed_once(connector: AdbConnector, tmp_path: Path) -> None:
    (tmp_path / "a model").write_bytes(b"content")
    first = connector.place(tmp_path / "a model")
    before = len(shell(connector, 'ls "$1"', connector.workdir).split())
    assert connector.place(tmp_path / "a model") == first
    assert len(shell(connector, 'ls "$1"', connector.workdir).split()) == before == 1
    connector.discard([first])
    assert shell(connector, 'ls "$1"', connector.workdir) == ""
    assert connector.place(tmp_path / "a model") == first


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    missing_here(pytest.skip)
    (tmp_path / "large").write_bytes(os.urandom(3_000_000))
    (tmp_path / "small").write_bytes(b"content")
    with EmulatedPhone(data_kib=2048) as phone, reaching(phone) as connector:
        with pytest.raises(DeviceError, match=r"cannot copy .*large to .*No space left on device"):
            connector.place(tmp_path / "large")
        assert shell(connector, 'ls -A "$1"', connector.workdir) == ""
        assert shell(connector, 'cat "$1"', connector.place(tmp_path / "small")) == "content"


def test_leftovers_of_dead_sessions_are_removed(phone: EmulatedPhone) -> None:
    old, new = (phone.path(f"/data/local/tmp/edgenas-{name}") for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
        (folder / "model").touch()
    long_ago = time.time() - 3 * 86400
    os.utime(old, (long_ago, long_ago))
    with reaching(phone) as connector:
        assert connector.workdir
        assert (old.exists(), new.exists()) == (False, True)


# -- connections that break -----------------------------------------------------------------


def test_a_connection_lost_between_calls_is_made_anew(
    phone: EmulatedPhone, connector: AdbConnector, tmp_path: Path
) -> None:
    folder = connector.workdir
    (tmp_path / "file").write_bytes(b"content")
    phone.disconnect()
    assert connector.run(["echo", "again"], 30).stdout == b"again\n"
    phone.disconnect()
    connector.push(tmp_path / "file", f"{folder}/file")
    phone.disconnect()
    connector.pull(f"{folder}/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"content"
    phone.reboot()
    process = connector.spawn(["cat"], {})
    process.write(b"x", 30)
    assert process.read(1, 30) == b"x"
    process.kill()


def test_a_command_that_was_cut_is_an_error_and_not_repeated(
    phone: EmulatedPhone, connector: AdbConnector
) -> None:
    counter = f"{connector.workdir}/counter"
    phone.fail(Fault("cut", "began"))
    with pytest.raises(DeviceError, match="was cut while 'sh' ran there"):
        connector.run(["sh", "-c", 'echo x >>"$1"; echo began; sleep 600', "sh", counter], 60)
    # The cut comes with the first that is printed, which may be before the command has written.
    assert shell(connector, 'cat "$1" 2>/dev/null || :', counter) in ("", "x\n")


def test_a_process_whose_connection_is_cut_ends_on_both_sides(
    phone: EmulatedPhone, connector: AdbConnector
) -> None:
    process = connector.spawn(["sh", "-c", "echo $$; sleep 600"], {})
    pid = int(line(process))
    phone.disconnect()
    with pytest.raises(DeviceError, match="the way to the device was cut"):
        process.read(100, 30)
    assert process.wait(30) is not None
    assert gone(connector, pid)
    process.kill()


def test_a_reboot_in_mid_command_is_an_error_and_the_device_comes_back(
    phone: EmulatedPhone, connector: AdbConnector
) -> None:
    process = connector.spawn(["sh", "-c", "echo up; sleep 600"], {})
    assert process.read(3, 30) == b"up\n"
    phone.switch_off()
    try:
        with pytest.raises(DeviceError, match="cut"):
            process.read(1, 30)
        process.kill()
        quick = reaching(phone, connect_timeout_s=1.0)
        with pytest.raises(DeviceError, match=r"no device|offline"):
            quick.run(["true"], 10)
    finally:
        phone.switch_on()
    assert connector.run(["echo", "back"], 30).stdout == b"back\n"


def test_a_command_that_never_ends_times_out(phone: EmulatedPhone, connector: AdbConnector) -> None:
    phone.fail(Fault("hang", "marker"))
    with pytest.raises(DeviceTimeoutError, match="echo did not end within 1 s"):
        connector.run(["echo", "marker"], 1)
    assert connector.run(["echo", "fine"], 30).stdout == b"fine\n"


def test_what_the_device_kills_is_told_as_a_signal(
    phone: EmulatedPhone, connector: AdbConnector
) -> None:
    done = connector.run(["sh", "-c", "kill -9 $PPID"], 30)  # the shell that adbd started
    assert done.status == -signal.SIGKILL


def test_a_slow_way_is_waited_for(tmp_path: Path) -> None:
    missing_here(pytest.skip)
    (tmp_path / "file").write_bytes(os.urandom(300_000))
    with EmulatedPhone(delay_s=0.01) as phone, reaching(phone) as connector:
        connector.push(tmp_path / "file", f"{connector.workdir}/file")
        connector.pull(f"{connector.workdir}/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()


def test_processes_on_the_device_die_with_a_killed_host(
    phone: EmulatedPhone, connector: AdbConnector
) -> None:
    script = (
        "import sys, time\n"
        "from edgenas.hardware.connectors.adb import AdbConnector, AdbSettings\n"
        "settings = AdbSettings(kind='adb', serial=sys.argv[1], server_port=int(sys.argv[2]))\n"
        "process = AdbConnector(settings).spawn(['sh', '-c', 'echo $$; sleep 600'], {})\n"
        "while (byte := process.read(1, 30)) != b'\\n':\n"
        "    print(byte.decode(), end='')\n"
        "print(flush=True)\n"
        "time.sleep(600)\n"
    )
    arguments = [phone.serial, str(phone.server_port)]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, cwd=ROOT
    ) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        assert not gone(connector, pid, wait_s=0)
        host.kill()
    assert gone(connector, pid)


def test_a_script_that_adb_cannot_carry_is_refused(connector: AdbConnector) -> None:
    with pytest.raises(DeviceError, match="longer than adb carries"):
        connector.run(["echo", "x" * 100_000], 30)
    with pytest.raises(DeviceError, match="zero byte"):
        connector.run(["echo", "a\0b"], 30)
    with pytest.raises(DeviceError, match="no name of an environment variable"):
        connector.spawn(["true"], {"A=B; rm": "x"})


# -- as a device ----------------------------------------------------------------------------


@pytest.fixture
def device_file(phone: EmulatedPhone, tmp_path: Path) -> Path:
    path = tmp_path / "phone.yaml"
    document = {"schema_version": 1, "id": "phone", "description": "emulated",
                "connector": phone.connector}  # fmt: skip
    path.write_text(dump_yaml(document))
    return path


def test_a_phone_is_described_and_recognised(device_file: Path) -> None:
    with load_device(device_file) as device:
        found = device.fingerprint
    assert (found.arch, found.n_logical, found.max_khz) == ("aarch64", 9, 2914000)
    assert "asimddp" in found.simd
    assert found.python is None


def test_one_holder_of_a_phone(
    device_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with load_device(device_file) as first, load_device(device_file) as second:
        with first.claim(), pytest.raises(DeviceError, match=f"held by process {os.getpid()}"):
            second.claim().__enter__()
        with first.claim():
            monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "other"))
            with pytest.raises(DeviceError, match="held"):
                second.claim().__enter__()
        with second.claim():
            pass


def test_an_agent_runs_on_a_phone_that_has_python(
    phone: EmulatedPhone, tmp_path: Path, onnx_file: Path
) -> None:
    path = tmp_path / "phone.yaml"
    connector = {**phone.connector, "python": sys.executable}
    document = {"schema_version": 1, "id": "phone", "description": "emulated",
                "connector": connector}  # fmt: skip
    path.write_text(dump_yaml(document))
    with load_device(path) as device, open_bench(device, "onnxruntime") as bench:
        assert bench.load("a", onnx_file).delegated
        (visit,) = bench.visit(["a"], n_runs=5, n_warmup=1, timeout_s=60)
        assert min(visit.samples_ms) > 0
        phone.disconnect()
        with pytest.raises(
            AgentError, match=r"died during 'visit' .*the way to the device was cut"
        ):
            bench.visit(["a"], n_runs=5, n_warmup=1, timeout_s=60)


def test_the_local_connector_is_no_settings_for_adb() -> None:
    with pytest.raises(DeviceError, match="needs its own settings"):
        AdbConnector(LocalConnector().settings)
