"""Devices to profile on this machine: itself, itself behind an ssh server, and an emulated phone.

Each has settings that a device file prepares and puts back, and tells what a host left there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgenas.core.schema import dump_yaml
from edgenas.testing.adb import EmulatedPhone
from edgenas.testing.adb.facts import SETTINGS
from edgenas.testing.sshd import Sshd
from edgenas.testing.tcp_proxy import TcpProxy

BEFORE, MEASURING = "schedutil\n", "performance\n"
"""What the file that stands for a governor holds, and what it holds while a host measures."""
PROFILE = """
import json, sys
from pathlib import Path
from edgenas.hardware.device import load_device
from edgenas.profiling.profile import profile
from edgenas.profiling.retrying import N_RETRIES
from edgenas.profiling.workload import ProfileSettings
from edgenas.testing.space_contract import width_space
_, path, runtime, size, settings, root = sys.argv
with load_device(Path(path)) as device:
    profile(device, runtime, width_space(int(size)), ProfileSettings(**json.loads(settings)),
            Path(root), n_retries=N_RETRIES)
"""
"""A program that profiles a small space: device file, runtime, size, settings as JSON, root."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A device, what its file says, and how to look at it from behind.

    `folder` is its own; `size` is that of the small space's images for which its clock is fine
    enough.
    """

    kind: str
    folder: Path
    document: dict[str, Any]
    runtime: str
    size: int = 8
    sshd: Sshd | None = None
    proxy: TcpProxy | None = None
    phone: EmulatedPhone | None = None

    def device_file(self, **changes: Any) -> Path:
        """Write the device file, with some keys changed, and return its path."""
        path = self.folder / f"{self.kind}.yaml"
        path.write_text(dump_yaml({**self.document, **changes}), "utf-8")
        return path

    @property
    def governor(self) -> Path:
        """The file that is prepared on this machine; a phone has settings of its own."""
        return self.folder / "policy0" / "governor"

    def processes(self) -> list[int]:
        """Return what a host has started there and still runs."""
        if self.phone is not None:
            return self.phone.processes()
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            if "edgenas-agent-" in words and str(self.folder) in words:
                found.append(process.pid)
        return found

    def unrestored(self) -> list[str]:
        """Return the prepared settings that are not as they were."""
        if self.phone is None:
            return [] if self.governor.read_text("utf-8") == BEFORE else ["governor"]
        folder = self.phone.path("/data/settings")
        found = {path.name: path.read_text("utf-8").strip() for path in folder.iterdir()}
        wrong = [name for name in {**found, **SETTINGS} if found.get(name) != SETTINGS.get(name)]
        awake = self.phone.path("/data/wakefulness").read_text("utf-8") != "Asleep\n"
        return [*wrong, *(["wakefulness"] if awake else [])]

    def locks(self) -> list[str]:
        """Return the locks that are still held: on the device, and its unrestored steps here."""
        on_device = self.folder / "lock/edgenas.lock/holder"
        if self.phone is not None:
            on_device = self.phone.path("/data/local/tmp/edgenas.lock/holder")
        return [str(path) for path in (on_device, *self.home.glob("locks/*.restore.jsonl"))
                if path.exists()]  # fmt: skip

    @property
    def home(self) -> Path:
        """A folder for EDGENAS_HOME."""
        return self.folder / "home"


def check_clean(peer: Peer) -> None:
    """Nothing that was started, held or changed on the device is left."""
    end = time.monotonic() + 20
    while peer.processes() and time.monotonic() < end:
        time.sleep(0.1)
    assert (peer.processes(), peer.unrestored(), peer.locks()) == ([], [], [])


def local_peer(folder: Path) -> Peer:
    """Return this machine; set EDGENAS_HOME to the peer's `home` before it is profiled."""
    return Peer("local", folder, _document(folder, "this", {"kind": "local"}), "onnxruntime")


@contextmanager
def ssh_peer(folder: Path, sshd: Sshd, **settings: Any) -> Iterator[Peer]:
    """Yield this machine behind a running ssh server and a network that can break."""
    with TcpProxy(sshd.port) as proxy:
        changes = {"port": proxy.port, "workdir": str(folder / "work"), **settings}
        connector = sshd.settings(**changes).model_dump(exclude_defaults=True) | {"kind": "ssh"}
        document = _document(folder, "board", connector)
        document |= {"python": sys.executable, "lock": {"folder": str(folder / "lock")}}
        yield Peer("ssh", folder, document, "onnxruntime", sshd=sshd, proxy=proxy)


@contextmanager
def adb_peer(folder: Path, **options: Any) -> Iterator[Peer]:
    """Yield an emulated phone; its images are larger, as its tool counts whole microseconds."""
    with EmulatedPhone(**options) as phone:
        program = {"binary": str(phone.benchmark_model()), "version": "2.16", "affinity": [0]}
        document = {
            "schema_version": 1,
            "id": "phone",
            "description": "emulated",
            "extends": "pixel-8",
            "connector": phone.connector,
            "runtimes": {"benchmark_model": program},
        }
        folder.mkdir(parents=True, exist_ok=True)
        yield Peer("adb", folder, document, "benchmark_model", size=32, phone=phone)


def environment(peer: Peer) -> dict[str, str]:
    """Return the environment of a host that is a process of its own."""
    path = os.pathsep.join(part for part in sys.path if part)
    own = {"EDGENAS_HOME": str(peer.home), "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return {**os.environ, **own}


def _document(folder: Path, name: str, connector: dict[str, Any]) -> dict[str, Any]:
    governor = folder / "policy0" / "governor"
    for path in (governor.parent, folder / "lock", folder / "home"):
        path.mkdir(parents=True, exist_ok=True)
    governor.write_text(BEFORE, "utf-8")
    files = str(folder / "policy*" / "governor")
    step = {"do": "write", "files": files, "value": MEASURING.strip()}
    return {
        "schema_version": 1,
        "id": name,
        "description": "a peer",
        "connector": connector,
        "prepare": {"governor": step},
    }
