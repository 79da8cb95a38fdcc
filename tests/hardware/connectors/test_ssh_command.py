"""What login shells make of the line that ssh brings, and what the scripts on the device do."""

import hashlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgenas.core.errors import DeviceError
from edgenas.hardware.connectors.ssh import _PUSH
from edgenas.hardware.connectors.ssh_command import (
    RemoteCommand,
    Started,
    armoured,
    kill_argv,
)
from edgenas.testing.connector_contract import ARGUMENTS, HOSTILE

LOGIN_SHELLS = [
    [path, *flags]
    for name, *flags in (
        ["sh"], ["bash"], ["dash"], ["zsh"], ["fish"], ["tcsh"], ["mksh"], ["ksh"], ["yash"],
        ["busybox", "sh"],
    )
    if (path := shutil.which(name))
]  # fmt: skip
POSIX_SHELLS = [shell for shell in LOGIN_SHELLS if Path(shell[0]).name not in ("fish", "tcsh")]
ECHO = ["sh", "-c", 'for one; do printf "%s\\0" "$one"; done', "sh"]


@pytest.fixture(params=LOGIN_SHELLS, ids=lambda shell: Path(shell[0]).name)
def login(request: pytest.FixtureRequest) -> list[str]:
    """A shell that a device may give its users, of those that are installed here."""
    return list(request.param)


@pytest.fixture(params=POSIX_SHELLS, ids=lambda shell: Path(shell[0]).name)
def posix(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """An environment in which `sh` is one of the shells that devices call so."""
    script = tmp_path / "bin" / "sh"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {" ".join(request.param)} "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}"}


def run(argv: list[str], **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, check=False, capture_output=True, timeout=60, **more)  # type: ignore[call-overload,no-any-return]


def echoed(login: list[str], arguments: list[str]) -> list[str]:
    done = run([*login, "-c", armoured([*ECHO, *arguments])])
    assert (done.returncode, done.stderr) == (0, b"")
    return [os.fsdecode(one) for one in done.stdout.split(b"\0")[:-1]]


def test_arguments_pass_any_login_shell(login: list[str]) -> None:
    assert echoed(login, list(HOSTILE)) == list(HOSTILE)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(ARGUMENTS, max_size=5))
def test_any_arguments_pass_any_login_shell(login: list[str], arguments: list[str]) -> None:
    assert echoed(login, arguments) == arguments


def test_the_line_is_plain_ascii() -> None:
    line = armoured(["echo", *HOSTILE])
    assert line.isascii()
    assert line.isprintable()
    with pytest.raises(DeviceError, match="zero byte"):
        armoured(["echo", "\0"])


@pytest.mark.parametrize("with_input", [True, False])
def test_a_command_announces_itself(posix: dict[str, str], with_input: bool) -> None:
    env = {"A_B": "it's; $HOME\n"}
    argv = ["sh", "-c", 'printf "%s|%s|%s" "$$" "$A_B" "$1"; exit 3', "sh", "a  b"]
    command = RemoteCommand(argv, env, with_input=with_input)
    with subprocess.Popen(
        ["sh", "-c", command.text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=posix
    ) as process:
        assert process.stdout is not None
        started = command.started(process.stdout.readline())
        assert started is not None
        rest = process.stdout.read().decode()
        assert process.wait(60) == 3
    assert rest == f"{started.pid}|it's; $HOME\n|a  b"
    assert started.pid == process.pid
    assert started.started.isdigit()
    assert started.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_missing_command_is_told(posix: dict[str, str]) -> None:
    command = RemoteCommand(["no-such-command"], with_input=True)
    done = run(["sh", "-c", command.text], env=posix)
    with pytest.raises(DeviceError, match="there is no command 'no-such-command'"):
        command.started(done.stdout)


def test_other_lines_announce_nothing() -> None:
    command = RemoteCommand(["true"], with_input=True)
    for line in (b"", b"\n", b"welcome\n", b"\xff 12 x\n", command.token[:8].encode() + b" 1 x\n"):
        assert command.started(line) is None
    assert command.started(f"{command.token} 12 ".encode()) == Started(12, "")
    assert command.started(f"{command.token} 12 - ".encode()) == Started(12, "")
    stat = "12 (a b) c) S " + " ".join("1" * 18) + " 4711 1"
    told = command.started(f"{command.token} 12 0a-1b {stat}\n".encode())
    assert told == Started(12, "4711", "0a-1b")
    for odd in ("x", "0A", "a" * 65, "0;"):
        told = command.started(f"{command.token} 12 {odd} {stat}\n".encode())
        assert told == Started(12, "4711", None)


def test_a_command_without_input_ends_when_the_connection_does(posix: dict[str, str]) -> None:
    command = RemoteCommand(["sh", "-c", "sleep 600 & wait"], with_input=False)
    with subprocess.Popen(
        ["sh", "-c", command.text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=posix,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert command.started(process.stdout.readline())
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.stdin.close()
        assert process.wait(60) == -signal.SIGKILL
        assert process.stdout.read() == b""  # nothing of the group is left to hold it open


def test_only_the_process_that_was_started_is_killed(posix: dict[str, str]) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        assert run(kill_argv(Started(process.pid, "1")), env=posix).returncode == 0
        assert process.poll() is None
        done = run(kill_argv(Started(process.pid, stat[19])), env=posix)
        assert (done.returncode, done.stderr) == (0, b"")
        assert process.wait(60) == -signal.SIGKILL
    assert run(kill_argv(Started(process.pid, stat[19])), env=posix).returncode == 0


@pytest.mark.parametrize("tool", ["sha256sum", "wc"])
def test_what_did_not_arrive_whole_is_not_put_in_its_place(
    posix: dict[str, str], tmp_path: Path, tool: str
) -> None:
    if tool == "wc":  # a device without sha256sum: only the tools that the script needs
        folder = tmp_path / "tools"
        folder.mkdir()
        for name in ("cat", "wc", "mv", "rm", "mkdir", "cut"):
            (folder / name).symlink_to(shutil.which(name) or name)
        posix = {**posix, "PATH": f"{posix['PATH'].split(':')[0]}:{folder}"}
    target, temporary = tmp_path / "new" / "target", tmp_path / "new" / "temporary"
    content = b"content" * 1000
    facts = [str(target), str(target.parent), str(temporary), hashlib.sha256(content).hexdigest()]
    argv = [shutil.which("sh", path=posix["PATH"]) or "sh", "-c", _PUSH, "sh", *facts, "7000"]
    done = run(argv, env=posix, input=content[:-1])
    assert done.returncode == 1
    assert b"what arrived is not what was sent" in done.stderr
    assert list(target.parent.iterdir()) == []
    done = run(argv, env=posix, input=content)
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(target.parent.iterdir()) == [target]
    assert target.read_bytes() == content
