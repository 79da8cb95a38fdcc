"""Told architectures as arrays, ordered by constrained domination and crowding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Objective
from edgenas.pareto import constrained_ranks, crowding_distances
from edgenas.searchers.problem import Floats

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Told:
    """Told architectures.

    Attributes:
        genes: shape (n, n_genes).
        points: shape (n, n_objectives), minimised; NaN where a value is missing.
        violations: shape (n,): 0 where complete or stopped, more where infeasible, inf where
            failed.
    """

    genes: Genes
    points: Floats
    violations: Floats

    @classmethod
    def of(
        cls, evaluations: Sequence[Evaluation], objectives: Sequence[Objective], n_genes: int
    ) -> Told:
        """Return `evaluations` as arrays."""
        genes = np.array([e.arch.genes for e in evaluations], dtype=np.int8)
        points = [
            [goal.minimised(e.values.get(goal.name, math.nan)) for goal in objectives]
            for e in evaluations
        ]
        return cls(
            genes.reshape(-1, n_genes),
            np.array(points, dtype=np.float64).reshape(-1, len(objectives)),
            np.array([violation(e) for e in evaluations], dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.genes)

    def __getitem__(self, rows: Ints | npt.NDArray[np.bool_] | slice) -> Told:
        return Told(self.genes[rows], self.points[rows], self.violations[rows])

    def __add__(self, other: Told) -> Told:
        return Told(
            np.concatenate([self.genes, other.genes]),
            np.concatenate([self.points, other.points]),
            np.concatenate([self.violations, other.violations]),
        )

    @cached_property
    def ranks(self) -> Ints:
        """Front of each under constrained domination, shape (n,); 0 is the best."""
        return constrained_ranks(self.points, self.violations)

    @cached_property
    def crowding(self) -> Floats:
        """Crowding distance inside each one's front, shape (n,); 0 for the infeasible."""
        crowding = np.zeros(len(self))
        feasible = self.violations <= 0
        crowding[feasible] = crowding_distances(self.points[feasible], self.ranks[feasible])
        return crowding

    def best(self, n: int) -> Told:
        """Return the `n` that survive: lower fronts first, lonelier first inside a front."""
        return self[np.lexsort((-self.crowding, self.ranks))[:n]]

    def front(self) -> Told:
        """Return the complete ones that none of them dominates, by the first objective."""
        rows = np.flatnonzero((self.violations <= 0) & (self.ranks == 0))
        return self[rows[np.lexsort(self.points[rows].T[::-1])]]

    def tournament(self, n: int, size: int, rng: np.random.Generator) -> Ints:
        """Return the winners of `n` tournaments of `size` random entrants, shape (n,).

        The better front wins, then the lonelier one, then the first drawn.
        """
        # Equals share a place, so that the order in which they were told gives no advantage.
        keys = np.stack([self.ranks.astype(np.float64), -self.crowding], axis=1)
        _, place = np.unique(keys, axis=0, return_inverse=True)
        entrants = rng.integers(0, len(self), (n, size))
        winners = place.reshape(-1)[entrants].argmin(axis=1)
        return np.asarray(entrants[np.arange(n), winners])


def violation(evaluation: Evaluation) -> float:
    """Return 0 for complete and stopped, more for infeasible, inf for failed evaluations."""
    if evaluation.has_values:
        return 0.0
    if evaluation.status == "failed":
        return math.inf
    return max(evaluation.violation, math.ulp(0.0))
