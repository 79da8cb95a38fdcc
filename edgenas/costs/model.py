"""The cost model: a table compiled over a space, with intervals and coverage."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.measurement import Coverage, Prediction
from edgenas.costs import conformal
from edgenas.costs.conditions import Mismatch
from edgenas.costs.kinds import UNITS, Kind
from edgenas.costs.table import CostTable
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import Fold

Floats = npt.NDArray[np.float64]
_EDGE = 0.02  # this little outside the calibrated range counts as inside


class CostModel:
    """Predicts the cost of a space's architectures from a table that serves it.

    Args:
        space: the space.
        table: checked by the caller against device, runtime and precision
            (`CostTable.check_serves`, `edgenas.costs.store.find_table`).
        coverage: probability with which the two-sided intervals hold.
        mismatches: what `check_serves` accepted; every prediction tells it.

    Raises:
        MissingCostError: an operator has no row.
    """

    def __init__(
        self,
        space: SearchSpace,
        table: CostTable,
        *,
        coverage: float = 0.9,
        mismatches: Sequence[Mismatch] = (),
    ) -> None:
        self.space, self.table, self.interval_coverage = space, table, coverage
        self.mismatch = tuple(map(str, mismatches))
        self._fit = table.passport.fit
        overhead = 0.0 if self._fit is None else self._fit.overhead
        self.fold = Fold.compile(space, lambda op: table[op].cost, offset=overhead)
        self.scores: Floats | None = None
        self.low_score = self.high_score = float("nan")
        if self._fit is not None:
            self.scores = np.array(self._fit.scores)
            self.low_score, self.high_score = conformal.interval(self.scores, coverage)

    @property
    def kind(self) -> Kind:
        """What the costs are of."""
        return self.table.passport.kind

    @property
    def has_intervals(self) -> bool:
        """Whether predictions have intervals: the table was held against whole networks."""
        return self.scores is not None

    @property
    def caveats(self) -> tuple[str, ...]:
        """What anyone who reads a prediction must be told, in sentences without a full stop."""
        own = self.table.passport
        found = [f"the table is of something else: its {text}" for text in self.mismatch]
        if own.provenance == "published":
            found.append(
                f"its costs were published by others ({own.device.slug}) and never held against "
                "whole networks here: predictions have no interval"
            )
        elif own.provenance == "modelled":
            found.append(
                f"its {own.kind} is modelled from powers in the device's description, not measured"
            )
        elif own.provenance != "measured" and own.network_plan is None:
            found.append(f"its costs are {own.provenance}, not measured operator by operator")
        return tuple(found)

    def predict(self, population: Genes) -> tuple[Floats, Floats, Floats]:
        """Return predicted cost and the ends of its interval, each of shape (n,).

        The ends are NaN where the table has no intervals.
        """
        value = self.fold(population)
        return value, value * (1 + self.low_score), value * (1 + self.high_score)

    def upper(self, population: Genes, confidence: float | None) -> Floats:
        """Return what the cost stays under with one-sided `confidence` (None: the value).

        Raises:
            UsageError: the table has no intervals.
        """
        return self.fold(population) * self._factor(confidence)

    def budget_on_value(self, limit_ms: float, confidence: float | None) -> float:
        """Return the most that a predicted value may be for its upper end to keep the limit."""
        return limit_ms / self._factor(confidence)

    def least(self, confidence: float | None = None) -> float:
        """Return the least cost (or upper end) that any architecture of the space has."""
        return self.budget.least()[0] * self._factor(confidence)

    @cached_property
    def budget(self) -> BudgetProgram:
        """Exact answers about budgets over the space."""
        return BudgetProgram(self.fold)

    def coverage(self, population: Genes) -> list[Coverage]:
        """Return how the table knows each architecture.

        Every operator has a row (else construction fails); outside the range of the networks
        that calibrated the table the sum is an extrapolation.
        """
        if self._fit is None:
            return ["published"] * len(population)
        low, high = self._fit.value_range
        value = self.fold(population)
        inside = (value >= low * (1 - _EDGE)) & (value <= high * (1 + _EDGE))
        foreign = self._fit.space is not None
        foreign |= self.table.passport.space.fingerprint != self.space.fingerprint
        known: Coverage = "interpolated" if foreign else "measured"
        return [known if ok else "extrapolated" for ok in inside]

    def predictions(self, population: Genes) -> list[Prediction]:
        """Return one `Prediction` for every architecture."""
        value, low, high = self.predict(population)
        known = self.coverage(population)
        return [
            Prediction(
                float(v),
                float(lo) if self.has_intervals else None,
                float(hi) if self.has_intervals else None,
                c,
                self.table.passport.provenance,
                self.mismatch,
            )
            for v, lo, hi, c in zip(value, low, high, known, strict=True)
        ]

    def by_part(self, row: Genes) -> list[tuple[str, float]]:
        """Return (part of the network, cost) for one architecture; overhead last."""
        parts = self.fold.by_factor(row[None])[0]
        named = [
            (factor.name, float(cost))
            for factor, cost in zip(self.space.factors, parts, strict=True)
            if cost > 0
        ]
        return [*named, ("overhead", self.fold.offset)]

    def _factor(self, confidence: float | None) -> float:
        if confidence is None:
            return 1.0
        if self.scores is None:
            own = self.table.passport
            raise UsageError(
                f"a budget @ {confidence:.0%} asks for an interval, and {self.table.source} has "
                f"none: its costs are {own.provenance} and were never held against whole networks; "
                "leave out '@', or measure a table with 'edgenas profile'"
            )
        return 1 + conformal.upper_quantile(self.scores, confidence)


class LatencyModel(CostModel):
    """Predicts latencies, milliseconds (arguments and errors as `CostModel`).

    Raises:
        UsageError: the table holds something else than latencies.
    """

    def __init__(
        self,
        space: SearchSpace,
        table: CostTable,
        *,
        coverage: float = 0.9,
        mismatches: Sequence[Mismatch] = (),
    ) -> None:
        kind = table.passport.kind
        if kind != "latency":
            raise UsageError(
                f"{table.source} holds {kind} in {UNITS[kind]}; a table of latencies is needed"
            )
        super().__init__(space, table, coverage=coverage, mismatches=mismatches)

    def latency_ms(self, population: Genes) -> Floats:
        """Return predicted latencies, shape (n,)."""
        return self.fold(population)
