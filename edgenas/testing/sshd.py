"""A real OpenSSH server on the loopback interface, with keys and configuration of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgenas.hardware.connectors.ssh_settings import SshSettings

ADDRESS = "127.0.0.1"
_START_S = 20.0
_SERVER = """
ListenAddress {address}:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding yes
MaxStartups 100
PrintMotd no
SetEnv HOME={folder}/home PATH={folder}/bin:{path}
"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_REBOOTED_CAT = """if [ "$*" = {path} ]; then echo {boot}; else exec /bin/cat "$@"; fi"""
_CLIENT = """
Host {alias}
  HostName {address}
  Port {port}
  User {user}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
"""


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running server that lets the current user in with one key.

    `config` is a client configuration in which it is called `alias`; `known_hosts` is the file
    that it names.
    """

    folder: Path
    alias: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        """The client's configuration file."""
        return self.folder / "client_config"

    @property
    def known_hosts(self) -> Path:
        """The file in which the client finds the server's key."""
        return self.folder / "known_hosts"

    @property
    def identity(self) -> Path:
        """The private key that the server lets in."""
        return self.folder / "user_key"

    @property
    def host_key(self) -> str:
        """The server's public key, type and content."""
        return " ".join((self.folder / "host_key.pub").read_text("ascii").split()[:2])

    def stand_in(self, name: str, script: str) -> None:
        """Have commands of sessions that are called `name` be this script of the shell from now on.

        It takes the place of the machine's own, which the script reaches by its path.
        """
        path = self.folder / "bin" / name
        temporary = path.with_name(f".{name}")
        temporary.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        temporary.chmod(0o755)
        temporary.replace(path)

    def reboot(self) -> None:
        """Kill all that sessions run, and tell another start of the system from then on."""
        self.stand_in("cat", _REBOOTED_CAT.format(path=_BOOT_ID, boot=uuid.uuid4()))
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def settings(self, **changes: Any) -> SshSettings:
        """Return settings that reach it; its working folders are under `folder`."""
        base = {
            "kind": "ssh",
            "host": self.alias,
            "config": str(self.config),
            "workdir": str(self.folder / "work"),
        }
        return SshSettings.model_validate({**base, **changes})


def missing_program() -> str | None:
    """Return why no server can be run here, or None."""
    if _program() is None or shutil.which("ssh-keygen") is None:
        return "OpenSSH's server is not installed (Debian: apt-get install openssh-server)"
    return None


@contextmanager
def running_sshd(folder: Path, *, alias: str = "device", lines: str = "") -> Iterator[Sshd]:
    """Run a server until the end of the block; it keeps all its files in `folder`.

    `lines` are added to its configuration.

    Its sessions have a home of their own there, whose ``.bashrc`` prints something, and look for
    programs in its ``bin`` first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "user_key"):
        make_key(folder / name)
    if os.geteuid() == 0:  # where the server gives its privileges up
        Path("/run/sshd").mkdir(exist_ok=True)
    home = folder / "home"
    for path in (home, folder / "bin"):
        path.mkdir(exist_ok=True)
    (home / ".bashrc").write_text("echo a start-up file of the login shell prints this\n", "utf-8")
    port = _free_port()
    facts = {"address": ADDRESS, "port": port, "folder": folder, "alias": alias}
    (folder / "server_config").write_text(_SERVER.format(**facts, path=_PATH) + lines, "utf-8")
    (folder / "client_config").write_text(_CLIENT.format(**facts, user=getpass.getuser()), "utf-8")
    argv = [_program() or "sshd", "-D", "-f", f"{folder}/server_config", "-E", f"{folder}/log"]
    with subprocess.Popen(argv, start_new_session=True) as process:
        try:
            server = Sshd(folder, alias, port, process)
            trust(server)
            _wait_for(server)
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def make_key(path: Path) -> None:
    """Make a pair of keys without a passphrase, `path` and `path`.pub, over what is there."""
    path.unlink(missing_ok=True)
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(argv, check=True, timeout=60)


def trust(server: Sshd, key: str | None = None) -> None:
    """Write the server's key, or another one, as the only known host."""
    names = f"{ADDRESS},[{ADDRESS}]:{server.port}"
    server.known_hosts.write_text(f"{names} {key or server.host_key}\n", "ascii")


def _program() -> str | None:
    """Return the absolute path of the server, as it wants to be called by."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((ADDRESS, 0))
        port: int = one.getsockname()[1]
        return port


def _wait_for(server: Sshd) -> None:
    end = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection((ADDRESS, server.port), 1.0).close()
        except OSError:
            if server.process.poll() is not None or time.monotonic() > end:
                log = server.folder / "log"
                said = log.read_text("utf-8", "replace") if log.exists() else ""
                raise AssertionError(f"the ssh server does not come up: {said}") from None
            time.sleep(0.02)
        else:
            return
