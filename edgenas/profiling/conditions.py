"""What a device and its engine are now, as a table has to match it."""

from __future__ import annotations

from edgenas.costs.conditions import Conditions
from edgenas.hardware.device import Device
from edgenas.profiling.tabulate import decisive_settings, engine_settings
from edgenas.runtimes.bench import engine_version


def conditions_of(device: Device, runtime: str, *, precision: str) -> Conditions:
    """Return the conditions under which `runtime` runs on `device` now.

    A device that does not have the engine leaves its version open; a warning says so.

    Raises:
        RegistryError: no such runtime.
        DeviceError: the device does not answer, or its engine does not come up.
    """
    options = engine_settings(device, runtime)
    return Conditions(
        match_key=device.fingerprint.match_key,
        runtime=runtime,
        precision=precision,
        runtime_version=engine_version(device, runtime),
        threads=options["threads"],
        delegate=options.get("delegate"),
        settings=decisive_settings(device, runtime),
    )
