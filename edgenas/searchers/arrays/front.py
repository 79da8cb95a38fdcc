"""What a selection returns: the front, the best for every budget, and how it was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Statistics:
    """How a front was found.

    Attributes:
        method: ``exact``, ``exhaustive`` (every architecture was evaluated) or ``evolution``.
        errors: of an exact front, by objective: what true members can be better by; all 0: nothing.
        n_evaluations: of the accuracy.
        n_costs: architectures whose costs were computed.
        n_rounds: generations, or the most labels of an exact front.
        seconds: of wall-clock time.
    """

    method: str
    errors: Mapping[str, float]
    n_evaluations: int
    n_costs: int
    n_rounds: int
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether the front is the true one, value by value."""
        return self.method != "evolution" and not any(self.errors.values())


@dataclass(frozen=True, slots=True)
class Pick:
    """The best architecture for one budget: limits by cost, genes, values of every quantity."""

    budget: Mapping[str, float]
    genes: Genes
    values: Mapping[str, float]

    def as_dict(self, space: SearchSpace) -> dict[str, Any]:
        """Return the pick as JSON values."""
        return {"budget": dict(self.budget), **_member(space, self.genes, self.values)}


@dataclass(frozen=True, slots=True)
class Front:
    """Non-dominated architectures by the objectives, best first in the first cost.

    Attributes:
        space: of the genes.
        objectives: names.
        genes: canonical, shape (n, n_genes).
        values: of every quantity that was given, by name, shape (n,).
        picks: one a budget, in their order.
        statistics: how they were found.
    """

    space: SearchSpace
    objectives: tuple[str, ...]
    genes: Genes
    values: Mapping[str, Floats]
    picks: tuple[Pick, ...]
    statistics: Statistics

    def __len__(self) -> int:
        return len(self.genes)

    def as_dict(self) -> dict[str, Any]:
        """Return the front as JSON values; `edgenas predict` reads its members."""
        statistics = self.statistics
        return {
            "space": {"name": self.space.name, "parameters": self.space.parameters},
            "objectives": list(self.objectives),
            "picks": [pick.as_dict(self.space) for pick in self.picks],
            "front": [
                _member(self.space, row, {name: v[i] for name, v in self.values.items()})
                for i, row in enumerate(self.genes)
            ],
            "statistics": {
                "method": statistics.method,
                "exact": statistics.exact,
                "errors": dict(statistics.errors),
                "n_evaluations": statistics.n_evaluations,
                "n_costs": statistics.n_costs,
                "n_rounds": statistics.n_rounds,
                "seconds": round(statistics.seconds, 3),
            },
        }


def _member(space: SearchSpace, row: Genes, values: Mapping[str, float]) -> dict[str, Any]:
    (architecture,) = space.architectures(row[None])
    return {
        "id": architecture.id,
        "values": {name: float(value) for name, value in values.items()},
        "genes": row.tolist(),
        "config": space.describe(row),
    }
