"""Faults on the way to a device behind a real ssh server, and what they leave on either side."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgenas.core.errors import DeviceError, DeviceTimeoutError
from edgenas.hardware.connectors import ssh_process
from edgenas.hardware.connectors.base import Connector
from edgenas.hardware.connectors.ssh import SshConnector
from edgenas.testing.connector_contract import gone, read_line, shell
from edgenas.testing.disk import small_disk
from edgenas.testing.sshd import Sshd
from edgenas.testing.tcp_proxy import TcpProxy

ROOT = Path(__file__).resolve().parents[3]
MEBI = 1 << 20


def test_a_cut_is_noticed_on_both_sides(
    through: Callable[..., SshConnector], proxy: TcpProxy
) -> None:
    connector = through()
    process = connector.spawn(["sh", "-c", "echo $$; exec cat"], {})
    pid = int(read_line(process))
    proxy.cut()
    with pytest.raises(DeviceError, match=r"ended after 0 of 4 bytes .the connection to .* lost"):
        process.read(4, 30)
    with pytest.raises(DeviceError, match="input is closed"):
        process.write(b"x", 30)
    assert process.status() == process.wait(30) == -signal.SIGHUP
    assert "was lost" in process.stderr_tail()
    assert gone(connector, pid)  # over a new connection, as the next line says
    assert proxy.n_connections == 2
    process.kill()


def test_a_process_that_ignores_the_cut_can_still_be_killed(
    through: Callable[..., SshConnector], proxy: TcpProxy
) -> None:
    connector = through()
    process = connector.spawn(["sh", "-c", "echo $$; exec sleep 600"], {})
    pid = int(read_line(process))
    proxy.cut()
    assert process.wait(30) == -signal.SIGHUP
    assert not gone(connector, pid, wait_s=0.2)
    process.kill()
    assert gone(connector, pid)


@pytest.mark.parametrize("n_bytes", [1, MEBI, 2 * MEBI])
def test_a_push_that_is_cut_is_made_again(
    through: Callable[..., SshConnector], proxy: TcpProxy, tmp_path: Path, n_bytes: int
) -> None:
    connector, source = through(), tmp_path / "source"
    source.write_bytes(os.urandom(3 * MEBI))
    remote = f"{connector.workdir}/file"
    proxy.cut_after(n_bytes)
    connector.push(source, remote)
    assert proxy.n_connections == 2
    connector.pull(remote, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    assert no_rest(connector)
    placed = connector.place(source)
    proxy.cut()
    assert connector.place(source) == placed


@pytest.mark.parametrize("n_bytes", [1, MEBI])
def test_a_pull_that_is_cut_is_made_again(
    through: Callable[..., SshConnector], proxy: TcpProxy, tmp_path: Path, n_bytes: int
) -> None:
    connector, target = through(), tmp_path / "target"
    shell(connector, 'head -c 3000000 /dev/zero > "$1/file"', connector.workdir)
    proxy.cut_after(n_bytes)
    connector.pull(f"{connector.workdir}/file", target)
    assert target.read_bytes() == bytes(3_000_000)
    assert proxy.n_connections == 2


def test_a_copy_that_is_always_cut_is_an_error(
    through: Callable[..., SshConnector],
    proxy: TcpProxy,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connector, source = through(), tmp_path / "source"
    source.write_bytes(bytes(3 * MEBI))
    folder = connector.workdir
    proxy.cut_after(MEBI, always=True)
    with pytest.raises(DeviceError, match=r"the connection to .* was lost"):
        connector.push(source, f"{folder}/file")
    proxy.cut_after(1 << 40)
    assert no_rest(connector)
    shell(connector, 'head -c 3000000 /dev/zero > "$1/file"', folder)
    proxy.cut_after(MEBI, always=True)
    with pytest.raises(DeviceError, match=r"the connection to .* was lost"):
        connector.pull(f"{folder}/file", tmp_path / "target")
    proxy.cut_after(1 << 40)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert not caplog.records


def no_rest(connector: Connector) -> bool:
    """Wait until a cut copy has cleaned up after itself."""
    for _ in range(200):
        names = shell(connector, 'ls -A "$1"', connector.workdir).split()
        if not [name for name in names if name.startswith(".edgenas-")]:
            return True
        time.sleep(0.05)
    return False


def test_a_command_that_is_cut_is_not_run_again_and_ends(
    through: Callable[..., SshConnector], proxy: TcpProxy
) -> None:
    connector = through()
    log = Path(connector.workdir, "log")
    script = 'echo $$ >> "$1"; echo begun; while :; do sleep 1; done'
    cutter = threading.Thread(target=lambda: (wait_for(log), proxy.cut()))
    cutter.start()
    with pytest.raises(DeviceError, match="was lost while sh ran there; how far it came"):
        connector.run(["sh", "-c", script, "sh", str(log)], timeout_s=30)
    cutter.join()
    (pid,) = log.read_text().split()
    assert gone(connector, int(pid))


def wait_for(path: Path) -> None:
    for _ in range(1000):
        if path.exists() and path.read_text():
            return
        time.sleep(0.02)


def test_an_idle_connection_that_was_cut_is_made_again(
    through: Callable[..., SshConnector], proxy: TcpProxy
) -> None:
    connector = through()
    folder = connector.workdir
    for n_connections in (2, 3):
        proxy.cut()
        assert connector.run(["echo", "again"], timeout_s=30).stdout == b"again\n"
        assert proxy.n_connections == n_connections
    assert connector.workdir == folder


def test_a_connection_that_stalls_is_no_hang(
    through: Callable[..., SshConnector],
    proxy: TcpProxy,
    small_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ssh_process, "_KILL_S", 1.0)
    connector = through(connect_timeout_s=3.0, stall_timeout_s=3.0)
    process = connector.spawn(["cat"], {})
    folder = connector.workdir
    start = time.monotonic()
    proxy.stall()
    with pytest.raises(DeviceTimeoutError, match=r"no answer within 0.5 s"):
        process.read(1, 0.5)
    for attempt in (
        lambda: connector.run(["true"], timeout_s=0.5),
        lambda: connector.push(small_file, f"{folder}/file"),
        lambda: connector.pull(f"{folder}/file", small_file.with_name("target")),
        lambda: connector.spawn(["cat"], {}),
    ):
        with pytest.raises(DeviceTimeoutError):
            attempt()
    process.kill()
    assert time.monotonic() - start < 60
    proxy.resume()
    assert connector.run(["echo", "again"], timeout_s=30).stdout == b"again\n"


def test_a_stall_in_the_middle_of_a_copy_is_no_hang(
    through: Callable[..., SshConnector],
    proxy: TcpProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ssh_process, "_KILL_S", 1.0)
    connector = through(connect_timeout_s=3.0, stall_timeout_s=3.0)
    remote, source = f"{connector.workdir}/file", tmp_path / "source"
    source.write_bytes(bytes(16 * MEBI))
    proxy.stall_after(MEBI)
    with pytest.raises(DeviceTimeoutError, match="came to a halt for 3 s"):
        connector.push(source, remote)
    proxy.resume()
    connector.push(source, remote)
    proxy.stall_after(MEBI)
    with pytest.raises(DeviceTimeoutError, match="came to a halt for 3 s"):
        connector.pull(remote, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    proxy.resume()


def test_a_device_that_accepts_and_says_nothing_is_told(
    through: Callable[..., SshConnector], proxy: TcpProxy
) -> None:
    proxy.stall()
    with pytest.raises(DeviceTimeoutError, match=r"within 0.5 s from .*; is it on, and in the net"):
        through(connect_timeout_s=0.5).run(["true"], timeout_s=30)


def test_garbled_bytes_are_never_taken_for_an_answer(
    through: Callable[..., SshConnector], proxy: TcpProxy
) -> None:
    connector = through()
    process = connector.spawn(["cat"], {})
    proxy.garble()

    def there_and_back() -> None:
        process.write(b"hello", 5)  # the other end may have hung up before this has gone out
        process.read(5, 5)

    lost = r"(ended after 0 of 5 bytes|its input is closed) .the connection to"
    with pytest.raises(DeviceError, match=lost):
        there_and_back()
    process.kill()
    assert connector.run(["echo", "again"], timeout_s=30).stdout == b"again\n"


def test_a_full_disk_is_told(sshd: Sshd, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kib=256) as disk:
        if not disk.path.is_mount():
            pytest.skip("mounting a small disk needs root; the device is another process")
        source = tmp_path / "source"
        source.write_bytes(bytes(MEBI))
        with SshConnector(sshd.settings(workdir=str(disk.path))) as connector:
            remote = f"{connector.workdir}/file"
            with pytest.raises(DeviceError, match="No space left on device; free space there"):
                connector.push(source, remote)
            with pytest.raises(DeviceError, match="No space left on device"):
                connector.place(source)
            assert shell(connector, 'ls -A "$1"', connector.workdir) == ""
            source.write_bytes(bytes(100_000))
            connector.discard([connector.place(source)])
            source.write_bytes(b"1" * 200_000)  # fits in once the other one has gone
            placed = connector.place(source)
            assert shell(connector, 'ls -A "$1"', connector.workdir) == f"{Path(placed).name}\n"
            source.write_bytes(b"small")
            connector.push(source, remote)
        assert list(disk.path.iterdir()) == []


def test_a_full_disk_here_is_told(ssh: SshConnector, tmp_path: Path) -> None:
    shell(ssh, 'head -c 1000000 /dev/zero > "$1/file"', ssh.workdir)
    with small_disk(tmp_path / "disk", kib=64) as disk:
        disk.fill()
        with pytest.raises(DeviceError, match="No space left on device"):
            ssh.pull(f"{ssh.workdir}/file", disk.path / "target")
        assert not (disk.path / "target").exists()


def test_processes_end_when_the_connector_is_closed(sshd: Sshd, ssh: SshConnector) -> None:
    connector = SshConnector(sshd.settings())
    process = connector.spawn(["sh", "-c", "echo $$; exec cat"], {})
    pid = int(read_line(process))
    connector.close()
    assert process.status() == -signal.SIGHUP
    process.kill()
    assert gone(ssh, pid)
    assert connector.run(["echo", "anew"], timeout_s=30).stdout == b"anew\n"
    connector.close()


def test_commands_end_with_a_killed_host(sshd: Sshd, ssh: SshConnector) -> None:
    script = (
        "import sys, threading\n"
        "from edgenas.hardware.connectors.ssh import SshConnector\n"
        "from edgenas.hardware.connectors.ssh_settings import SshSettings\n"
        "connector = SshConnector(SshSettings.model_validate_json(sys.argv[1]))\n"
        "process = connector.spawn(['sh', '-c', 'echo $$; exec cat'], {})\n"
        "pids = connector.workdir + '/pid'\n"
        "run = lambda: connector.run(['sh', '-c', 'echo $$ > $0; exec sleep 600', pids], 600)\n"
        "threading.Thread(target=run, daemon=True).start()\n"
        "while connector.run(['test', '-s', pids], 30).status: pass\n"
        "print(connector.run(['cat', pids], 30).stdout.decode(), end='')\n"
        "while (byte := process.read(1, 30)) != b'\\n': print(byte.decode(), end='')\n"
        "print(flush=True)\n"
        "threading.Event().wait(600)\n"
    )
    argv = [sys.executable, "-c", script, sshd.settings().model_dump_json()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as host:
        assert host.stdout is not None
        pids = [int(host.stdout.readline()) for _ in range(2)]
        assert not any(gone(ssh, pid, wait_s=0) for pid in pids)
        host.kill()
    assert all(gone(ssh, pid) for pid in pids)
