"""The local connector: bytes, argument lists, timeouts, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenas.core.errors import DeviceError, DeviceTimeoutError, RegistryError
from edgenas.hardware.connectors.base import CONNECTORS
from edgenas.hardware.connectors.local import LocalConnector


@pytest.fixture
def connector() -> Iterator[LocalConnector]:
    with LocalConnector() as connector:
        yield connector


def gone(pid: int) -> bool:
    """Wait until a process has ended."""
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # dead; whoever inherited it has not looked yet
        time.sleep(0.02)
    return False


def test_is_registered() -> None:
    assert CONNECTORS.get("local") is LocalConnector
    with pytest.raises(RegistryError, match=r"unknown connector 'lokal'; .*nearest: local"):
        CONNECTORS.get("lokal")


def test_run_returns_status_and_output(connector: LocalConnector) -> None:
    done = connector.run(["sh", "-c", "printf 'a b\\0'; echo oops >&2; exit 3"], timeout_s=30)
    assert (done.status, done.stdout, done.stderr) == (3, b"a b\0", b"oops\n")


def test_arguments_reach_the_command_unread(connector: LocalConnector) -> None:
    done = connector.run(["printf", "%s|", "$HOME", "a b", "*"], timeout_s=30)
    assert done.stdout == b"$HOME|a b|*|"


def test_run_names_a_missing_command(connector: LocalConnector) -> None:
    with pytest.raises(DeviceError, match="no command 'no-such-command'"):
        connector.run(["no-such-command"], timeout_s=30)


def test_run_kills_the_whole_group_at_the_timeout(
    connector: LocalConnector, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! > {pids}; wait"
    with pytest.raises(DeviceTimeoutError, match="sh did not end within 1 s"):
        connector.run(["sh", "-c", script], timeout_s=1)
    assert gone(int(pids.read_text()))


def test_push_and_pull_copy_bytes(connector: LocalConnector, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"\0\xff")
    remote = f"{connector.workdir}/file"
    connector.push(source, remote)
    connector.pull(remote, target)
    assert target.read_bytes() == b"\0\xff"


def test_a_failed_copy_leaves_nothing(connector: LocalConnector, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot copy"):
        connector.pull("/no/such/file", tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_place_does_not_copy(connector: LocalConnector, tmp_path: Path) -> None:
    assert connector.place(tmp_path / "model") == str(tmp_path / "model")


def test_close_removes_the_working_folder() -> None:
    connector = LocalConnector()
    folder = Path(connector.workdir)
    assert folder.is_dir()
    connector.close()
    connector.close()
    assert not folder.exists()


def test_spawned_process_talks_in_bytes(connector: LocalConnector) -> None:
    process = connector.spawn(["cat"], {})
    sent = os.urandom(300_000)  # more than a pipe holds: written while the other side reads
    process.write(sent[:1000], 30)
    assert process.read(1000, 30) == sent[:1000]
    assert process.read(0, 30) == b""
    process.close_input()
    assert process.wait(30) == 0
    process.kill()


def test_environment_is_added(connector: LocalConnector) -> None:
    process = connector.spawn(["sh", "-c", 'printf %s "$EXTRA"'], {"EXTRA": "value"})
    assert process.read(5, 30) == b"value"
    process.kill()


def test_reads_and_writes_time_out(connector: LocalConnector) -> None:
    process = connector.spawn(["sleep", "600"], {})
    with pytest.raises(DeviceTimeoutError, match=r"within 0.1 s"):
        process.read(1, 0.1)
    with pytest.raises(DeviceTimeoutError):
        process.write(bytes(1 << 20), 0.1)
    assert process.status() is None
    process.kill()
    assert process.status() == -signal.SIGKILL


def test_a_dead_process_is_told_from_a_silent_one(connector: LocalConnector) -> None:
    process = connector.spawn(["sh", "-c", "printf ab; echo last words >&2; exit 7"], {})
    with pytest.raises(DeviceError, match="ended after 2 of 4 bytes"):
        process.read(4, 30)
    assert process.wait(30) == 7
    assert process.stderr_tail() == "last words"
    with pytest.raises(DeviceError, match="pipe is broken"):
        process.write(b"x", 30)
    process.kill()


def test_only_the_end_of_long_error_output_is_kept(connector: LocalConnector) -> None:
    process = connector.spawn(["sh", "-c", "seq 1 100000 >&2"], {})
    process.wait(60)
    tail = process.stderr_tail()
    assert tail.endswith("100000")
    assert len(tail) < 1 << 15
    process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of the end")
def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import time\n"
        "from edgenas.hardware.connectors.local import LocalConnector\n"
        "process = LocalConnector().spawn(['sh', '-c', 'echo $$; exec sleep 600'], {})\n"
        "print(process.read(2, 30).decode(), end='')\n"
        "while (byte := process.read(1, 30)) != b'\\n':\n"
        "    print(byte.decode(), end='')\n"
        "print(flush=True)\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    assert gone(child)
