"""The controller of an emulated phone: starts, breaks and reboots it, and runs adb against it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from edgenas.core.errors import DeviceError
from edgenas.testing.adb.facts import banner, start_system, write_phone
from edgenas.testing.adb.shell import Fault
from edgenas.testing.adb.tool import BenchmarkTool
from edgenas.testing.missing import skip_outside_ci

PROGRAMS = {"adb": "adb", "mksh": "mksh", "toybox": "toybox"}
"""What the emulation needs installed, with the Debian package that brings it."""
FEATURES = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"
_START_S = 20.0
_APPLETS = "/system/bin/toybox"


def unavailable_reason() -> str | None:
    """Return why no phone can be emulated here, or None."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        return f"missing programs; Debian: apt-get install {' '.join(missing)}"
    if sys.platform != "linux":
        return "the phone's file system needs Linux"
    flags = ["--mount"] if os.getuid() == 0 else ["--mount", "--user", "--map-root-user"]
    command = ["unshare", *flags, "true"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=_START_S)
    return None if done.returncode == 0 else "the kernel does not let this user make namespaces"


def missing_here(skip: Callable[[str], object]) -> None:
    """Call `skip` with the reason if no phone can be emulated here (errors: `skip_outside_ci`)."""
    skip_outside_ci(unavailable_reason(), skip)


class EmulatedPhone:
    """A phone in a folder, reached by adb over TCP; a context manager that starts and ends it.

    Commands run under the shell and tools of Android (mksh, toybox), in a file system whose /data,
    /sys and /system are the phone's. `benchmark_model` times for real, on this machine.

    Attributes:
        serial: how adb names it, host and port.
        server_port: the port of an adb server of its own.
    """

    def __init__(
        self,
        *,
        authorised: bool = True,
        data_kib: int | None = None,
        delay_s: float = 0.0,
        features: str = FEATURES,
    ) -> None:
        self._options: dict[str, Any] = {
            "authorised": authorised,
            "data_kib": data_kib,
            "delay_s": delay_s,
            "banner": banner(features),
            "port": 0,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.server_port = _free_port()

    def __enter__(self) -> Self:
        self._root = Path(tempfile.mkdtemp(prefix="edgenas-phone-"))
        self._folder = self._root / "phone"
        write_phone(self._folder)
        _install_tools(self._folder / "system/bin")
        self._tool = BenchmarkTool(self._folder / "system/benchmark.sock")
        self._start()
        self.adb("start-server")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        with suppress(DeviceError, subprocess.TimeoutExpired):
            self.adb("kill-server")
        self._tool.close()
        shutil.rmtree(self._root, ignore_errors=True)

    @property
    def serial(self) -> str:
        """How adb names the phone."""
        return f"127.0.0.1:{self._options['port']}"

    @property
    def connector(self) -> dict[str, Any]:
        """What a device file says under `connector` to reach the phone."""
        return {"kind": "adb", "serial": self.serial, "server_port": self.server_port}

    @property
    def environment(self) -> dict[str, str]:
        """What adb needs: a home folder of its own for its key."""
        return {"HOME": str(self._root), "ANDROID_ADB_SERVER_PORT": str(self.server_port)}

    def path(self, path: str) -> Path:
        """Return where a path of the phone (below /data, /sys or /system) is on this machine."""
        return self._folder / path.lstrip("/")

    def benchmark_model(self, version: str = "2.16") -> Path:
        """Return the program `benchmark_model`, built for the phone, that prints as `version`."""
        path = self._root / f"benchmark_model-{version}"
        self._tool.write_program(path, version)
        return path

    def adb(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run adb against the phone's own server and return what it prints.

        Raises:
            DeviceError: it failed.
        """
        done = subprocess.run(  # the program is found on the path, as users have it
            ["adb", "-P", str(self.server_port), *arguments],  # noqa: S607
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, **self.environment},
        )
        if done.returncode != 0:
            raise DeviceError(os.fsdecode(done.stderr or done.stdout).strip())
        return os.fsdecode(done.stdout)

    # -- what goes wrong -------------------------------------------------------------------

    def fail(self, fault: Fault) -> None:
        """Have something go wrong with commands to come."""
        self._order({"do": "fault", "fault": asdict(fault)})

    def heal(self) -> None:
        """Forget the faults that have not struck."""
        self._order({"do": "heal"})

    def disconnect(self) -> None:
        """Break every connection."""
        self._order({"do": "cut"})

    def reboot(self, *, down_s: float = 0.0) -> None:
        """Vanish with everything that runs, come back after `down_s` on the same port."""
        self._end()
        time.sleep(down_s)
        self._start()

    def switch_off(self) -> None:
        """Vanish with everything that runs."""
        self._end()

    def switch_on(self) -> None:
        """Come back on the same port."""
        self._start()

    def commands(self) -> list[str]:
        """Return what shells were asked to run since the last start."""
        commands: list[str] = self._order({"do": "commands"})["commands"]
        return commands

    def processes(self) -> list[int]:
        """Return what runs on the phone beside the phone itself."""
        return _descendants(self._process.pid) if self._process else []

    # -- the process -----------------------------------------------------------------------

    def _start(self) -> None:
        start_system(self._folder)
        options = {**self._options, "folder": str(self._folder)}
        self._log = self._root / "phone.log"
        with self._log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edgenas.testing.adb.adbd", json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self._options["port"] = self._answer()["port"]

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for child in _descendants(process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        stdin = _open(self._process.stdin if self._process else None)
        stdin.write(json.dumps(order).encode() + b"\n")
        stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = _open(self._process.stdout if self._process else None).readline()
        if not line:
            words = self._log.read_text("utf-8", "replace")
            raise DeviceError(f"the emulated phone ended: {words}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise DeviceError("the emulated phone is switched off")
    return stream


def _install_tools(folder: Path) -> None:
    """Give the phone Android's shell and tools, except where it has its own."""
    toybox = shutil.which("toybox") or ""
    shutil.copy(shutil.which("mksh") or "", folder / "sh")
    shutil.copy(toybox, folder / "toybox")
    listed = subprocess.run([toybox], capture_output=True, check=True, timeout=60)
    for name in listed.stdout.decode().split():
        if not (folder / name).exists():
            (folder / name).symlink_to(_APPLETS)


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        found = [int(one) for one in children.read_text("ascii").split()]
    except OSError:
        return []
    return [*found, *(below for child in found for below in _descendants(child))]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
