"""The contract suite of connectors: subclass `ConnectorContract` in a test and give `connect`."""

# ruff: noqa: D102  # a test's name says what it holds

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgenas.core.errors import DeviceError, DeviceTimeoutError
from edgenas.hardware.connectors.base import Connector, RemoteProcess

TIMEOUT_S = 60.0
"""How long anything may take that should come at once."""

HOSTILE = (
    "", " ", "a b", "-rf", "--", "$(touch pwned)", "`touch pwned`", "$HOME", "${IFS}", "'", '"',
    "'\"'\"'", "\\", "\\\\'", "a\nb", "\n", "a\r\nb", "\t", "*", "?", "[a]", "{a,b}", "~", "~root",
    "!!", "#", ";", "&", "|", "a;id", "a&&id", ">out", "<in", "%s%n%b", "\\0101", "\x01\x1b[31m",
    "naïve", "日本語", "\udcff\udc80", "é\udce9", "a=b", "\x7f",
)  # fmt: skip
"""Arguments, names and values that a shell, a terminal or a decoder would like to change."""

_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_BYTES = st.binary(max_size=40).map(lambda content: os.fsdecode(content.replace(b"\0", b"")))
ARGUMENTS = st.text(_CHARACTERS, max_size=40) | _BYTES
"""Whatever an argument can be: text, and bytes that are no text (as surrogates)."""

_NAMES = ARGUMENTS.map(lambda text: text.replace("/", "")).filter(
    lambda name: name not in ("", ".", "..") and len(os.fsencode(name)) < 100
)
_QUICK = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
        HealthCheck.too_slow,
    ],
)
_ECHO = 'for one; do printf "%s\\0" "$one"; done'


class ConnectorContract:
    """What every connector holds; a subclass gives the fixture `connect`.

    The device needs a POSIX shell, `cat`, `sleep`, `seq` and `kill`.

    Attributes:
        killed: the exit statuses that a process killed by SIGKILL may show.
    """

    killed: ClassVar[tuple[int, ...]] = (-signal.SIGKILL,)

    @pytest.fixture
    def connect(self) -> Callable[[], Connector]:
        """Return what makes a connector to the device under test, a new one at each call."""
        raise NotImplementedError

    @pytest.fixture
    def connector(self, connect: Callable[[], Connector]) -> Iterator[Connector]:
        """A connector that is closed after the test."""
        with connect() as connector:
            yield connector

    def test_has_an_address_and_an_interpreter(self, connect: Callable[[], Connector]) -> None:
        with connect() as first, connect() as second:
            assert first.address
            assert first.address == second.address
            assert first.python

    def test_run_returns_status_and_output(self, connector: Connector) -> None:
        script = "printf 'a b\\0\\r\\n\\377'; echo oops >&2; exit 3"
        done = connector.run(["sh", "-c", script], timeout_s=TIMEOUT_S)
        assert (done.status, done.stdout, done.stderr) == (3, b"a b\0\r\n\xff", b"oops\n")

    def test_run_gives_no_input(self, connector: Connector) -> None:
        assert connector.run(["cat"], timeout_s=TIMEOUT_S).stdout == b""

    def test_run_returns_much_output(self, connector: Connector) -> None:
        done = connector.run(["seq", "1", "200000"], timeout_s=TIMEOUT_S)
        assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 200001))

    def test_run_tells_signals(self, connector: Connector) -> None:
        done = connector.run(["sh", "-c", "kill -9 $$"], timeout_s=TIMEOUT_S)
        assert done.status in self.killed

    def test_run_names_a_missing_command(self, connector: Connector) -> None:
        for missing in ("no-such-command", "/no/such/command", "no such command"):
            with pytest.raises(DeviceError, match=f"no command '{missing}'"):
                connector.run([missing, "x"], timeout_s=TIMEOUT_S)

    def test_arguments_arrive_unread(self, connector: Connector) -> None:
        assert _echoed(connector, HOSTILE) == list(HOSTILE)

    @_QUICK
    @given(arguments=st.lists(ARGUMENTS, max_size=6))
    def test_any_arguments_arrive_unread(self, connector: Connector, arguments: list[str]) -> None:
        assert _echoed(connector, arguments) == arguments

    def test_run_ends_the_whole_group_at_the_timeout(self, connector: Connector) -> None:
        pids = f"{connector.workdir}/pids"
        script = 'sleep 600 & echo "$$ $!" > "$1"; wait'
        before_s = time.monotonic()
        with pytest.raises(DeviceTimeoutError, match="sh did not end within 3 s"):
            connector.run(["sh", "-c", script, "sh", pids], timeout_s=3)
        assert time.monotonic() - before_s < TIMEOUT_S
        for pid in shell(connector, 'cat "$1"', pids).split():
            assert gone(connector, int(pid))

    def test_push_and_pull_copy_bytes(self, connector: Connector, tmp_path: Path) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        remote = f"{connector.workdir}/file"
        for content in (b"\0\xff\r\n", b"", os.urandom(3_000_000)):  # each replaces the last
            source.write_bytes(content)
            connector.push(source, remote)
            connector.pull(remote, target)
            assert target.read_bytes() == content
        assert shell(connector, 'ls -A "$1"', connector.workdir) == "file\n"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]

    def test_push_makes_folders(self, connector: Connector, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"content")
        remote = f"{connector.workdir}/new/newer/file"
        connector.push(tmp_path / "source", remote)
        assert shell(connector, 'cat "$1"', remote) == "content"

    def test_names_reach_the_file_system_unread(self, connector: Connector, tmp_path: Path) -> None:
        for number, name in enumerate(HOSTILE):
            if name not in ("", " ", "~root"):
                _round_trip(connector, tmp_path, name, b"%d" % number)

    @_QUICK
    @given(name=_NAMES, content=st.binary(max_size=2000))
    def test_any_names_reach_the_file_system_unread(
        self, connector: Connector, tmp_path: Path, name: str, content: bytes
    ) -> None:
        _round_trip(connector, tmp_path, name, content)

    def test_a_failed_copy_leaves_nothing(self, connector: Connector, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"content")
        shell(connector, 'mkdir "$1/folder"', connector.workdir)
        with pytest.raises(DeviceError, match=r"/no/such/file"):
            connector.pull("/no/such/file", tmp_path / "target")
        with pytest.raises(DeviceError, match=r"folder"):
            connector.pull(f"{connector.workdir}/folder", tmp_path / "target")
        for remote in (f"{connector.workdir}/folder", "/proc/no/such/folder/file"):
            with pytest.raises(DeviceError, match=remote):
                connector.push(tmp_path / "source", remote)
        with pytest.raises(DeviceError, match="absent"):
            connector.push(tmp_path / "absent", f"{connector.workdir}/file")
        assert [path.name for path in tmp_path.iterdir()] == ["source"]
        assert shell(connector, 'ls -A "$1" "$1/folder"', connector.workdir).split() == [
            f"{connector.workdir}:", "folder", f"{connector.workdir}/folder:",
        ]  # fmt: skip

    def test_placed_files_have_the_content_asked(
        self, connector: Connector, tmp_path: Path
    ) -> None:
        local = tmp_path / "a model's file.onnx"
        for content in ("first", "second", "first"):
            local.write_text(content)
            for _ in range(2):
                remote = connector.place(local)
                assert shell(connector, 'cat "$1"', remote) == content
                assert remote.endswith(".onnx")

    def test_discarded_files_can_be_placed_again(
        self, connector: Connector, tmp_path: Path
    ) -> None:
        """Whatever their names; what is here stays, and what else is there too."""
        names = ("first", "a model's", "-rf", "$(touch pwned)", "a\nb", "*", "\udcff")
        paths = [tmp_path / f"{name}.onnx" for name in names]
        for number, path in enumerate(paths):
            path.write_text(str(number))
        kept = connector.place(paths[0])
        placed = [connector.place(path) for path in paths[1:]]
        for _ in range(2):  # what is not there is no error
            connector.discard(placed)
        connector.discard([])
        for number, path in enumerate(paths):
            assert path.read_text() == str(number)
            assert shell(connector, 'cat "$1"', connector.place(path)) == str(number)
        assert connector.place(paths[0]) == kept

    def test_working_folders_are_private_and_removed(
        self, connect: Callable[[], Connector], tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        with connect() as first, connect() as second:
            assert first.workdir == first.workdir != second.workdir
            first.push(tmp_path / "file", f"{first.workdir}/deep/file")
            folder = first.workdir
            assert folder.startswith("/")
            assert shell(second, 'ls -ld "$1"', folder).startswith("drwx------")
            first.close()
            first.close()
            shell(second, '[ ! -e "$1" ] && [ -d "$2" ]', folder, second.workdir)

    def test_spawned_process_talks_in_bytes(self, connector: Connector) -> None:
        process = connector.spawn(["cat"], {})
        sent = os.urandom(3000)
        process.write(sent, TIMEOUT_S)
        assert process.read(1000, TIMEOUT_S) + process.read(2000, TIMEOUT_S) == sent
        assert process.read(0, TIMEOUT_S) == b""
        process.write(b"", TIMEOUT_S)
        assert process.status() is None
        assert process.wait(0.05) is None
        process.write(b"rest", TIMEOUT_S)
        process.close_input()
        process.close_input()
        assert process.read(4, TIMEOUT_S) == b"rest"
        assert process.wait(TIMEOUT_S) == 0
        assert process.status() == 0
        process.kill()
        process.kill()

    def test_large_frames_pass_both_ways(self, connector: Connector) -> None:
        script = 'for i in 1 2 3; do head -c 600000 > "$1" || exit; cat "$1"; done'
        frame = f"{connector.workdir}/frame"
        process = connector.spawn(["sh", "-c", script, "sh", frame], {})
        for _ in range(3):
            sent = os.urandom(600_000)
            process.write(sent, TIMEOUT_S)
            assert process.read(4, TIMEOUT_S) + process.read(599_996, TIMEOUT_S) == sent
        assert process.wait(TIMEOUT_S) == 0
        process.kill()

    def test_several_processes_run_side_by_side(self, connector: Connector) -> None:
        processes = [connector.spawn(["cat"], {}) for _ in range(4)]
        for number, process in enumerate(processes):
            process.write(bytes([number]), TIMEOUT_S)
        assert connector.run(["echo", "beside"], timeout_s=TIMEOUT_S).stdout == b"beside\n"
        assert [process.read(1, TIMEOUT_S)[0] for process in processes] == [0, 1, 2, 3]
        for process in processes:
            process.kill()

    def test_environment_is_added(self, connector: Connector) -> None:
        values = [one for one in HOSTILE if one]
        env = {f"EDGENAS_TEST_{number}": value for number, value in enumerate(values)}
        names = " ".join(f'"${name}"' for name in env)
        process = connector.spawn(["sh", "-c", f'printf "%s\\0" "$HOME" {names}'], env)
        wanted = b"".join(os.fsencode(value) + b"\0" for value in values)
        home = shell(connector, 'printf %s "$HOME"').encode()
        assert process.read(len(home) + 1, TIMEOUT_S) == home + b"\0"
        assert process.read(len(wanted), TIMEOUT_S) == wanted
        process.kill()

    def test_spawn_names_a_missing_command(self, connector: Connector) -> None:
        with pytest.raises(DeviceError, match="no command 'no-such-command'"):
            connector.spawn(["no-such-command"], {})

    def test_reads_and_writes_time_out(self, connector: Connector) -> None:
        process = connector.spawn(["sleep", "600"], {})
        with pytest.raises(DeviceTimeoutError, match=r"within 0.1 s"):
            process.read(1, 0.1)
        with pytest.raises(DeviceTimeoutError, match=r"within 0.5 s"):
            process.write(bytes(1 << 25), 0.5)  # more than all buffers on the way hold
        assert process.status() is None
        process.kill()
        assert process.status() in self.killed
        assert process.wait(TIMEOUT_S) in self.killed

    def test_a_dead_process_is_told_from_a_silent_one(self, connector: Connector) -> None:
        process = connector.spawn(["sh", "-c", "printf ab; echo last words >&2; exit 7"], {})
        with pytest.raises(DeviceError, match="ended after 2 of 4 bytes"):
            process.read(4, TIMEOUT_S)
        assert process.wait(TIMEOUT_S) == 7
        assert process.stderr_tail() == "last words"
        with pytest.raises(DeviceError):
            _write_until_refused(process)
        process.kill()

    def test_only_the_end_of_long_error_output_is_kept(self, connector: Connector) -> None:
        process = connector.spawn(["sh", "-c", "seq 1 100000 >&2"], {})
        assert process.wait(TIMEOUT_S) == 0
        tail = process.stderr_tail()
        assert tail.endswith("100000")
        assert len(tail) < 1 << 15
        process.kill()

    def test_kill_ends_what_the_process_has_started(self, connector: Connector) -> None:
        script = "trap '' TERM HUP INT; sleep 600 & echo \"$$ $!\"; wait; sleep 600"
        process = connector.spawn(["sh", "-c", script], {})
        pids = read_line(process).split()
        for pid in pids:
            assert not gone(connector, int(pid), wait_s=0)
        process.kill()
        for pid in pids:
            assert gone(connector, int(pid))
        assert process.status() in self.killed

    def test_a_stopped_process_can_be_killed(self, connector: Connector) -> None:
        process = connector.spawn(["sh", "-c", "echo $$; kill -STOP $$; sleep 600"], {})
        pid = int(read_line(process))
        with pytest.raises(DeviceTimeoutError):
            process.read(1, 0.2)
        process.kill()
        assert gone(connector, pid)

    def test_a_process_that_reads_ends_when_its_input_does(self, connector: Connector) -> None:
        process = connector.spawn(["sh", "-c", "echo $$; exec cat"], {})
        pid = int(read_line(process))
        process.close_input()
        assert gone(connector, pid)
        process.kill()
        assert process.status() == 0


def shell(connector: Connector, script: str, *arguments: str) -> str:
    """Run a script of the device's shell with `arguments` as $1, ... and return what it prints."""
    done = connector.run(["sh", "-c", script, "sh", *arguments], timeout_s=TIMEOUT_S)
    assert done.status == 0, done.stderr.decode(errors="replace")
    return os.fsdecode(done.stdout)


def gone(connector: Connector, pid: int, *, wait_s: float = 20.0) -> bool:
    """Return whether a process of the device has ended, or does within `wait_s`.

    A zombie has ended: whoever inherited it has not looked yet.
    """
    script = 'kill -0 "$1" 2>/dev/null || exit 3; cat "/proc/$1/stat" 2>/dev/null; exit 0'
    end = time.monotonic() + wait_s
    while True:
        done = connector.run(["sh", "-c", script, "sh", str(pid)], timeout_s=TIMEOUT_S)
        state = done.stdout.rpartition(b")")[2].split()[:1]
        if done.status == 3 or state in ([b"Z"], [b"X"]):
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)


def read_line(process: RemoteProcess) -> str:
    """Return the next line that a process prints, without its end."""
    text = bytearray()
    while (byte := process.read(1, TIMEOUT_S)) != b"\n":
        text += byte
    return text.decode()


def _echoed(connector: Connector, arguments: tuple[str, ...] | list[str]) -> list[str]:
    done = connector.run(["sh", "-c", _ECHO, "sh", *arguments], timeout_s=TIMEOUT_S)
    assert (done.status, done.stderr) == (0, b"")
    return [os.fsdecode(one) for one in done.stdout.split(b"\0")[:-1]]


def _round_trip(connector: Connector, folder: Path, name: str, content: bytes) -> None:
    """Push and pull through a file called `name`, and see that the device calls it so."""
    source, target = folder / "source", folder / "target"
    source.write_bytes(content)
    base = f"{connector.workdir}/names"
    remote = f"{base}/{name}"
    connector.push(source, remote)
    done = connector.run(["sh", "-c", 'cat < "$1"', "sh", remote], timeout_s=TIMEOUT_S)
    assert (done.status, done.stdout) == (0, content)
    connector.pull(remote, target)
    assert target.read_bytes() == content
    shell(connector, 'rm -rf "$1"', base)


def _write_until_refused(process: RemoteProcess) -> None:
    """Write to a process that has ended; the first bytes may still be taken on the way."""
    for _ in range(100):
        process.write(b"x", TIMEOUT_S)
        time.sleep(0.02)
