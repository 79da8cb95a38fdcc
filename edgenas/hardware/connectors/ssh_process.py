"""A command on a device that is reached over ssh: started, killed, and told from its neighbours."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from edgenas.core.errors import DeviceError, DeviceTimeoutError
from edgenas.hardware.connectors.base import RemoteProcess
from edgenas.hardware.connectors.ssh_channel import Channel
from edgenas.hardware.connectors.ssh_command import (
    ConnectionLostError,
    RemoteCommand,
    Started,
    kill_argv,
)
from edgenas.hardware.connectors.ssh_link import Link

log = logging.getLogger(__name__)

_KILL_S = 5.0
_SHOWN_BYTES = 500


class SshProcess(RemoteProcess):
    """A running command; one whose connection was cut counts as hung up, status -1 (SIGHUP).

    It never connects anew, except to kill what may still run on the device.
    """

    def __init__(self, link: Link, channel: Channel, process: Started) -> None:
        self.channel, self._link, self._process = channel, link, process
        self._killed = False

    @property
    def pid(self) -> int:
        """The number of the process on the device."""
        return self._process.pid

    @property
    def boot(self) -> str | None:
        """What tells the start of the device's system that it runs in from the next."""
        return self._process.boot

    def status(self) -> int | None:  # noqa: D102
        return self.channel.status()

    def write(self, content: bytes, timeout_s: float) -> None:  # noqa: D102
        self.channel.write(content, timeout_s)

    def read(self, n_bytes: int, timeout_s: float) -> bytes:  # noqa: D102
        return self.channel.read(n_bytes, timeout_s)

    def stderr_tail(self) -> str:  # noqa: D102
        return self.channel.stderr_tail()

    def wait(self, timeout_s: float) -> int | None:  # noqa: D102
        return self.channel.wait(timeout_s)

    def close_input(self) -> None:  # noqa: D102
        self.channel.close_input()

    def kill(self) -> None:
        """End the process and its group through a command of its own beside it.

        Where the connection does not answer it is given up, and another one is tried.
        """
        if self._killed or self._link.closed:
            return
        self._killed = True
        for attempt in (1, 2):
            try:
                self._kill()
                break
            except DeviceError as error:
                self._link.drop()
                if attempt == 2:
                    log.warning(
                        "cannot kill process %d on %s, which may disturb later timings: %s",
                        self.pid, self._link.name, error,
                    )  # fmt: skip
        self.channel.wait(_KILL_S)
        self.channel.abort()

    def _kill(self) -> None:
        limit_s = min(_KILL_S, self._link.settings.connect_timeout_s)
        command = RemoteCommand(kill_argv(self._process), with_input=True)
        channel = self._link.open(command.text, limit_s)
        try:
            channel.close_input()
            if channel.wait(limit_s) is None:
                raise DeviceTimeoutError(f"no answer within {limit_s:g} s from {self._link.name}")
        finally:
            channel.abort()


def start(
    link: Link,
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    timeout_s: float,
    with_input: bool = True,
) -> SshProcess:
    """Start a command and return once the device has told that it runs.

    Without input it reads an end of file, and is killed if the connection is cut.

    Raises:
        DeviceError: the command cannot be started.
        DeviceTimeoutError: the device did not tell in time; the connection is given up.
    """
    end = time.monotonic() + timeout_s
    command = RemoteCommand(argv, env, with_input=with_input)
    channel = link.open(command.text, timeout_s)
    before = b""
    try:
        while line := channel.read_line(max(0.0, end - time.monotonic())):
            if process := command.started(line):
                return SshProcess(link, channel, process)
            before = (before + line)[-_SHOWN_BYTES:]
    except DeviceTimeoutError as error:
        link.drop()  # nobody can tell whether the command runs: what reads its input ends so
        raise DeviceTimeoutError(
            f"{argv[0]} did not start within {timeout_s:g} s on {link.name}"
        ) from error
    except BaseException:
        channel.abort()
        raise
    said = (before + channel.stderr(1.0)).decode(errors="replace").strip()
    channel.abort()
    if channel.cut:
        raise ConnectionLostError(
            f"the connection to {link.name} was lost while {argv[0]} was started"
        )
    raise DeviceError(
        f"{link.name} does not start commands with a POSIX shell as its user; it said: "
        f"{said or 'nothing'}"
    )
