"""Devices: found by id, reached through a connector, held by one process at a time."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from edgenas.core.errors import DeviceError, RegistryError, choices
from edgenas.core.paths import search_path, user_folder
from edgenas.core.schema import load_yaml
from edgenas.hardware.connectors import local as _local  # noqa: F401 - registers itself
from edgenas.hardware.connectors.base import CONNECTORS, Connector
from edgenas.hardware.description import DeviceDescription
from edgenas.hardware.fingerprint import Fingerprint, take_fingerprint

_POLL_S = 0.2


class Device:
    """A described device and the way to it; a context manager that closes the way."""

    def __init__(self, description: DeviceDescription, connector: Connector) -> None:
        self.description = description
        self.connector = connector
        self._n_claims = 0

    @property
    def id(self) -> str:
        """The name under which the device is described."""
        return self.description.id

    @property
    def python(self) -> str:
        """The interpreter on the device."""
        return self.description.python or self.connector.python

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What hardware this is, as the device itself tells.

        Raises:
            DeviceError: the device cannot be asked, or is not the one described.
        """
        found = take_fingerprint(self.connector, self.python)
        wanted = self.description.match_key
        if wanted is not None and wanted != found.match_key:
            raise DeviceError(
                f"the device {self.id!r} is described with match_key {wanted} and shows "
                f"{found.match_key} ({found.slug}); it is other hardware: correct its description"
            )
        return found

    @contextmanager
    def claim(self, *, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the device alone, in this process and among all of this user's.

        The holder may claim again through the same object. The operating system lets go when
        the process ends, however it ends.

        Raises:
            DeviceError: another one holds it and did not let go within `wait_s`.
        """
        if self._n_claims:
            self._n_claims += 1
            try:
                yield
            finally:
                self._n_claims -= 1
            return
        lock = self._lock(wait_s)
        self._n_claims = 1
        try:
            yield
        finally:
            self._n_claims = 0
            os.close(lock)

    def close(self) -> None:
        """Give back what the connector holds on the device."""
        self.connector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lock(self, wait_s: float) -> int:
        """Return the descriptor that holds the lock; the file stays, with the holder's pid."""
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", self.connector.address)
        path = user_folder() / "locks" / f"{name}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DeviceError(
                f"cannot open the lock {path}: {error.strerror}; "
                "set EDGENAS_HOME to a folder that can be written"
            ) from error
        end = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() < end:
                    time.sleep(_POLL_S)
                    continue
                holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(lock)
                raise DeviceError(
                    f"the device {self.id!r} is held by process {holder}; two at once would "
                    "disturb each other's timings; wait until it has ended"
                ) from error
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            return lock


def list_devices() -> dict[str, Path]:
    """Return the described devices by id; a user's own description hides a shipped one."""
    found: dict[str, Path] = {}
    for folder in search_path("devices"):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def load_device(id_or_path: str | Path) -> Device:
    """Return the device with this id, or the one described in this YAML file.

    Raises:
        RegistryError: there is no such device or its connector is unknown.
        SchemaError: its description is wrong.
    """
    text = str(id_or_path)
    if isinstance(id_or_path, Path) or text.endswith((".yaml", ".yml")) or os.sep in text:
        path = Path(text)
    else:
        known = list_devices()
        if text not in known:
            raise RegistryError(
                f"unknown device {text!r}; {choices(text, known)}; "
                f"describe your own in {user_folder() / 'devices'}/{text}.yaml"
            )
        path = known[text]
    description = load_yaml(path, DeviceDescription)
    return Device(description, CONNECTORS.get(description.connector.kind)())
