"""What is sent to a login shell so that argument lists run on the device as they are."""

from __future__ import annotations

import os
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgenas.core.errors import DeviceError

# The shell becomes the command, so its process number, which it tells first, is the command's.
# Then comes what tells this start of the system from the next.
_ANNOUNCE = """
command -v "$1" >/dev/null 2>&1 || { echo "$0 missing"; exit 127; }
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
echo "$0 $$ ${boot:--} $(cat /proc/$$/stat 2>/dev/null)"
"""
_WITH_INPUT = _ANNOUNCE + 'exec "$@"'
# The connection holds the input open until the command has ended; if it is cut before, the group
# is killed. The watcher is in the group, so the number stays the group's while it looks.
_WITHOUT_INPUT = (
    _ANNOUNCE
    + """
exec 3<&0 </dev/null
( exec >/dev/null 2>&1; { cat <&3; kill -0 "$$" && kill -9 "-$$"; } & )
exec "$@" 3<&-
"""
)
_KILL = """
started=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20)
[ -z "$started" ] || [ "$started" = "$2" ] || exit 0  # another process has the number by now
kill -9 "-$1" 2>/dev/null || kill -9 "$1" 2>/dev/null || :
"""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ConnectionLostError(DeviceError):
    """The connection was cut under a command; a new one may well be had."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process of the device; `started` tells it from a later one with the same number.

    `boot` tells the start of the system from the next; None where the device does not.
    """

    pid: int
    started: str
    boot: str | None = None


class RemoteCommand:
    """An argument list on its way through ssh, which knows only one string for a shell.

    The first line of its output that begins with a random token tells its process number and the
    start of the system; whatever a start-up file of the login shell has printed before is dropped.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, *, with_input: bool
    ) -> None:
        self.name = argv[0]
        self.token = secrets.token_hex(8)
        script = _WITH_INPUT if with_input else _WITHOUT_INPUT
        variables = [f"{name}={value}" for name, value in (env or {}).items()]
        for name in env or {}:
            if not _NAME.fullmatch(name):
                raise DeviceError(f"{name!r} cannot be the name of an environment variable")
        self.text = armoured(["env", *variables, "sh", "-c", script, self.token, *argv])

    def started(self, line: bytes) -> Started | None:
        """Return the process that `line` announces, or None if it is something else.

        Raises:
            DeviceError: the command is not on the device.
        """
        token, _, rest = line.decode(errors="replace").partition(" ")
        if token != self.token:
            return None
        if rest.strip() == "missing":
            raise DeviceError(f"there is no command {self.name!r} on the device")
        pid, boot, stat = [*rest.strip().split(" ", 2), "", ""][:3]
        if not re.fullmatch(r"[0-9]{1,9}", pid):
            return None
        fields = stat.rpartition(")")[2].split()
        known = re.fullmatch(r"[0-9a-f][0-9a-f-]{0,63}", boot) is not None
        return Started(int(pid), fields[19] if len(fields) > 19 else "", boot if known else None)


def kill_argv(process: Started) -> list[str]:
    """Return the command that kills a process and its group."""
    return ["sh", "-c", _KILL, "sh", str(process.pid), process.started]


def armoured(argv: Sequence[str]) -> str:
    """Return a line of plain ASCII that runs `argv` in any common login shell.

    Shells differ in what they change inside quotes (backslashes, ``!``, line ends, bytes that
    are no text), so such bytes travel as octal numbers that the device's `printf` reads.

    Raises:
        DeviceError: an argument holds a zero byte.
    """
    content = os.fsencode(shlex.join(argv))
    if b"\0" in content:
        raise DeviceError(f"an argument of {argv[0]!r} holds a zero byte, which no command can get")
    text = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b"'\\!" else f"\\0{byte:03o}"
        for byte in content
    )
    return f"""exec sh -c 'eval "exec $(printf %b "$1")"' sh '{text}'"""
