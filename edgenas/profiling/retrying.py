"""Goes on measuring after a process or a connection was lost: the device is taken up again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from edgenas.core.errors import DeviceError, OtherDeviceError, RefusedError
from edgenas.hardware.device import Device

log = logging.getLogger(__name__)

Result = TypeVar("Result")

N_RETRIES = 3
"""How often in a row a measuring process is started anew before the measurement is given up."""
_RETRY_S = (1.0, 5.0, 20.0, 60.0)  # before the first, second, ... new start of a process


def with_retries(
    device: Device, attempt: Callable[[], Result], n_done: Callable[[], int], *, n_retries: int
) -> Result:
    """Return what `attempt` does, once it returns; it goes on where the one before was cut off.

    Args:
        device: is claimed for as long, and renewed before every new attempt.
        attempt: measures what is left in a process of its own.
        n_done: how much is measured; an attempt that got further begins the count of retries anew.
        n_retries: how often in a row to try again.

    Raises:
        OtherDeviceError: another device answers in this one's place; it is not tried again.
        RefusedError: the process lives and refuses; nor is this.
        DeviceError: the last attempt's.
    """
    n_failed = 0
    with device.claim():
        _ = device.fingerprint  # by which the device is known again
        while True:
            n_before = n_done()
            try:
                if n_failed:
                    device.renew()
                return attempt()
            except (OtherDeviceError, RefusedError):
                raise
            except DeviceError as error:
                n_failed = n_failed + 1 if n_done() == n_before else 1
                if n_failed > n_retries:
                    raise
                wait_s = _RETRY_S[min(n_failed, len(_RETRY_S)) - 1]
                log.warning("%s; trying again in %g s (%d)", error, wait_s, n_failed)
                time.sleep(wait_s)
