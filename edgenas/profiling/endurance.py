"""Measures a model after minutes of load, when the device has become hot, with its sensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgenas.core.errors import DeviceError
from edgenas.hardware.device import Device
from edgenas.hardware.power import Reading
from edgenas.hardware.sensors import Series, find_sensors
from edgenas.profiling.progress import Progress, silent
from edgenas.runtimes.agent_bench import AgentBench
from edgenas.runtimes.bench import open_bench
from edgenas.runtimes.sustained import Sustained

_SLICE_S = 10.0
_SOURCE = "sensors"
_SLOWER = 1.1


@dataclass(frozen=True, slots=True)
class Endurance:
    """A model run back to back for `duration_s`, judged by its last `tail_s`.

    `early_ms` is the median of the first tenth of the time, `p50_ms` and `p95_ms` are of the end.
    `sensors` are temperatures in degrees Celsius and clocks in MHz by name, over the same clock as
    `at_s`, when each run began; both are there to be looked at where the model became slower.
    """

    duration_s: float
    tail_s: float
    n_runs: int
    early_ms: float
    p50_ms: float
    p95_ms: float
    at_s: np.ndarray[tuple[int], np.dtype[np.float64]]
    samples_ms: np.ndarray[tuple[int], np.dtype[np.float64]]
    sensors: dict[str, Series]

    @property
    def slowdown(self) -> float:
        """How much longer a run takes at the end than in the beginning."""
        return self.p50_ms / self.early_ms

    @property
    def throttled(self) -> bool:
        """Whether it became slower by more than a tenth."""
        return self.slowdown > _SLOWER


def measure_endurance(  # noqa: PLR0913
    device: Device,
    runtime: str,
    path: Path,
    *,
    precision: str = "float32",
    duration_s: float = 180.0,
    tail_s: float = 60.0,
    timeout_s: float = 60.0,
    progress: Progress = silent,
) -> Endurance:
    """Return how a model file does under load.

    The load is given in slices of ten seconds, a few milliseconds apart, so that progress is told.

    Raises:
        DeviceError: the times make no sense, the runtime cannot run back to back, or the device or
            the engine failed.
    """
    if not 0 < tail_s <= duration_s:
        raise DeviceError(f"the last {tail_s:g} s of {duration_s:g} s cannot be looked at")
    slices: list[Sustained] = []
    readings: list[Reading] = []
    with open_bench(device, runtime, precision=precision, timeout_s=timeout_s) as bench:
        if not isinstance(bench, AgentBench):
            raise DeviceError(
                f"{runtime} does not tell single runs under load; use a runtime of the agent"
            )
        sensors = find_sensors(device.connector)
        bench.load("model", path)
        bench.sample({_SOURCE: sensors.source})
        while (done_s := _lasted(slices)) < duration_s:
            progress(f"load on {runtime} (s)", int(done_s), int(duration_s))
            slice_s = min(_SLICE_S, duration_s - done_s)
            slices.append(bench.sustain("model", duration_s=slice_s))
            readings += bench.readings().get(_SOURCE, [])
        progress(f"load on {runtime} (s)", int(duration_s), int(duration_s))
    at_s = np.concatenate([one.at_s for one in slices])
    samples_ms = np.concatenate([one.samples_ms for one in slices])
    start_s, end_s = slices[0].start_s, slices[-1].end_s
    tail = samples_ms[at_s >= end_s - tail_s]
    tail = tail if len(tail) else samples_ms[-1:]  # one run may last longer than the tail
    early = samples_ms[at_s <= start_s + (end_s - start_s) / 10]
    return Endurance(
        duration_s=end_s - start_s,
        tail_s=tail_s,
        n_runs=len(samples_ms),
        early_ms=float(np.median(early)),
        p50_ms=float(np.median(tail)),
        p95_ms=float(np.percentile(tail, 95)),
        at_s=at_s,
        samples_ms=samples_ms,
        sensors=sensors.series(readings),
    )


def _lasted(slices: list[Sustained]) -> float:
    return slices[-1].end_s - slices[0].start_s if slices else 0.0
