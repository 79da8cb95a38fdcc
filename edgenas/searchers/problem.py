"""What is searched: a space, objectives, constraints, and the costs that cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.objective import Constraint, Objective, objective
from edgenas.searchers.learner import Learner
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import Fold

Floats = npt.NDArray[np.float64]
Cheap = Callable[[Genes], Mapping[str, Floats]]
"""Values of a population, by `cost_key`: shape (n, n_genes) in, arrays of shape (n,) out."""
Draw = Callable[[int, np.random.Generator], Genes]
"""Draws that many canonical architectures, shape (n, n_genes); `BudgetProgram.sample` bound to its
budget is one."""


@dataclass(frozen=True, slots=True)
class SearchProblem:
    """One search.

    `cheap` gives values that need no evaluation; a constraint on them keeps proposals from
    being made at all. `draw` replaces uniform genes as the source of random architectures.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    cheap: Cheap | None = None
    draw: Draw | None = None
    folds: Mapping[str, Fold] = field(default_factory=dict)
    learner: Learner | None = None

    @property
    def cheap_names(self) -> frozenset[str]:
        """What `cheap` gives."""
        if self.cheap is None:
            return frozenset()
        return frozenset(self.cheap(self.space.smallest()[None]))

    def violations(self, population: Genes) -> Floats:
        """Return how much each architecture breaks the cheap constraints, shape (n,).

        inf where a cheap objective is not a finite number: nothing can be made of that.
        """
        if self.cheap is None:
            return np.zeros(len(population))
        costs = self.cheap(population)
        broken = total_violations(self.constraints, costs, len(population))
        for goal in self.objectives:
            if goal.name in costs:
                broken[~np.isfinite(np.asarray(costs[goal.name], dtype=np.float64))] = np.inf
        return broken

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """Return `n` random architectures, shape (n, n_genes); they may break constraints."""
        if self.draw is None:
            return self.space.sample(n, rng)
        return self.space.canonical(self.draw(n, rng))


def minimised(goal: Objective, values: npt.ArrayLike) -> Floats:
    """Return values of an objective turned so that less is better, as floats."""
    found = np.asarray(values, dtype=np.float64)
    return found if goal.direction == "minimize" else -found


def cost_key(name: str, confidence: float | None = None) -> str:
    """Return where a dict of costs holds a value, or its upper end at a confidence."""
    return name if confidence is None else f"{name}@{confidence:g}"


def total_violations(
    constraints: Sequence[Constraint], values: Mapping[str, npt.ArrayLike], n: int
) -> Floats:
    """Return the violations relative to the limits, summed over `constraints`, shape (n,).

    Constraints on something that `values` does not hold at all are passed over.

    Raises:
        UsageError: a constraint with a confidence on a value that has none.
    """
    total = np.zeros(n)
    for constraint in constraints:
        key = cost_key(constraint.name, constraint.confidence)
        if key not in values:
            if constraint.name in values:
                raise UsageError(
                    f"'{constraint}' asks for a confidence, but {constraint.name} comes without "
                    "intervals here; write the constraint without '@'"
                )
            continue
        sign = objective(constraint.name).minimised(1.0)
        excess = sign * (np.asarray(values[key], dtype=np.float64) - constraint.limit)
        scale = abs(constraint.limit) or 1.0
        # NaN keeps no limit.
        total += np.where(np.isnan(excess), np.inf, np.maximum(excess, 0.0)) / scale
    return total
