"""Runs back to back for a while, and what sensors showed meanwhile, on the device's own clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.runtimes.base import Count, Natural, Reply

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sustained:
    """One model run back to back from `start_s` to `end_s`, or, with the key None, nothing run.

    `at_s` is when each run began, `samples_ms` how long it took, both of shape (n_runs,).
    `peak_kib` is the most memory of the whole measuring process meanwhile, if it is told.
    """

    key: str | None
    start_s: float
    end_s: float
    at_s: Floats
    samples_ms: Floats
    peak_kib: int | None

    @property
    def period_ms(self) -> float:
        """The time from one run to the next, on average."""
        return (self.end_s - self.start_s) * 1e3 / len(self.samples_ms)

    def percentile_ms(self, percent: float, *, last_s: float | None = None) -> float:
        """Return a percentile of the runs' times, of those begun in the last seconds if given."""
        late = self.at_s >= (self.start_s if last_s is None else self.end_s - last_s)
        return float(np.percentile(self.samples_ms[late], percent))


class RawSustained(Reply):
    """The answer to `sustain`."""

    start_ns: Natural
    end_ns: Natural
    n_runs: Natural
    peak_kib: Natural | None


class RawRuns(Reply):
    """A part of the runs of the last `sustain`."""

    at_ns: tuple[Natural, ...]
    samples_ns: tuple[Count, ...]


class RawReading(Reply):
    """What one source showed once."""

    source: str
    at_ns: Natural
    values: tuple[str | None, ...]


class RawReadings(Reply):
    """The answer to `readings`."""

    readings: tuple[RawReading, ...]
    n_dropped: Natural
    more: bool
