"""The latency model: a table compiled over a space, with intervals and coverage."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.measurement import Coverage, Prediction
from edgenas.costs import conformal
from edgenas.costs.table import CostTable
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import Fold

Floats = npt.NDArray[np.float64]


class LatencyModel:
    """Predicts the latency of a space's architectures from a table that serves it.

    Args:
        space: the space.
        table: checked by the caller against device, runtime and precision
            (`CostTable.check_serves`, `edgenas.costs.store.find_table`).
        coverage: probability with which the two-sided intervals hold.

    Raises:
        MissingCostError: an operator has no row.
    """

    def __init__(self, space: SearchSpace, table: CostTable, *, coverage: float = 0.9) -> None:
        self.space, self.table, self.interval_coverage = space, table, coverage
        calibration = table.passport.calibration
        self.fold = Fold.compile(
            space, lambda op: table[op].latency_ms, offset=calibration.overhead_ms
        )
        self.scores = np.array(calibration.scores)
        self.low_score, self.high_score = conformal.interval(self.scores, coverage)

    def latency_ms(self, population: Genes) -> Floats:
        """Return predicted latencies, shape (n,)."""
        return self.fold(population)

    def predict(self, population: Genes) -> tuple[Floats, Floats, Floats]:
        """Return predicted latency and the ends of its interval, each of shape (n,), ms."""
        value = self.fold(population)
        return value, value * (1 + self.low_score), value * (1 + self.high_score)

    def upper(self, population: Genes, confidence: float | None) -> Floats:
        """Return what the latency stays under with one-sided `confidence` (None: the value)."""
        return self.fold(population) * self._factor(confidence)

    def budget_on_value(self, limit_ms: float, confidence: float | None) -> float:
        """Return the most that a predicted value may be for its upper end to keep `limit_ms`."""
        return limit_ms / self._factor(confidence)

    def least(self, confidence: float | None = None) -> float:
        """Return the least latency (or upper end) that any architecture of the space has."""
        return self.budget.least()[0] * self._factor(confidence)

    @cached_property
    def budget(self) -> BudgetProgram:
        """Exact answers about latency budgets over the space."""
        return BudgetProgram(self.fold)

    def coverage(self, population: Genes) -> list[Coverage]:
        """Return how the table knows each architecture.

        Every operator has a measured row (else construction fails); outside the range of the
        networks that calibrated the table the sum is an extrapolation.
        """
        low, high = self.table.passport.calibration.latency_range_ms
        value = self.fold(population)
        inside = (value >= low * 0.98) & (value <= high * 1.02)
        return ["measured" if ok else "extrapolated" for ok in inside]

    def predictions(self, population: Genes) -> list[Prediction]:
        """Return one `Prediction` for every architecture."""
        value, low, high = self.predict(population)
        known = self.coverage(population)
        return [
            Prediction(float(v), float(lo), float(hi), c)
            for v, lo, hi, c in zip(value, low, high, known, strict=True)
        ]

    def by_part(self, row: Genes) -> list[tuple[str, float]]:
        """Return (part of the network, ms) for one architecture; overhead last."""
        parts = self.fold.by_factor(row[None])[0]
        named = [
            (factor.name, float(ms))
            for factor, ms in zip(self.space.factors, parts, strict=True)
            if ms > 0
        ]
        return [*named, ("overhead", self.fold.offset)]

    def _factor(self, confidence: float | None) -> float:
        if confidence is None:
            return 1.0
        return 1 + conformal.upper_quantile(self.scores, confidence)
