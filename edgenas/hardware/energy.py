"""Energy of an inference: a power trace with idle parts around a busy one, or modelled powers.

The energy is what running adds: the power while a network runs back to back, less the power of the
idle device before and after, times the time from one run to the next.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import DeviceError
from edgenas.hardware.power.base import Meter, PowerTrace
from edgenas.hardware.power.settings import ModelledSettings

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

_N_DRAWS = 2000
_N_BLOCKS = 20
_PERCENT = (5.0, 95.0)
_MOST_SILENT = 0.2
"""Share of a part between two readings, beyond which one of them must have been lost."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a trace, on the trace's clock."""

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """What one inference costs beyond the idle device, with its 90 % interval.

    `active_mw` is the power of the whole device while it ran, `idle_mw` at rest, `period_ms` the
    time from one run to the next, `n_samples` how many values of the meter the busy part holds. A
    modelled energy has no meter's samples, and the interval that its device file gives it.
    """

    energy_mj: float
    low: float
    high: float
    idle_mw: float
    active_mw: float
    period_ms: float
    n_samples: int
    meter: str
    provenance: Literal["measured", "modelled"]


def energy_of_run(  # noqa: PLR0913
    meter: Meter,
    trace: PowerTrace,
    *,
    run: Window,
    idle: tuple[Window, Window],
    period_ms: float,
    min_samples: int,
    seed: int = 0,
) -> EnergyReading:
    """Return the energy of an inference out of a run of many.

    The interval holds the scatter of the power over time, by a bootstrap of blocks (neighbouring
    samples are alike), the drift of the idle power from before the run to after it, and the
    meter's step. A meter's own calibration is in no one's interval.

    Args:
        meter: where the trace is from.
        trace: power over all three windows.
        run: when the network ran back to back, without what comes before the power is steady.
        idle: when nothing ran, before and after.
        period_ms: the time from one run to the next.
        min_samples: how many values of the meter each window must hold.
        seed: of the bootstrap.

    Raises:
        DeviceError: the meter is too slow for the windows, or did not see the run.
    """
    for window, what in ((run, "busy"), (idle[0], "idle"), (idle[1], "idle")):
        _check_samples(meter, trace, window, what, min_samples)
    busy, before, after = (_increments(trace, window) for window in (run, *idle))
    active_mw, idle_mw = _mean(busy), (_mean(before) + _mean(after)) / 2
    if active_mw <= idle_mw:
        raise DeviceError(
            f"the meter {meter.name} shows {active_mw:.0f} mW while the network runs and "
            f"{idle_mw:.0f} mW at rest: it does not measure the processor that runs it, or "
            "something else used the device meanwhile"
        )
    generator = np.random.default_rng(seed)
    share = generator.uniform(size=_N_DRAWS)
    idle_draws = share * _bootstrap(before, generator) + (1 - share) * _bootstrap(after, generator)
    differences = _bootstrap(busy, generator) - idle_draws
    for window in (run, idle[0]):
        step_mw = trace.step_mw + trace.step_mj / window.duration_s
        differences += generator.uniform(-0.5, 0.5, size=_N_DRAWS) * step_mw
    low, high = np.percentile(differences, _PERCENT) * period_ms / 1e3
    reading = EnergyReading(
        energy_mj=(active_mw - idle_mw) * period_ms / 1e3,
        low=float(low),
        high=float(high),
        idle_mw=idle_mw,
        active_mw=active_mw,
        period_ms=period_ms,
        n_samples=_n_samples(meter, trace, run),
        meter=meter.name,
        provenance="measured",
    )
    if reading.low <= 0:
        log.warning(
            "%s cannot tell the run from rest: %.3f to %.3f mJ; measure for longer",
            meter.name,
            reading.low,
            reading.high,
        )
    return reading


def modelled_energy(
    latency_ms: float, settings: ModelledSettings, *, threads: int
) -> EnergyReading:
    """Return the energy by a device file's powers: what running adds, times the latency.

    Raises:
        DeviceError: the file has no power for as many threads, or it is below the idle one.
    """
    if threads > len(settings.active_mw):
        raise DeviceError(
            f"power.active_mw of the device file is for 1 to {len(settings.active_mw)} threads, "
            f"not {threads}; add the others"
        )
    active_mw = settings.active_mw[threads - 1]
    if active_mw <= settings.idle_mw:
        raise DeviceError(
            f"the device file says {active_mw:g} mW with {threads} thread(s) and "
            f"{settings.idle_mw:g} mW at rest; power.active_mw is the whole device's"
        )
    energy_mj = (active_mw - settings.idle_mw) * latency_ms / 1e3
    return EnergyReading(
        energy_mj=energy_mj,
        low=energy_mj * (1 - settings.relative_error),
        high=energy_mj * (1 + settings.relative_error),
        idle_mw=settings.idle_mw,
        active_mw=active_mw,
        period_ms=latency_ms,
        n_samples=0,
        meter="modelled",
        provenance="modelled",
    )


def _n_samples(meter: Meter, trace: PowerTrace, window: Window) -> int:
    """Return how many values of the meter a window holds, those read twice counted once."""
    inside = (trace.at_s >= window.start_s) & (trace.at_s <= window.end_s)
    n_readings = int(inside.sum())
    if not n_readings:
        return 0
    if meter.refresh_s is not None:
        return min(n_readings, int(window.duration_s / meter.refresh_s) + 1)
    changes = trace.n_changes[inside]
    return 1 + int(changes[-1] - changes[0])


def _check_samples(
    meter: Meter, trace: PowerTrace, window: Window, what: str, min_samples: int
) -> None:
    if window.start_s < trace.at_s[0] or window.end_s > trace.at_s[-1]:
        raise DeviceError(
            f"the meter {meter.name} was read from {trace.at_s[0]:.2f} to {trace.at_s[-1]:.2f} s, "
            f"and the {what} part lasts from {window.start_s:.2f} to {window.end_s:.2f} s"
        )
    needed = max(min_samples, 2)  # a power needs two ends
    found = _n_samples(meter, trace, window)
    if found < needed:
        needed_s = window.duration_s * needed / max(found, 1)
        raise DeviceError(
            f"the meter {meter.name} is too slow: it gave {found} value(s) in the "
            f"{window.duration_s:.1f} s of the {what} part, {needed} are needed; make that "
            f"part at least {needed_s:.0f} s long"
        )
    inside = trace.at_s[(trace.at_s > window.start_s) & (trace.at_s < window.end_s)]
    silent_s = float(np.diff([window.start_s, *inside, window.end_s]).max())
    if silent_s > _MOST_SILENT * window.duration_s:
        raise DeviceError(
            f"the meter {meter.name} was not read for {silent_s:.1f} s of the "
            f"{window.duration_s:.1f} s of the {what} part; what it would have shown is unknown"
        )


def _increments(trace: PowerTrace, window: Window) -> tuple[Floats, Floats]:
    """Return the energies and durations between the readings of a window.

    What lies between its ends and the nearest readings is left out: a late reading would carry
    power from the other side of the end into it.
    """
    inside = (trace.at_s >= window.start_s) & (trace.at_s <= window.end_s)
    return np.diff(trace.energy_mj[inside]), np.diff(trace.at_s[inside])


def _mean(parts: tuple[Floats, Floats]) -> float:
    return float(parts[0].sum() / parts[1].sum())


def _bootstrap(parts: tuple[Floats, Floats], generator: np.random.Generator) -> Floats:
    """Return mean powers of windows put together anew from blocks, shape (_N_DRAWS,)."""
    n_blocks = min(_N_BLOCKS, len(parts[0]))
    edges = np.linspace(0, len(parts[0]), n_blocks + 1).astype(int)[:-1]
    energy_mj, duration_s = (np.add.reduceat(part, edges) for part in parts)
    drawn = generator.integers(n_blocks, size=(_N_DRAWS, n_blocks))
    means: Floats = energy_mj[drawn].sum(axis=1) / duration_s[drawn].sum(axis=1)
    # Means of n blocks drawn from the n themselves scatter too little by this.
    if n_blocks > 1:
        means = means.mean() + (means - means.mean()) * np.sqrt(n_blocks / (n_blocks - 1))
    return means
