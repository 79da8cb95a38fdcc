"""Observations about one device: can it be reached, what is on it, how well can it be measured."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgenas import spaces
from edgenas.core.artifact import FORMATS
from edgenas.core.errors import DeviceError, EdgenasError, MissingExtraError, RefusedError
from edgenas.hardware.cores import cpus_text
from edgenas.hardware.device import LOCAL, Device
from edgenas.hardware.lock import DeviceLock, host_holder
from edgenas.hardware.noise import (
    Observation,
    Severity,
    noise_floor,
    read_state,
    system_observations,
)
from edgenas.hardware.power import Meter, find_meter
from edgenas.hardware.power.settings import ModelledSettings
from edgenas.hardware.preparation import Preparation
from edgenas.hardware.throttling import ThermalState, read_thermal, throttled
from edgenas.profiling.workload import model_bytes
from edgenas.runtimes import RUNTIMES, open_bench
from edgenas.runtimes.agent_bench import AgentBench, AgentRuntime
from edgenas.runtimes.base import Bench, LoadInfo, runtimes_on
from edgenas.study import meter_check

_TIMEOUT_S = 60.0
_LITTLE_DISK_KIB = 200 << 10
_SLOW_ANSWER_MS = 500.0
_SPACE = "mbv3_tiny"
"""Its largest network is the one that engines are tried and timed with."""
_OTHERS = "other engines can be measured all the same"
_SEE = "the message names the way out; for what it does not, see docs/devices.md"


@dataclass(slots=True)
class DeviceCheck:
    """What was found on a device; `engines` are the runtimes that ran a network there."""

    name: str
    observations: list[Observation] = field(default_factory=list)
    engines: list[str] = field(default_factory=list)
    reached: bool = False
    usable: bool = True
    """Whether it can be measured on now: reached, not held, and put into order."""
    unread: Meter | None = None
    """A meter that was found and that only the measuring process can read."""

    def add(self, name: str, severity: Severity, measured: str, remedy: str = "") -> None:
        """Add an observation."""
        self.observations.append(Observation(name, severity, measured, remedy))


def check_device(device: Device, *, engines: bool = True, noise: bool = True) -> DeviceCheck:
    """Look at a device: nothing is changed on it but what its description prepares.

    Args:
        device: the device.
        engines: whether to start its runtimes and run a network on each.
        noise: whether to time the network for some seconds on the first one that runs.
    """
    check = DeviceCheck(device.id)
    if not _reach(device, check):
        return check
    for look in (_holder, _leftovers, _cores, _clocks, _meter, _disk):
        _guarded(look, device, check)
    if engines and check.usable:
        _measure(device, check, noise=noise)
    elif not engines:
        state = read_state(device.connector)
        check.observations += system_observations(state, state)
    if check.unread is not None:
        check.add(
            meter_check.NAME,
            "note",
            f"{check.unread.name}: found, not read: no measuring process ran that could",
            "have an engine of Python run there (not --no-noise), or name a meter of files",
        )
    return check


def _reach(device: Device, check: DeviceCheck) -> bool:
    connector = device.connector
    try:
        began = time.monotonic()
        connector.run(["true"], _TIMEOUT_S)
        first_ms = (time.monotonic() - began) * 1000
        began = time.monotonic()
        connector.run(["true"], _TIMEOUT_S)
        again_ms = (time.monotonic() - began) * 1000
        found = device.fingerprint
    except DeviceError as error:
        check.add(f"device {device.id}", "warning", str(error), _SEE)
        check.usable = False
        return False
    check.reached = True
    check.name = f"{found.cpu_name} ({found.slug})"
    if connector.address == LOCAL:
        return True
    slow = again_ms > _SLOW_ANSWER_MS
    check.add(
        f"device {device.id}",
        "note" if slow else "ok",
        f"{connector.address} answers; connecting and a command took {first_ms:.0f} ms, "
        f"the next command {again_ms:.0f} ms",
        "a slow network delays the profiling; the timing itself is done on the device"
        if slow
        else "",
    )
    if found.python is None:
        check.add(
            "Python on the device",
            "note",
            f"no {device.python}",
            "benchmark_model needs none; for the other runtimes install Python 3.8 or later with "
            "numpy and the engine there, or name the interpreter under python: in the description",
        )
    else:
        check.add("Python on the device", "ok", f"{found.python} ({device.python})")
    return True


def _guarded(
    look: Callable[[Device, DeviceCheck], None], device: Device, check: DeviceCheck
) -> None:
    """Take what one look cannot find for an observation, and go on with the next."""
    try:
        look(device, check)
    except EdgenasError as error:
        check.add(look.__name__.strip("_").replace("_", " "), "warning", str(error), _SEE)


def _holder(device: Device, check: DeviceCheck) -> None:
    """Look who holds the device."""
    connector, settings = device.connector, device.description.lock
    pid = host_holder(connector)
    text = f"process {pid} on this host" if pid is not None else ""
    if not text and (connector.address != LOCAL or settings.folder is not None):
        holder = DeviceLock(connector, settings, device.id).holder()
        if holder is not None and not holder.gone(settings.stale_s):
            text = holder.text
    if text:
        check.usable = False
        check.add("holder", "warning", f"held by {text}", "wait until it has ended")
    else:
        check.add("holder", "ok", "free")


def _leftovers(device: Device, check: DeviceCheck) -> None:
    """Look whether an earlier holder left something changed."""
    left = Preparation(device.connector, device.description).pending()
    if left and check.usable:  # a present holder's own changes are none
        check.add(
            "state",
            "warning",
            f"changed by a run that could not put it back: {', '.join(left)}",
            f"run: edgenas doctor --device {device.id} --restore",
        )


def _cores(device: Device, check: DeviceCheck) -> None:
    """Say which cores are big and which CPUs the runtimes are bound to."""
    cores = device.cores
    kinds = cores.kinds
    speed = {core.cpu: core.max_khz for core in cores.every}

    def told(kind: tuple[int, ...]) -> str:
        khz = max((speed[cpu] or 0 for cpu in kind), default=0)
        return cpus_text(kind) + (f" at up to {khz // 1000} MHz" if khz else "")

    if len(kinds) > 1:
        text = "; ".join(f"{told(kind)}" for kind in kinds) + " (slowest kind first)"
    else:
        text = f"{told(kinds[0])}, all alike"
    if not cores.speeds_told:
        text = f"{cpus_text(kinds[0])}; their speeds are not told"
    check.add("cores", "ok", text)
    for name in runtimes_on(device.description):
        wanted = RUNTIMES.get(name)().settings(device.description)
        chosen = RUNTIMES.get(name)().settings(device.resolved)
        cpus = chosen.affinity
        where = "the last it may use" if isinstance(cpus, str) else cpus_text(cpus)
        named = f" ({wanted.affinity})" if isinstance(wanted.affinity, str) else ""
        mixed = len(kinds) > 1 and wanted.affinity == "auto"
        check.add(
            f"CPUs of {name}",
            "note" if mixed else "ok",
            f"{chosen.threads} thread(s) on {where}{named}",
            "the cores differ: set affinity: big or little in the description" if mixed else "",
        )


def _clocks(device: Device, check: DeviceCheck) -> None:
    """Say what clocks and temperatures are now, and whether the device is throttled."""
    state, limits = read_thermal(device.connector), device.description.throttling
    for clock in state.clocks:
        known = [clock.current_khz, clock.limit_khz, clock.max_khz]
        shown = " of ".join("?" if khz is None else str(khz // 1000) for khz in known)
        check.add(
            f"clock of CPUs {clock.cpus}", "ok", f"{shown} MHz (now, allowed, possible), "
            f"governor {clock.governor or 'not told'}",
        )  # fmt: skip
    _zones(state, limits.zones, check)
    reasons = throttled(state, limits)
    check.add(
        "throttling",
        "warning" if reasons else "ok",
        "; ".join(reasons) or "none now" + _since_boot(state),
        "let it cool, give it a fan or a better power supply" if reasons else "",
    )


def _zones(state: ThermalState, wanted: tuple[str, ...], check: DeviceCheck) -> None:
    missing = state.missing(wanted)
    shown = [f"{zone} {c:.1f} °C" for zone, c in state.temperatures_c.items()]
    shown += [f"{zone} (off)" for zone in state.zones if zone not in state.temperatures_c]
    if missing:
        check.add(
            "thermal zones",
            "warning",
            f"not there: {', '.join(missing)}; there are: {', '.join(shown) or 'none'}",
            "correct throttling: {zones: ...} in the description",
        )
    elif shown:
        check.add("thermal zones", "ok", ", ".join(shown))
    else:
        check.add(
            "thermal zones",
            "note",
            "none",
            "the run cannot pause by temperature, only by what the system reports",
        )


def _since_boot(state: ThermalState) -> str:
    events = sum(1 for count in state.counters.values() if count)
    return f"; {events} counter(s) show that it was since it was booted" if events else ""


def _meter(device: Device, check: DeviceCheck) -> None:
    """Look for the power meter that the description names, and at what it shows."""
    settings = device.description.power
    if settings is None:
        check.add(
            meter_check.NAME, "note", "none described",
            "energy cannot be measured; name a meter or powers under power: in the description",
        )  # fmt: skip
    elif isinstance(settings, ModelledSettings):
        check.add(
            meter_check.NAME,
            "note",
            "none: energy is modelled from the described powers",
            "where the device has a meter, name it under power: in the description",
        )
    else:
        meter = find_meter(device.connector, settings)
        if meter.source.kind == "files":
            check.observations.append(meter_check.by_shell(device.connector, meter))
        else:
            check.unread = meter


def _disk(device: Device, check: DeviceCheck) -> None:
    """Say how much room there is for models."""
    folder = device.connector.workdir
    done = device.connector.run(["df", "-Pk", folder], _TIMEOUT_S)
    match = re.search(rb"\s(\d+)\s+(\d+)\s+(\d+)\s+\S+%", done.stdout)
    if match is None:
        check.add(
            "disk", "note", f"df tells nothing about {folder}", "see that there is room for models"
        )
        return
    free_kib = int(match[3])
    tight = free_kib < _LITTLE_DISK_KIB
    check.add(
        "disk",
        "warning" if tight else "ok",
        f"{free_kib / 1024:.0f} MiB free for {folder}",
        "make room: models are copied there" if tight else "",
    )


def _measure(device: Device, check: DeviceCheck, *, noise: bool) -> None:
    """Prepare the device and run a network on every engine that it has."""
    timed = not noise
    try:
        with device.claim():
            _told_preparation(device, check)
            for name in runtimes_on(device.description):
                if not _out_of_the_question(device, name):
                    timed = _engine(device, name, check, timed=timed) or timed
            if not timed:
                state = read_state(device.connector)
                check.observations += system_observations(state, state)
    except DeviceError as error:
        check.usable = False
        check.add(f"device {device.id}", "warning", str(error), _SEE)


def _out_of_the_question(device: Device, name: str) -> bool:
    """Whether a runtime that nobody asked for needs Python, which is not there."""
    asked = name in device.description.runtimes.model_fields_set
    needs_python = issubclass(RUNTIMES.get(name), AgentRuntime)
    return not asked and needs_python and device.fingerprint.python is None


def _told_preparation(device: Device, check: DeviceCheck) -> None:
    for step in device.prepared:
        if step.state == "failed":
            described = device.description.prepare[step.step]
            remedy = described.remedy if described is not None else ""
            check.add(
                f"prepare {step.step}",
                "note",
                f"not possible: {step.error}",
                remedy or f"where it is not needed, prepare: {{{step.step}: null}} leaves it out",
            )
        else:
            before = f", was {step.before}" if step.before else ""
            word = "taken" if step.state == "done" else "as it should be already"
            check.add(f"prepare {step.step}", "ok", f"{word}{before}")


def _engine(device: Device, name: str, check: DeviceCheck, *, timed: bool) -> bool:
    """Run a network on one engine; return whether it was timed."""
    asked = name in device.description.runtimes.model_fields_set
    bad: Severity = "warning" if asked else "note"
    try:
        with (
            _model(RUNTIMES.get(name).format) as path,
            open_bench(device, name, timeout_s=_TIMEOUT_S) as bench,
        ):
            loaded, info = bench.load("model", path), bench.info
            check.add(
                f"engine {name}",
                "ok",
                f"{info.engine} {info.engine_version}, {info.threads} thread(s) on CPUs "
                f"{cpus_text(info.affinity) or 'of its choice'}, "
                f"timer resolution {info.timer_resolution_ns} ns",
            )
            _coverage(name, loaded, check)
            if isinstance(bench, AgentBench):
                _read_meter(bench, check)
            if not timed:
                _noise(device, name, bench, check)
    except MissingExtraError as error:
        check.add(f"engine {name}", bad, str(error), f"install it there; {_OTHERS}")
        return False
    except EdgenasError as error:
        check.add(f"engine {name}", bad, f"failed: {error}", f"mend it there; {_OTHERS}")
        return False
    check.engines.append(name)
    return True


def _read_meter(bench: AgentBench, check: DeviceCheck) -> None:
    """Read the meter that was found, if only the measuring process can."""
    meter, check.unread = check.unread, None
    if meter is not None:
        try:
            check.observations.append(meter_check.by_agent(bench, meter))
        except RefusedError as error:  # the process lives on: it is the meter that fails
            check.add(meter_check.NAME, "warning", str(error), _SEE)


def _coverage(name: str, loaded: LoadInfo, check: DeviceCheck) -> None:
    outside = sorted(set(loaded.outside))
    if outside or not loaded.delegated:
        check.add(
            f"delegate of {name}",
            "warning",
            f"runs outside it: {', '.join(outside) or 'everything'} (largest network of {_SPACE})",
            "another delegate, engine version or space; such operators are slower",
        )
    else:
        check.add(f"delegate of {name}", "ok", f"takes the largest network of {_SPACE} whole")


def _noise(device: Device, name: str, bench: Bench, check: DeviceCheck) -> None:
    floor = noise_floor(
        bench,
        "model",
        connector=device.connector,
        timer_resolution_ns=bench.info.timer_resolution_ns,
    )
    check.add(
        "timing", "ok", f"{floor.latency_ms:.4f} ms for the largest network of {_SPACE} on {name}"
    )
    check.observations += floor.observations


@contextmanager
def _model(model_format: str) -> Iterator[Path]:
    """Yield the reference network as a file, which is removed again."""
    space = spaces.get(_SPACE)
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
        path = Path(folder) / f"model{FORMATS.get(model_format)}"
        path.write_bytes(model_bytes(space.network(space.largest()), model_format))
        yield path
