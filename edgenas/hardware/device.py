"""Devices: found by id, reached through a connector, held by one process at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from edgenas.core.errors import DeviceError, OtherDeviceError
from edgenas.hardware.connectors import adb as _adb  # noqa: F401 - registers itself
from edgenas.hardware.connectors import local as _local  # noqa: F401 - registers itself
from edgenas.hardware.connectors import ssh as _ssh  # noqa: F401 - registers itself
from edgenas.hardware.connectors.base import CONNECTORS, Connector
from edgenas.hardware.cores import Cores, read_cores
from edgenas.hardware.description import DeviceDescription, EngineSettings
from edgenas.hardware.device_file import device_path, load_description
from edgenas.hardware.fingerprint import Fingerprint, take_fingerprint
from edgenas.hardware.lock import DeviceLock, held_on_host
from edgenas.hardware.preparation import Preparation, Prepared

LOCAL = "local"
"""The address of this host, which its own lock guards."""


class Device:
    """A described device and the way to it; a context manager that closes the way."""

    def __init__(self, description: DeviceDescription, connector: Connector) -> None:
        self.description = description
        self.connector = connector
        self._n_claims = 0
        self._preparation: Preparation | None = None
        self._device_lock: DeviceLock | None = None
        self._boot: str | None = None
        self.engine_versions: dict[str, str | None] = {}
        """By runtime, where it was asked for; see `edgenas.runtimes.bench.engine_version`."""

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

    @cached_property
    def resolved(self) -> DeviceDescription:
        """The description with the CPUs that ``big``, ``little`` and ``all`` are on this device.

        Raises:
            DeviceError: the device cannot be asked, or does not tell which cores are which.
        """
        runtimes = self.description.runtimes
        found: dict[str, EngineSettings] = {}
        for name in type(runtimes).model_fields:
            settings = getattr(runtimes, name)
            if isinstance(settings, EngineSettings) and isinstance(settings.affinity, str):
                if settings.affinity == "auto":
                    continue
                cpus = self.cores.chosen(settings.affinity, settings.threads)
                found[name] = settings.model_copy(update={"affinity": cpus})
        if not found:
            return self.description
        return self.description.model_copy(update={"runtimes": runtimes.model_copy(update=found)})

    @cached_property
    def cores(self) -> Cores:
        """The CPUs that processes on the device may use.

        Raises:
            DeviceError: the device cannot be asked or does not tell.
        """
        return read_cores(self.connector)

    @property
    def prepared(self) -> tuple[Prepared, ...]:
        """What became of the preparing steps of the present or last claim, in their order."""
        return tuple(self._preparation.done) if self._preparation else ()

    @property
    def lost(self) -> str | None:
        """What became of the lock on the device during the present or last claim, or None.

        It was ``taken over by ...``, or removed; what was timed since may have been disturbed.
        """
        return self._device_lock.lost if self._device_lock else None

    @contextmanager
    def claim(self, *, wait_s: float = 0.0, prepare: bool = True) -> Iterator[None]:
        """Hold the device alone and ready for measuring.

        Alone: in this process, among all of this user's on this host and, for a device elsewhere,
        among all hosts. Ready: its preparing steps are taken, and taken back on leaving; what
        an earlier holder left changed is put back first. Without `prepare` nothing on the device
        is changed. The holder may claim again through the same object. Both locks outlive
        no holder: the operating system lets go of the one, the other becomes stale.

        Raises:
            DeviceError: another one holds it and did not let go within `wait_s`; a preparing
                step failed; or the device could not be put back as it was.
        """
        if self._n_claims:
            self._n_claims += 1
            try:
                yield
            finally:
                self._n_claims -= 1
            return
        end = time.monotonic() + wait_s
        settings = self.description.lock
        with ExitStack() as stack:
            stack.enter_context(held_on_host(self.connector, self.id, wait_s=wait_s))
            if self.connector.address != LOCAL or settings.folder is not None:
                self._device_lock = DeviceLock(self.connector, settings, self.id)
                left_s = max(0.0, end - time.monotonic())
                stack.enter_context(self._device_lock.held(wait_s=left_s))
            if prepare:
                self._preparation = self._new_preparation()
                stack.enter_context(self._preparation.prepared())
            self._n_claims, self._boot = 1, self.connector.boot
            try:
                yield
            finally:
                self._n_claims = 0

    def check(self) -> None:
        """See, without asking the device, that it is held and as it was when it was claimed.

        Raises:
            DeviceError: it was restarted since, or another host has taken it over; `renew` it.
        """
        if self.lost is not None:
            raise DeviceError(
                f"the lock on the device {self.id!r} was {self.lost} while it was measured; what "
                "was timed since may have been disturbed"
            )
        if self.connector.boot != self._boot:
            raise DeviceError(
                f"the device {self.id!r} was restarted while it was measured; what it was prepared "
                "with may be gone"
            )

    def renew(self) -> None:
        """Take a claimed device up again after the way to it was lost: see that it is the same one.

        It is held again and, as it may have been restarted, prepared anew.

        Raises:
            OtherDeviceError: it is other hardware than before.
            DeviceError: it cannot be reached, is held by another one or cannot be prepared.
        """
        known, found = self.fingerprint, take_fingerprint(self.connector, self.python)
        if found.match_key != known.match_key:
            raise OtherDeviceError(
                f"the device {self.id!r} was {known.slug}, and {found.slug} answers in its place "
                f"({self.connector.address}); nothing of it is recorded: connect the first one "
                "again and run the same command, or give the other one a description of its own"
            )
        if self._device_lock is not None:
            self._device_lock.renew()
        if self._preparation is not None:
            self._preparation.renew()
        self._boot = self.connector.boot
        self.engine_versions.clear()

    def _new_preparation(self) -> Preparation:
        def match_key() -> str:
            return take_fingerprint(self.connector, self.python).match_key

        return Preparation(self.connector, self.description, hardware=match_key)

    def restore(self) -> list[str]:
        """Put back what an earlier holder left changed; return the names of the steps undone.

        Raises:
            DeviceError: another one holds the device, or it cannot be put back.
        """
        with self.claim(prepare=False):
            return self._new_preparation().restore()

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


def load_device(id_or_path: str | Path) -> Device:
    """Return the device with this id, or the one described in this YAML file.

    Raises:
        RegistryError: there is no such device or its connector is unknown.
        SchemaError: its description is wrong.
    """
    description = load_description(device_path(id_or_path))
    return Device(description, CONNECTORS.get(description.connector.kind)(description.connector))
