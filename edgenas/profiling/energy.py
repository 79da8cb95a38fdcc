"""Measures the energy of inferences on a device: idle, the network back to back, idle again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgenas.core.errors import DeviceError
from edgenas.core.measurement import MeasurementPlan
from edgenas.hardware.device import Device
from edgenas.hardware.energy import EnergyReading, Window, energy_of_run, modelled_energy
from edgenas.hardware.power import Meter, Reading, find_meter
from edgenas.hardware.power.settings import ModelledSettings, PowerSettings
from edgenas.hardware.power.shell_sampler import ShellSampler
from edgenas.profiling.measure import measure_files
from edgenas.profiling.progress import Progress, silent
from edgenas.runtimes.agent_bench import AgentBench
from edgenas.runtimes.base import RUNTIMES, Bench
from edgenas.runtimes.bench import open_bench

_SOURCE = "power"


@dataclass(frozen=True, slots=True)
class EnergyPlan:
    """How long the parts of a measurement are.

    After each change between idle and busy `settle_s` do not count: clocks and the meter's own
    average follow late. Every part must hold `min_samples` values of the meter. `timeout_s` is for
    starting the engine; a model may take as long to load as the runtime allows.
    """

    run_s: float = 10.0
    idle_s: float = 5.0
    settle_s: float = 1.0
    min_samples: int = 20
    timeout_s: float = 60.0
    seed: int = 0


_PLAN = EnergyPlan()


def measure_energy(  # noqa: PLR0913
    device: Device,
    runtime: str,
    paths: Mapping[str, Path],
    plan: EnergyPlan = _PLAN,
    *,
    precision: str = "float32",
    progress: Progress = silent,
) -> dict[str, EnergyReading]:
    """Return the energy of an inference of each model file of a precision, by the caller's keys.

    With a meter each file is run back to back; a device file with powers in its place gives a
    modelled energy from the measured latency.

    Raises:
        DeviceError: the device file says nothing of power, the meter is missing, too slow or
            wrong, or the engine failed; nothing is returned for any file.
    """
    settings = power_of(device)
    if isinstance(settings, ModelledSettings):
        threads = RUNTIMES.get(runtime)().settings(device.description).threads
        timing = MeasurementPlan(timeout_s=plan.timeout_s, seed=plan.seed)
        measured = measure_files(
            device, runtime, paths, timing, precision=precision, progress=progress
        )
        return {
            key: modelled_energy(measurement.latency_ms, settings, threads=threads)
            for key, measurement in measured.items()
        }
    with open_bench(device, runtime, precision=precision, timeout_s=plan.timeout_s) as bench:
        meter = find_meter(device.connector, settings)
        if isinstance(bench, AgentBench):
            return _by_agent(bench, meter, paths, plan, progress)
        return _by_shell(bench, meter, paths, plan, progress)


def power_of(device: Device) -> PowerSettings:
    """Return what the description of a device says of its power.

    Raises:
        DeviceError: nothing.
    """
    settings = device.description.power
    if settings is None:
        raise DeviceError(
            f"the description of the device {device.id!r} says nothing of power; add to it "
            "power: {meter: ina3221, rails: [VDD_IN]} (or rapl, nvml, android, tegrastats), or "
            "power: {meter: modelled, idle_mw: ..., active_mw: [...]}"
        )
    return settings


def _by_agent(
    bench: AgentBench,
    meter: Meter,
    paths: Mapping[str, Path],
    plan: EnergyPlan,
    progress: Progress,
) -> dict[str, EnergyReading]:
    """Measure with the sampling thread of the measuring process, all on its clock."""
    found: dict[str, EnergyReading] = {}
    keys = list(paths)
    bench.load(keys[0], paths[keys[0]])
    bench.sample({_SOURCE: meter.source})
    readings: list[Reading] = []
    before = bench.sustain(None, duration_s=plan.idle_s)
    for done, key in enumerate(keys):
        progress(f"energy on {bench.runtime.name}", done, len(keys))
        run = bench.sustain(key, duration_s=plan.run_s)
        bench.unload(key)
        if done + 1 < len(keys):  # before the pause: loading takes power too
            bench.load(keys[done + 1], paths[keys[done + 1]])
        after = bench.sustain(None, duration_s=plan.idle_s)
        readings = [one for one in readings if one.at_s >= before.start_s]
        readings += bench.readings().get(_SOURCE, [])
        found[key] = energy_of_run(
            meter,
            meter.trace(readings),
            run=_inner(run.start_s, run.end_s, plan, late_s=0.0),
            idle=(
                _inner(before.start_s, before.end_s, plan, late_s=plan.settle_s / 2),
                _inner(after.start_s, after.end_s, plan, late_s=plan.settle_s / 2),
            ),
            period_ms=run.period_ms,
            min_samples=plan.min_samples,
            seed=plan.seed,
        )
        before = after
    progress(f"energy on {bench.runtime.name}", len(keys), len(keys))
    return found


def _by_shell(
    bench: Bench,
    meter: Meter,
    paths: Mapping[str, Path],
    plan: EnergyPlan,
    progress: Progress,
) -> dict[str, EnergyReading]:
    """Measure beside a bench that has no sensors, on the device's uptime."""
    found: dict[str, EnergyReading] = {}
    for done, (key, path) in enumerate(paths.items()):
        progress(f"energy on {bench.runtime.name}", done, len(paths))
        bench.load(key, path)
        with ShellSampler(bench.device.connector, meter.source) as sampler:
            times = [sampler.now_s()]
            time.sleep(plan.idle_s)
            times.append(sampler.now_s())
            timeout_s = plan.timeout_s + 3 * plan.run_s
            run = bench.run_for(key, duration_s=plan.run_s, timeout_s=timeout_s)
            times.append(sampler.now_s())
            time.sleep(plan.idle_s)
            times.append(sampler.now_s())
            readings = sampler.readings()
        bench.unload(key)
        # What it took beside its runs (starting a program, loading) may be at either end.
        beside_s = max(times[2] - times[1] - run.n_runs * run.period_ms / 1e3, 0.0)
        found[key] = energy_of_run(
            meter,
            meter.trace(readings),
            run=_inner(times[1] + beside_s, times[2], plan, late_s=beside_s),
            idle=(
                _inner(times[0], times[1], plan, late_s=plan.settle_s / 2),
                _inner(times[2], times[3], plan, late_s=plan.settle_s / 2),
            ),
            period_ms=run.period_ms,
            min_samples=plan.min_samples,
            seed=plan.seed,
        )
    progress(f"energy on {bench.runtime.name}", len(paths), len(paths))
    return found


def _inner(start_s: float, end_s: float, plan: EnergyPlan, *, late_s: float) -> Window:
    """Return a part without what must settle at its start and `late_s` at its end.

    Raises:
        DeviceError: nothing is left.
    """
    window = Window(start_s + plan.settle_s, end_s - late_s)
    if window.duration_s <= 0:
        raise DeviceError(
            f"a part of {end_s - start_s:.1f} s is too short for {plan.settle_s:g} s of settling "
            f"and {late_s:.1f} s at its end; plan for longer parts"
        )
    return window
