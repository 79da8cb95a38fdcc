"""Objective values that need no evaluation: counts and predicted latency of whole populations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Architecture, Genes, population
from edgenas.core.errors import InfeasibleError, SpaceError, UsageError, choices
from edgenas.core.objective import Constraint
from edgenas.searchers.problem import cost_key, total_violations
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import COUNTS, Fold

Floats = npt.NDArray[np.float64]


class CostModel(Protocol):
    """What is asked of a predictor of one objective (`edgenas.costs.model.LatencyModel` is one)."""

    fold: Fold

    def upper(self, population: Genes, confidence: float | None) -> Floats:
        """Return what each architecture stays under with one-sided `confidence`, shape (n,)."""

    def budget_on_value(self, limit_ms: float, confidence: float | None) -> float:
        """Return the most that a predicted value may be for its upper end to keep the limit."""

    def least(self, confidence: float | None) -> float:
        """Return the least value (or upper end) that the space reaches."""


class CheapCosts:
    """Counts of a space and predictions of cost models, as a dict of arrays.

    Args:
        space: the space.
        names: the objectives wanted; those in `models` and counts (`COUNTS`) are given, others,
            like accuracy, are left to an evaluator.
        models: predictors by objective.
        constraints: those on cheap objectives are checked, and their upper ends given too.
    """

    def __init__(
        self,
        space: SearchSpace,
        names: Sequence[str],
        *,
        models: Mapping[str, CostModel] | None = None,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        self.space, self.models = space, dict(models or {})
        self.constraints = tuple(constraints)
        wanted = dict.fromkeys((*names, *(constraint.name for constraint in constraints)))
        self.names = tuple(name for name in wanted if name in self.models or name in COUNTS)
        self._folds: dict[str, Fold] = {}
        for constraint in self.constraints:
            if constraint.confidence and constraint.name in self.names:
                self._model(constraint.name)

    def __call__(self, population: Genes) -> dict[str, Floats]:
        """Return values and the upper ends that constraints ask for, by `cost_key`, each (n,)."""
        values = {name: self.fold(name)(population) for name in self.names}
        for constraint in self.constraints:
            key = cost_key(constraint.name, constraint.confidence)
            if constraint.name in self.names and key not in values:
                model = self._model(constraint.name)
                values[key] = model.upper(population, constraint.confidence)
        return values

    def folds(self) -> dict[str, Fold]:
        """Return what folds over the factors, by `cost_key`: values, and upper ends asked for."""
        found = {name: self.fold(name) for name in self.names}
        for constraint in self.constraints:
            if constraint.confidence and constraint.name in self.names:
                # The upper end is a multiple of the value, and what the value may be is known.
                own = found[constraint.name]
                share = self._model(constraint.name).budget_on_value(1.0, constraint.confidence)
                tables = [table / share for table in own.tables]
                key = cost_key(constraint.name, constraint.confidence)
                found[key] = Fold(self.space, tables, how=own.how, offset=own.offset / share)
        return found

    def violations(self, population: Genes) -> Floats:
        """Return how much each architecture breaks the constraints on cheap objectives, (n,)."""
        return total_violations(self.constraints, self(population), len(population))

    def upper(self, name: str, confidence: float, archs: Sequence[Architecture]) -> Floats:
        """Return the upper ends of predictions for some architectures, shape (n,).

        Raises:
            UsageError: the objective has no model, or a model without intervals.
        """
        rows = population(list(archs), self.space.n_genes)
        return self._model(name).upper(rows, confidence)

    def least(self, name: str, confidence: float | None = None) -> float:
        """Return the least value (or upper end) that an architecture of the space reaches.

        Raises:
            UsageError: the objective is not cheap, or has no intervals.
        """
        if name in self.models or confidence is not None:
            return self._model(name).least(confidence)
        fold = self.fold(name)
        return BudgetProgram(fold).least()[0] if fold.how == "sum" else self._least_peak(fold)

    def check_feasible(self) -> None:
        """Refuse constraints that no architecture can keep, each taken alone.

        Raises:
            InfeasibleError: the message has the least value that the space reaches.
        """
        for constraint in self.constraints:
            if constraint.name not in self.names:
                continue
            least = self.least(constraint.name, constraint.confidence)
            if least > constraint.limit:
                at = f" @ {constraint.confidence:.0%}" if constraint.confidence else ""
                raise InfeasibleError(
                    f"'{constraint}' cannot be kept: the least {constraint.name}{at} in "
                    f"{self.space.name} is {least:.6g}; allow at least that"
                )

    def draw(self, n: int, rng: np.random.Generator) -> Genes:
        """Return `n` architectures that keep the constraints, shape (n, n_genes), canonical.

        The first constraint on a sum and all on peaks are kept without rejection; where there
        are more, some of the architectures may break those. Without any, genes are uniform.

        Raises:
            InfeasibleError: no architecture keeps them.
        """
        if self._program is None:
            return self.space.sample(n, rng)
        program, budget = self._program
        return program.sample(n, budget, rng)

    def fold(self, name: str) -> Fold:
        """Return the compiled costs of a cheap objective.

        Raises:
            UsageError: the objective is not cheap.
        """
        if name in self.models:
            return self.models[name].fold
        if name not in COUNTS:
            raise UsageError(f"{name} has no cost model here; {choices(name, self.names)}")
        if name not in self._folds:
            self._folds[name] = COUNTS[name](self.space)
        return self._folds[name]

    def _model(self, name: str) -> CostModel:
        if name not in self.models:
            raise UsageError(
                f"{name} is counted, not predicted: it has no intervals; leave out '@'"
                if name in COUNTS
                else f"{name} has no cost model here; {choices(name, self.models)}"
            )
        return self.models[name]

    @cached_property
    def _program(self) -> tuple[BudgetProgram, float] | None:
        """Return a programme and its budget, on the first sum that a constraint limits."""
        cheap = [constraint for constraint in self.constraints if constraint.name in self.names]
        sums = [c for c in cheap if self.fold(c.name).how == "sum"]
        peaks = [(self.fold(c.name), c.limit) for c in cheap if self.fold(c.name).how == "max"]
        if not sums and not peaks:
            return None
        if not sums:
            program = BudgetProgram(self.fold("n_macs"), limits=peaks)
            return program, program.greatest()[0]
        first = sums[0]
        budget = first.limit
        if first.name in self.models:
            budget = self.models[first.name].budget_on_value(first.limit, first.confidence)
        return BudgetProgram(self.fold(first.name), limits=peaks), budget

    def _least_peak(self, fold: Fold) -> float:
        """Return the least peak: the least of its possible values that some network keeps."""
        levels = np.unique(np.concatenate(fold.tables))
        low, high = 0, len(levels) - 1
        while low < high:
            middle = (low + high) // 2
            try:
                BudgetProgram(self.fold("n_macs"), limits=[(fold, float(levels[middle]))]).least()
            except (InfeasibleError, SpaceError):
                low = middle + 1
            else:
                high = middle
        return float(levels[low]) + fold.offset
