"""Timing plans, samples and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Coverage = Literal["measured", "interpolated", "extrapolated", "published"]
"""How a table knows a network: measured, inside the range of the networks that calibrated it;
extrapolated, outside; interpolated, calibrated on networks of another space; published, never
calibrated: a sum of figures of others."""


@dataclass(frozen=True, slots=True)
class MeasurementPlan:
    """How often and how something is timed.

    Visits to one artefact are spread over the whole run; `n_runs` runs in a row make a visit,
    after `n_warmup` runs that do not count. A visit that takes longer than `timeout_s` is ended.
    With `spread_s` the visits are spaced out to take at least that long together, because a
    machine can stay in a slow state for seconds on end. They are shared out over `n_processes`
    measuring processes, one after the other, because a process can be slow as a whole.
    """

    n_visits: int = 12
    n_runs: int = 3
    n_warmup: int = 1
    timeout_s: float = 60.0
    spread_s: float = 0.0
    n_processes: int = 1
    seed: int = 0

    def visits_of_processes(self) -> list[int]:
        """Return how many visits each process makes to an artefact; none makes no visit."""
        n = max(1, min(self.n_processes, self.n_visits))
        return [self.n_visits // n + (i < self.n_visits % n) for i in range(n)]


@dataclass(frozen=True, slots=True)
class Measurement:
    """All timed runs of one artefact, shape (n_visits, n_runs), in milliseconds.

    The visits are in the order of time; `visits_of_processes` tells how many each measuring
    process made, () if all were made in one.
    """

    key: str
    samples_ms: npt.NDArray[np.float64]
    visits_of_processes: tuple[int, ...] = ()

    @property
    def latency_ms(self) -> float:
        """The latency undisturbed: the least run.

        Everything that disturbs a run makes it longer. Of the statistics compared on the samples
        of the committed tables, the least run repeats best from process to process (ADR 2).
        """
        return float(self.samples_ms.min())

    @property
    def process_ms(self) -> tuple[float, ...]:
        """The least run in each measuring process: how far processes agree."""
        ends = np.cumsum(self.visits_of_processes)[:-1]
        parts = np.split(self.samples_ms, ends) if len(ends) else [self.samples_ms]
        return tuple(float(part.min()) for part in parts)

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile over every run, disturbed ones included."""
        return float(np.percentile(self.samples_ms, percent))


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted value with its interval and how the table knows it.

    Attributes:
        value: in the unit of the objective.
        low: lower end of the interval; None: the table was never held against whole networks.
        high: upper end.
        coverage: how the table knows the network.
        provenance: where the table's costs come from, e.g. ``measured``.
        mismatch: in what the table is of something else than was asked for, in words; each was
            accepted on purpose.
    """

    value: float
    low: float | None
    high: float | None
    coverage: Coverage
    provenance: str = "measured"
    mismatch: tuple[str, ...] = ()
