"""A real PostgreSQL server of one's own, on a socket in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_DEBIAN = Path("/usr/lib/postgresql")
_UNPRIVILEGED = "postgres"
"""Whom Debian's package makes; the server refuses to run as root."""
_USER = "edgenas"
_START_S = 60.0
_SETTINGS = (
    "listen_addresses=",
    "fsync=off",  # of this server nothing is kept
    "max_connections=20",
    "shared_buffers=16MB",
)


class PostgreSql:
    """A server that can be stopped and started again; its data stay in `folder`."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self._programs = folder, programs
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", *, user: str = _USER) -> str:
        """Return the URL of a database, which lets everybody in who reaches the socket."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}"

    def make(self) -> None:
        """Make the cluster."""
        data = self.folder / "data"
        argv = ["initdb", "-D", str(data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        self._run([*argv, "--locale=C"])

    def create(self, database: str) -> str:
        """Make an empty database and return its URL."""
        self._run(["createdb", "-h", str(self.folder), "-U", _USER, database])
        return self.url(database)

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            AssertionError: it does not; the message has its log.
        """
        argv = [
            str(self._programs / "postgres"),
            "-D",
            f"{self.folder}/data",
            "-k",
            f"{self.folder}",
        ]
        for setting in _SETTINGS:
            argv += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                argv, stdout=log, stderr=log, start_new_session=True, **_as_user()
            )
        end = time.monotonic() + _START_S
        while self._call(["pg_isready", "-q", "-h", str(self.folder)]).returncode:
            if self._process.poll() is not None or time.monotonic() > end:
                said = (self.folder / "log").read_text("utf-8", "replace")
                raise AssertionError(f"the PostgreSQL server does not come up: {said}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server at once, as in a crash: whoever is connected loses the connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_START_S)
            self._process = None

    def _run(self, argv: list[str]) -> None:
        done = self._call(argv)
        if done.returncode:
            raise AssertionError(f"{argv[0]} failed: {done.stderr.decode(errors='replace')}")

    def _call(self, argv: list[str]) -> subprocess.CompletedProcess[bytes]:
        command = [str(self._programs / argv[0]), *argv[1:]]
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            command, capture_output=True, check=False, timeout=_START_S, **_as_user()
        )
        return done


def missing_program() -> str | None:
    """Return why no server can be run here, or None."""
    install = "(Debian: apt-get install postgresql)"
    if _programs() is None:
        return f"PostgreSQL's server is not installed {install}"
    if os.geteuid() == 0 and _unprivileged() is None:
        return f"there is no user {_UNPRIVILEGED} as whom root could run PostgreSQL {install}"
    return None


@contextmanager
def running_postgresql() -> Iterator[PostgreSql]:
    """Run a server until the end of the block."""
    # A short path of its own: sockets' paths are short, and another user is to come by.
    folder = Path(tempfile.mkdtemp(prefix="edgenas-pg-"))
    other = _unprivileged()
    if os.geteuid() == 0 and other is not None:
        os.chown(folder, other.pw_uid, other.pw_gid)
    server = PostgreSql(folder, _programs() or _DEBIAN)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """Return the folder of the newest server's programs, which Debian keeps off PATH."""
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    return None if initdb is None else Path(initdb).resolve().parent


def _unprivileged() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        return None


def _as_user() -> dict[str, Any]:
    """Return how a process is started as somebody who may run a server."""
    other = _unprivileged()
    if os.geteuid() != 0 or other is None:
        return {}
    # Its working folder is one that it may enter.
    return {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": (), "cwd": "/"}
