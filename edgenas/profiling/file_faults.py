"""Whose fault it is when a model file does not run on a device: the file's, or the device's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from edgenas.core.errors import AgentError, DeviceError, DeviceTimeoutError
from edgenas.hardware.device import Device
from edgenas.profiling.retrying import with_retries

Blaming = Callable[[], AbstractContextManager[None]]
"""What an attempt does inside of it depends on the file."""

_N_RETRIES = 2
"""How often a file is tried again that has taken its measuring process with it."""


def fault_of_file(device: Device, attempt: Callable[[Blaming], None]) -> str | None:
    """Return why a file does not run on a device, None if it does.

    A refusal is the file's fault. A process that is lost or does not answer may have other reasons:
    the file is tried again, in a new process, once the device is seen to answer.

    Args:
        device: on which it is to run.
        attempt: starts a measuring process and, inside of what it is given, runs the file there.

    Raises:
        DeviceError: the device cannot be reached or used: nothing is known of the file.
    """
    found: list[DeviceError] = []

    @contextmanager
    def blaming() -> Iterator[None]:
        try:
            yield
        except (AgentError, DeviceTimeoutError) as error:
            found.append(error)
            raise

    with device.claim():
        _ = device.fingerprint  # by which the device is known again
        try:
            with_retries(device, lambda: attempt(blaming), lambda: 0, n_retries=_N_RETRIES)
        except DeviceError as error:
            if not any(error is one for one in found):
                raise
            return str(error)
    return None
