"""Whose fault it is when a model file does not run on a device: the file's, or the device's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError, RefusedError
from edgenas.hardware.device import Device
from edgenas.profiling.retrying import N_RETRIES, Result, with_retries

log = logging.getLogger(__name__)

Blaming = Callable[[], AbstractContextManager[None]]
"""What an attempt does inside of it depends on the file."""

_N_LOST = 3
"""So many processes in a row a file must have taken with it to be at fault."""
_PAUSE_S = 1.0
"""Before it is tried again: what disturbs may pass."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A file is at fault: what it was refused or lost with."""

    reason: str


def run_or_blame(device: Device, attempt: Callable[[Blaming], Result]) -> Result | Fault:
    """Return what `attempt` makes of a file on a device, or why the file does not run there.

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
    lost: list[DeviceError] = []

    @contextmanager
    def blaming() -> Iterator[None]:
        try:
            yield
        except (AgentError, DeviceTimeoutError) as error:
            lost.append(error)
            raise

    def until_known() -> Result | Fault:
        lost.clear()
        while len(lost) < _N_LOST:
            if lost:
                log.warning("%s; trying the file again (%d)", lost[-1], len(lost))
                time.sleep(_PAUSE_S)
            try:
                return attempt(blaming)
            except DeviceError as error:
                if error not in lost:
                    raise
                if isinstance(error, RefusedError):
                    break
                device.renew()
        return Fault(str(lost[-1]))

    return with_retries(device, until_known, lambda: 0, n_retries=N_RETRIES)
