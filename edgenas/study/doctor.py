"""What works on this machine, what is missing, and how noisy a device's timings are."""

from __future__ import annotations

import platform
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgenas import __version__, spaces
from edgenas.core.errors import DeviceError, EdgenasError, MissingExtraError
from edgenas.core.extras import EXTRAS, unavailable_reason
from edgenas.core.paths import user_folder
from edgenas.costs.store import all_tables
from edgenas.exporters import EXPORTERS
from edgenas.exporters import get as get_exporter
from edgenas.hardware.device import Device, load_device
from edgenas.hardware.noise import Finding, Severity, noise_floor
from edgenas.oneshot.data.fashion_mnist import DEFAULT_FOLDER
from edgenas.profiling.workload import model_bytes
from edgenas.runtimes import RUNTIMES, open_bench

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found; `works` says whether a run can go from data to files here."""

    version: str
    device: str
    findings: tuple[Finding, ...]
    works: bool
    exit_code: int


def examine(device: str = "local", *, noise: bool = True) -> Diagnosis:
    """Look at packages, engines, exporters, data and a device.

    Args:
        device: a device's id or the path of its description.
        noise: whether to time a network there for some seconds.

    Raises:
        RegistryError: no such device.
    """
    on = load_device(device)
    packages = _packages()
    runtimes = _runtimes()
    findings = [_python(), *packages, *runtimes, *_exporters(), _data(), _tables()]
    works = all(f.severity != "warning" for f in packages if f.name == "package torch")
    works = works and any(finding.severity == "ok" for finding in runtimes)
    exit_code = 0 if works else MissingExtraError.exit_code
    try:
        slug = f"{on.fingerprint.cpu_name} ({on.fingerprint.slug})"
        if noise and any(finding.severity == "ok" for finding in runtimes):
            findings += _noise(on)
    except DeviceError as error:
        slug = device
        findings.append(Finding(f"device {device}", "warning", str(error), "see the message"))
        works, exit_code = False, DeviceError.exit_code
    return Diagnosis(f"edgenas {__version__}", slug, tuple(findings), works, exit_code)


def _python() -> Finding:
    text = f"{platform.python_version()} ({sys.executable})"
    return Finding("Python", "ok", text)


def _packages() -> list[Finding]:
    """Return a finding for every optional package; torch is the one that nothing replaces."""
    found = []
    for module, extra in EXTRAS.items():
        missing = unavailable_reason(module)
        if missing is None:
            found.append(Finding(f"package {module}", "ok", f"there (extra {extra})"))
        else:
            severity: Severity = "warning" if extra == "torch" else "note"
            remedy = f"pip install 'edgenas[{extra}]'"
            found.append(Finding(f"package {module}", severity, "missing", remedy))
    return found


def _runtimes() -> list[Finding]:
    found = []
    for name in RUNTIMES:
        runtime = RUNTIMES.get(name)()
        if runtime.unavailable_reason() is None:
            found.append(Finding(f"runtime {name}", "ok", f"version {runtime.version()}"))
        else:
            remedy = f"pip install 'edgenas[{runtime.extra}]'"
            found.append(Finding(f"runtime {name}", "warning", "not installed", remedy))
    return found


def _exporters() -> list[Finding]:
    found = []
    for name in EXPORTERS:
        exporter = get_exporter(name)
        reason = exporter.unavailable_reason()
        if reason is not None:
            found.append(Finding(f"export to {name}", "note", "not possible", reason))
            continue
        cannot_run = exporter.unavailable_to_run_reason()
        text = "writes and runs" if cannot_run is None else f"writes; {cannot_run}"
        found.append(Finding(f"export to {name}", "ok" if cannot_run is None else "note", text))
    return found


def _data() -> Finding:
    if DEFAULT_FOLDER.is_dir():
        return Finding("data fashion-mnist", "ok", str(DEFAULT_FOLDER))
    return Finding(
        "data fashion-mnist",
        "note",
        "not there",
        "apt-get install dataset-fashion-mnist, or name a folder: fashion-mnist:FOLDER",
    )


def _tables() -> Finding:
    n_tables = sum(1 for _ in all_tables())
    return Finding("latency tables", "ok", f"{n_tables} installed; yours go to {user_folder()}")


def _noise(device: Device) -> list[Finding]:
    """Time a middling network on the first runtime that works."""
    name = next(n for n in RUNTIMES if RUNTIMES.get(n)().unavailable_reason() is None)
    space = spaces.get("mbv3_tiny")
    content = model_bytes(space.network(space.largest()), RUNTIMES.get(name).format)
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
        path = Path(folder) / f"model.{RUNTIMES.get(name).format}"
        path.write_bytes(content)
        with open_bench(device, name, timeout_s=_TIMEOUT_S) as bench:
            bench.load("model", path)
            try:
                floor = noise_floor(
                    bench,
                    "model",
                    connector=device.connector,
                    timer_resolution_ns=bench.info.timer_resolution_ns,
                )
            except EdgenasError as error:
                raise DeviceError(f"the timing of a network failed: {error}") from error
    text = f"{floor.latency_ms:.4f} ms for the largest network of {space.name} on {name}"
    return [Finding("timing", "ok", text), *floor.findings]
