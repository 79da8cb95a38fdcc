"""What works on this machine, what is missing, and how noisy a device's timings are."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

from edgenas import __version__
from edgenas.core.errors import (
    DeviceError,
    ExportError,
    MissingExtraError,
    RegistryError,
    SchemaError,
)
from edgenas.core.extras import EXTRAS, unavailable_reason
from edgenas.core.paths import user_folder
from edgenas.costs.store import all_tables
from edgenas.exporters import EXPORTERS
from edgenas.exporters import get as get_exporter
from edgenas.hardware.device import LOCAL, Device, load_device
from edgenas.hardware.noise import Observation, Severity
from edgenas.oneshot.data.fashion_mnist import DEFAULT_FOLDER
from edgenas.runtimes import RUNTIMES
from edgenas.study.device_check import check_device


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found.

    `works` says whether a run can go from data to files with this device; training needs torch
    here. `exit_code` is about the device alone: 0 if it can be measured.
    """

    version: str
    device: str
    observations: tuple[Observation, ...]
    works: bool
    exit_code: int


def examine(device: str = "local", *, noise: bool = True) -> Diagnosis:
    """Look at packages, engines, exporters, data and a device.

    Args:
        device: a device's id or the path of its description.
        noise: whether to time a network there for some seconds.

    Raises:
        RegistryError: no such device.
        SchemaError: its description is wrong or is to be completed.
    """
    packages = _packages()
    observations = [_python(), *packages]
    torch = all(found.severity != "warning" for found in packages if found.name == "package torch")
    with load_device(device) as on:
        here = on.connector.address == LOCAL
        runtimes = _runtimes(on) if here else []
        observations += [*runtimes, *_exporters(), _data(), _tables()]
        some = not here or any(observation.severity == "ok" for observation in runtimes)
        check = check_device(on, engines=some and (noise or not here), noise=noise)
    observations += check.observations
    engines = bool(check.engines) or (here and some and not noise)
    exit_code = 0 if engines else MissingExtraError.exit_code
    if not check.usable:
        exit_code = DeviceError.exit_code
    works = torch and exit_code == 0
    return Diagnosis(f"edgenas {__version__}", check.name, tuple(observations), works, exit_code)


def restore(device: str) -> tuple[str, ...]:
    """Put a device back as it was before a run that could not do so; return what was undone.

    Raises:
        RegistryError: no such device.
        DeviceError: another process holds it, or it cannot be put back.
    """
    with load_device(device) as on:
        return tuple(on.restore())


def _python() -> Observation:
    text = f"{platform.python_version()} ({sys.executable})"
    return Observation("Python", "ok", text)


def _packages() -> list[Observation]:
    """Return an observation for every optional package; torch is the one that nothing replaces."""
    found = []
    for module, extra in EXTRAS.items():
        missing = unavailable_reason(module)
        if missing is None:
            found.append(Observation(f"package {module}", "ok", f"there (extra {extra})"))
        else:
            severity: Severity = "warning" if extra == "torch" else "note"
            remedy = f"pip install 'edgenas[{extra}]'"
            found.append(Observation(f"package {module}", severity, "missing", remedy))
    return found


def _runtimes(device: Device) -> list[Observation]:
    """Return an observation for every runtime; one that the description names is expected."""
    found = []
    named = device.description.runtimes.model_fields_set
    for name in RUNTIMES:
        try:
            runtime = RUNTIMES.get(name)()
        except RegistryError as error:
            found.append(Observation(f"runtime {name}", "warning", "cannot be loaded", str(error)))
            continue
        if runtime.absent_reason(device.description) is not None:
            continue
        if runtime.unavailable_reason() is None:
            found.append(Observation(f"runtime {name}", "ok", f"version {runtime.version()}"))
        else:
            remedy = f"pip install '{runtime.requirement}'"
            severity: Severity = "warning" if name in named else "note"
            found.append(Observation(f"runtime {name}", severity, "not installed", remedy))
    return found


def _exporters() -> list[Observation]:
    found = []
    for name in EXPORTERS:
        try:
            exporter = get_exporter(name)
        except (RegistryError, ExportError, SchemaError) as error:
            found.append(
                Observation(f"export to {name}", "warning", "cannot be loaded", str(error))
            )
            continue
        reason = exporter.unavailable_reason()
        if reason is not None:
            found.append(Observation(f"export to {name}", "note", "not possible", reason))
            continue
        cannot_run = exporter.unavailable_to_run_reason()
        if cannot_run is None:
            found.append(Observation(f"export to {name}", "ok", "writes and runs"))
        else:
            text = "writes; does not run here, so nothing checks the file's outputs"
            found.append(Observation(f"export to {name}", "note", text, cannot_run))
    return found


def _data() -> Observation:
    if DEFAULT_FOLDER.is_dir():
        return Observation("data fashion-mnist", "ok", str(DEFAULT_FOLDER))
    return Observation(
        "data fashion-mnist",
        "note",
        "not there",
        "apt-get install dataset-fashion-mnist, or name a folder: fashion-mnist:FOLDER",
    )


def _tables() -> Observation:
    n_tables = sum(1 for _ in all_tables())
    return Observation("latency tables", "ok", f"{n_tables} installed; yours go to {user_folder()}")
