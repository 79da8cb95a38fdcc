"""Opens benches: a runtime's engine on a device that is claimed for as long; asks its version."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from edgenas.core.errors import DeviceError, MissingExtraError
from edgenas.hardware.device import LOCAL, Device
from edgenas.runtimes.agent_bench import AgentRuntime
from edgenas.runtimes.base import (
    RUNTIMES,
    Bench,
    EngineInfo,
    LoadInfo,
    NodeInfo,
    Runtime,
    Tensor,
    Visit,
    check_precision,
)

__all__ = [
    "Bench",
    "EngineInfo",
    "LoadInfo",
    "NodeInfo",
    "Tensor",
    "Visit",
    "engine_version",
    "open_bench",
]

log = logging.getLogger(__name__)


@contextmanager
def open_bench(
    device: Device,
    runtime_name: str,
    *,
    precision: str = "float32",
    timeout_s: float = 60.0,
    wait_s: float = 0.0,
) -> Iterator[Bench]:
    """Claim the device, start measuring there as the runtime does, and end both on leaving.

    `precision` is that of the models that will be loaded; `timeout_s` is for the measuring process
    to come up; `wait_s` for another holder of the device to go.

    Raises:
        RegistryError: there is no such runtime.
        UsageError: there is no such precision.
        DeviceError: the device does not have the runtime, or another process holds it.
        EdgenasError: as `Runtime.open`.
    """
    check_precision(precision)
    runtime = RUNTIMES.get(runtime_name)()
    reason = runtime.absent_reason(device.description)
    if reason is not None:
        raise DeviceError(f"the device {device.id!r} has no runtime {runtime_name}: {reason}")
    opened = runtime.open(device, timeout_s=timeout_s, precision=precision)
    with device.claim(wait_s=wait_s), opened as bench:
        device.engine_versions[runtime_name] = bench.info.engine_version
        yield bench


def engine_version(device: Device, runtime_name: str, *, timeout_s: float = 60.0) -> str | None:
    """Return which version of its engine a runtime has on a device, as a bench there tells it.

    The engine is started there once for as long as `device` is kept, unless it is this
    interpreter's own; nothing is timed, so the device is not claimed. Where it does not have
    the engine, nothing can be told: a warning says so.

    Raises:
        RegistryError: there is no such runtime.
        DeviceError: the device cannot be reached, or its engine does not come up.
    """
    if runtime_name not in device.engine_versions:
        runtime = RUNTIMES.get(runtime_name)()
        own = device.connector.address == LOCAL and device.python == device.connector.python
        found = runtime.version() if own else None
        found = found or _version_there(device, runtime, timeout_s)
        device.engine_versions[runtime_name] = found
    return device.engine_versions[runtime_name]


def _version_there(device: Device, runtime: Runtime, timeout_s: float) -> str | None:
    reason = runtime.absent_reason(device.description)
    if reason is None and isinstance(runtime, AgentRuntime) and device.fingerprint.python is None:
        reason = f"no {device.python} is there"
    if reason is None:
        try:
            with runtime.open(device, timeout_s=timeout_s) as bench:
                return bench.info.engine_version
        except MissingExtraError as error:
            reason = str(error)
    log.warning(
        "the version of %s on the device %r is not checked, a table of any serves: %s",
        runtime.name,
        device.id,
        reason,
    )
    return None
