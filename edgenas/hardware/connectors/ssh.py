"""A device that is reached over ssh: a Jetson, a Raspberry Pi, any machine with a POSIX shell.

The connection is asyncssh's, after the user's own ``~/.ssh/config``, agent and known hosts. Files
are copied through commands too, so the device needs no more than a shell and the usual tools,
and a full disk is told by its name.
"""

from __future__ import annotations

import logging
import posixpath
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgenas.core.errors import DeviceError, DeviceTimeoutError, StorageError
from edgenas.core.extras import require
from edgenas.core.files import atomic_path, sha256_of
from edgenas.hardware.connectors.base import (
    CONNECTORS,
    Completed,
    Connector,
    ConnectorSettings,
    RemoteProcess,
)
from edgenas.hardware.connectors.ssh_command import ConnectionLostError
from edgenas.hardware.connectors.ssh_settings import SshSettings

if TYPE_CHECKING:
    from edgenas.hardware.connectors.ssh_link import Link
    from edgenas.hardware.connectors.ssh_process import SshProcess

log = logging.getLogger(__name__)

T = TypeVar("T")

_CHUNK = 1 << 20
_MOST_NAME_BYTES = 200
# $1: target, $2: its folder, $3: temporary name, $4: SHA-256, $5: size
_PUSH = """
export LC_ALL=C
trap '' PIPE  # what is printed after a cut must not keep the script from cleaning up
[ ! -d "$1" ] || { echo "it is a folder" >&2; exit 1; }
mkdir -p -- "$2" || exit 1
same() {
  if command -v sha256sum >/dev/null 2>&1
  then [ "$(sha256sum < "$1" | cut -c 1-64)" = "$2" ]
  else [ "$(($(wc -c < "$1")))" -eq "$3" ]
  fi || { echo "what arrived is not what was sent" >&2; false; }
}
cat > "$3" && same "$3" "$4" "$5" && mv -f -- "$3" "$1" && exit 0
rm -f -- "$3"
exit 1
"""
# Sessions touch their folder whenever they place a file: an old one belongs to nobody.
_TOUCH = 'export LC_ALL=C; (umask 077; mkdir -p -- "$2") && touch "$2" || exit 1\n'
_PULL = 'export LC_ALL=C; exec cat < "$1"'
_WORKDIR = """
umask 077
base=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/edgenas/work}
mkdir -p -- "$base" || exit 1
find "$base" -mindepth 1 -maxdepth 1 -name 'session.*' -mtime +0 -exec rm -rf {} + 2>/dev/null
mktemp -d "$base/session.XXXXXXXX"
"""
_MOST_FILES = 50  # in one command, whose longest line is limited
_SPARE_BYTES = 1 << 28
"""How much of what was discarded stays: a small file is found there sooner than sent again."""
_LOOK = _TOUCH + '[ -f "$1" ]'


class _DiskFullError(DeviceError):
    """There is no room on the device."""


class _InputClosedError(DeviceError):
    """A copying command has ended before it had all; its status tells why."""


@CONNECTORS.add("ssh")
class SshConnector(Connector):
    """Runs commands and copies files over one ssh connection, which is made when first needed.

    After the connection was lost the next call makes it again. `push`, `pull` and `place` begin
    again once when it is lost in their middle; `run` does not, as its command may have run, and
    a process that was spawned is lost.
    """

    settings_type = SshSettings
    python = "python3"

    def __init__(self, settings: ConnectorSettings) -> None:
        if not isinstance(settings, SshSettings):
            raise TypeError(f"settings of the connector ssh expected, not {settings!r}")
        self.settings = settings
        self._workdir: str | None = None
        self._opened: Link | None = None
        self._placed: dict[str, int] = {}
        self._spare: dict[str, int] = {}  # what was discarded and is still there; bytes by path

    @cached_property
    def address(self) -> str:
        """The device as ``ssh:user@host:port``, after the user's configuration."""
        return f"ssh:{self._link.name}"

    @property
    def workdir(self) -> str:  # noqa: D102
        if self._workdir is None:
            done = self._shell(_WORKDIR, self.settings.workdir or "")
            path = done.stdout.decode(errors="surrogateescape").removesuffix("\n")
            if done.status != 0 or not path.startswith("/"):
                raise DeviceError(
                    f"cannot make a working folder on {self._link.name}: {_said(done.stderr)}; "
                    "name a folder there that can be written as connector.workdir"
                )
            self._workdir = path
        return self._workdir

    def push(self, local: Path, remote: str) -> None:  # noqa: D102
        self._push(_PUSH, local, remote)

    def _push(self, script: str, local: Path, remote: str) -> None:
        try:
            checksum, n_bytes = sha256_of(local), local.stat().st_size
        except OSError as error:
            raise DeviceError(f"cannot read {local}: {error.strerror}") from error
        folder = posixpath.dirname(remote) or "."
        temporary = f"{folder}/.edgenas-{secrets.token_hex(8)}"
        argv = _script(script, remote, folder, temporary, checksum, str(n_bytes))
        self._twice(lambda: self._send(local, remote, argv))

    def pull(self, remote: str, local: Path) -> None:  # noqa: D102
        self._twice(lambda: self._receive(remote, local))

    def place(self, local: Path) -> str:
        """Return the path of a file in the working folder, named after the content of `local`.

        Where the disk is full what was discarded makes room.

        Raises:
            DeviceError: it cannot be copied.
        """
        try:
            checksum, n_bytes = sha256_of(local), local.stat().st_size
        except OSError as error:
            raise DeviceError(f"cannot read {local}: {error.strerror}") from error
        name = local.name.encode(errors="surrogateescape")[-_MOST_NAME_BYTES:]
        remote = f"{self.workdir}/{checksum[:16]}-{name.decode(errors='surrogateescape')}"
        if not self._is_there(remote):
            try:
                self._push(_TOUCH + _PUSH, local, remote)
            except _DiskFullError:
                if not self._spare:
                    raise
                self._remove_spare(0)
                self._push(_TOUCH + _PUSH, local, remote)
        self._spare.pop(remote, None)
        self._placed[remote] = n_bytes
        return remote

    def _is_there(self, remote: str) -> bool:
        """Return whether a file was placed and lies there still; what never was is not asked for.

        The folder is this session's own, and every question takes a command of its own.
        """
        if remote not in self._placed and remote not in self._spare:
            return False
        look = self._twice(lambda: self._shell(_LOOK, remote, self.workdir))
        return look.status == 0

    def discard(self, remotes: Sequence[str]) -> None:
        """Give back the room of files of `place`: those discarded longest ago are removed first.

        Up to `_SPARE_BYTES` stay where they are until the room is needed.

        Raises:
            DeviceError: the device cannot be reached.
        """
        for remote in remotes:
            if remote in self._placed:
                self._spare[remote] = self._placed.pop(remote)
        if sum(self._spare.values()) > _SPARE_BYTES:
            self._remove_spare(_SPARE_BYTES // 2)

    def _remove_spare(self, most_bytes: int) -> None:
        """Remove what was discarded until it takes no more than `most_bytes`."""
        left, gone = sum(self._spare.values()), []
        for remote, n_bytes in self._spare.items():
            if left <= most_bytes:
                break
            left -= n_bytes
            gone.append(remote)
        for start in range(0, len(gone), _MOST_FILES):
            part = gone[start : start + _MOST_FILES]
            self._twice(partial(self._shell, 'rm -f -- "$@"', *part))
            for remote in part:
                del self._spare[remote]

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:  # noqa: D102
        end = time.monotonic() + timeout_s
        with self._started(argv, timeout_s=timeout_s, with_input=False) as process:
            channel = process.channel
            stdout = bytearray()
            try:
                while part := channel.read_some(max(0.0, end - time.monotonic())):
                    stdout += part
                status = channel.wait(max(0.0, end - time.monotonic()))
            except DeviceTimeoutError:
                status = None
            if status is None:
                raise DeviceTimeoutError(
                    f"{argv[0]} did not end within {timeout_s:g} s on {self._link.name}"
                )
            if channel.cut:
                raise ConnectionLostError(
                    f"the connection to {self._link.name} was lost while {argv[0]} ran there; "
                    "how far it came is not known"
                )
            return Completed(status, bytes(stdout), channel.stderr(1.0))

    def spawn(self, argv: Sequence[str], env: Mapping[str, str]) -> RemoteProcess:  # noqa: D102
        return self._start(argv, env, timeout_s=self.settings.connect_timeout_s, with_input=True)

    def close(self) -> None:
        """Remove the working folder and close the connection; what was spawned is cut off."""
        if self._opened is None:
            return
        try:
            if self._workdir is not None:
                self._shell('rm -rf -- "$1"', self._workdir)
        except DeviceError as error:
            log.warning("%s stays on %s: %s", self._workdir, self._opened.name, error)
        finally:
            self._workdir = None
            self._placed, self._spare = {}, {}
            self._opened.close()

    @property
    def _link(self) -> Link:
        if self._opened is None:
            require("asyncssh")
            from edgenas.hardware.connectors.ssh_link import Link

            self._opened = Link(self.settings)
        return self._opened

    def _shell(self, script: str, *arguments: str) -> Completed:
        return self.run(_script(script, *arguments), self.settings.stall_timeout_s)

    @contextmanager
    def _started(
        self, argv: Sequence[str], *, timeout_s: float, with_input: bool
    ) -> Iterator[SshProcess]:
        """Start a command and kill it if it still runs in the end."""
        process = self._start(argv, {}, timeout_s=timeout_s, with_input=with_input)
        try:
            yield process
        finally:
            if process.status() is None:
                process.kill()
            process.channel.abort()

    def _start(
        self, argv: Sequence[str], env: Mapping[str, str], *, timeout_s: float, with_input: bool
    ) -> SshProcess:
        """Start a command and note the start of the system that it tells."""
        from edgenas.hardware.connectors import ssh_process

        _check(argv)
        process = ssh_process.start(
            self._link, argv, env, timeout_s=timeout_s, with_input=with_input
        )
        self.boot = process.boot or self.boot
        return process

    def _send(self, local: Path, remote: str, argv: Sequence[str]) -> None:
        stall_s = self.settings.stall_timeout_s
        with self._started(argv, timeout_s=stall_s, with_input=True) as process:
            try:
                with local.open("rb") as stream, suppress(_InputClosedError):
                    while part := stream.read(_CHUNK):
                        self._write(process, part)
                process.close_input()
            except OSError as error:
                raise DeviceError(f"cannot read {local}: {error.strerror}") from error
            except DeviceTimeoutError as error:
                raise self._stalled(f"{local} to {remote}") from error
            status = process.wait(stall_s)
            if status is None:
                raise self._stalled(f"{local} to {remote}")
            self._judge(process, status, f"{local} to {remote}")

    def _write(self, process: SshProcess, part: bytes) -> None:
        try:
            process.write(part, self.settings.stall_timeout_s)
        except DeviceTimeoutError:
            raise
        except DeviceError as error:
            raise _InputClosedError from error

    def _receive(self, remote: str, local: Path) -> None:
        stall_s = self.settings.stall_timeout_s
        argv = _script(_PULL, remote)
        with self._started(argv, timeout_s=stall_s, with_input=False) as process:
            try:
                with atomic_path(local) as temporary:
                    with temporary.open("wb") as stream:
                        while part := process.channel.read_some(stall_s):
                            stream.write(part)
                    status = process.wait(stall_s)
                    if status is None:
                        raise self._stalled(f"{remote} to {local}")
                    self._judge(process, status, f"{remote} to {local}")
            except DeviceTimeoutError as error:
                raise self._stalled(f"{remote} to {local}") from error
            except (OSError, StorageError) as error:
                raise DeviceError(f"cannot copy {remote} to {local}: {error}") from error

    def _judge(self, process: SshProcess, status: int, what: str) -> None:
        """Raise what a copying command that has ended with `status` tells."""
        if process.channel.cut:
            raise ConnectionLostError(
                f"cannot copy {what}: the connection to {self._link.name} was lost"
            )
        if status != 0:
            said = _said(process.channel.stderr(1.0))
            text = f"cannot copy {what} on {self._link.name}: {said}"
            if "No space left" in said or "Disk quota" in said:
                raise _DiskFullError(f"{text}; free space there or name another connector.workdir")
            raise DeviceError(text)

    def _stalled(self, what: str) -> DeviceTimeoutError:
        return DeviceTimeoutError(
            f"copying {what} on {self._link.name} came to a halt for "
            f"{self.settings.stall_timeout_s:g} s"
        )

    def _twice(self, attempt: Callable[[], T]) -> T:
        """Make an attempt, and another if the connection is lost in the first."""
        try:
            return attempt()
        except ConnectionLostError:
            return attempt()


def _script(script: str, *arguments: str) -> list[str]:
    return ["sh", "-c", script, "sh", *arguments]


def _check(argv: Sequence[str]) -> None:
    if not argv or not argv[0] or argv[0].startswith("-"):
        raise DeviceError(f"there is no command {next(iter(argv), '')!r} on any device")


def _said(stderr: bytes) -> str:
    return stderr.decode(errors="replace").strip() or "it did not say why"
