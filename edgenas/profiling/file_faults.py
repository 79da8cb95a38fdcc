"""Whose fault it is when a model file does not run on a device: the file's, or the device's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError, RefusedError
from edgenas.hardware.device import Device
from edgenas.profiling.retrying import N_RETRIES, with_retries

log = logging.getLogger(__name__)

Blaming = Callable[[], AbstractContextManager[None]]
"""What an attempt does inside of it depends on the file."""

_N_LOST = 3
"""So many processes in a row a file must have taken with it to be at fault."""
_PAUSE_S = 1.0
"""Before it is tried again: what disturbs may pass."""


def fault_of_file(device: Device, attempt: Callable[[Blaming], None]) -> str | None:
    """Return why a file does not run on a device, None if it does.

    A refusal is the file's fault. A process that is lost, or does not answer, may have other
    reasons: the file is tried again, in a new process, once the device is seen to answer. What
    fails outside of what depends on the file is the device's: it is taken up again, and the count
    of processes begins anew.

    Args:
        device: on which it is to run.
        attempt: starts a measuring process and, inside of what it is given, runs the file there.

    Raises:
        DeviceError: the device cannot be reached or used: nothing is known of the file.
    """
    case = _Case(device, attempt)
    with device.claim():
        _ = device.fingerprint  # by which the device is known again
        with_retries(device, case.until_known, lambda: 0, n_retries=N_RETRIES)
    return str(case.lost[-1]) if case.lost else None


class _Case:
    """A file and what it was lost with, in attempts in a row."""

    def __init__(self, device: Device, attempt: Callable[[Blaming], None]) -> None:
        self.device, self.attempt = device, attempt
        self.lost: list[DeviceError] = []

    def until_known(self) -> None:
        """Run the file until it has run, is refused, or was lost too often."""
        self.lost.clear()
        while (error := self._loss()) is not None:
            if isinstance(error, RefusedError):
                return
            self.device.renew()
            if len(self.lost) == _N_LOST:
                return
            log.warning("%s; trying the file again (%d)", error, len(self.lost))
            time.sleep(_PAUSE_S)
        self.lost.clear()

    def _loss(self) -> DeviceError | None:
        n_before = len(self.lost)
        try:
            self.attempt(self._blaming)
        except DeviceError:
            if len(self.lost) == n_before:
                raise
            return self.lost[-1]
        return None

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        try:
            yield
        except (AgentError, DeviceTimeoutError) as error:
            self.lost.append(error)
            raise
