"""Pareto local search: all neighbours of the front's members, then a new start.

White et al. 2021, Exploring the Loss Landscape in Neural Architecture Search, arXiv:2005.02960;
with several objectives as in Paquete et al. 2004, doi:10.1007/978-3-642-17144-4_7.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.searchers.base import SearchProblem
from edgenas.searchers.neighbours import neighbours
from edgenas.searchers.problem import Floats, minimised
from edgenas.searchers.rounds import RoundSearcher
from edgenas.searchers.told import Told

_STREAM_ORDER = 2


@dataclass(frozen=True, slots=True)
class LocalSearchSettings:
    """Settings; the default is of ours.

    Attributes:
        n_first: random architectures before the first neighbours.
    """

    n_first: int = 10

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        if self.n_first < 1:
            raise UsageError(f"n_first is at least 1, got {self.n_first}")


class LocalSearchSearcher(RoundSearcher):
    """Proposes what differs in one gene from members of the front, which are visited in turn.

    A member's neighbours come in random order, first those that would not be dominated if they were
    as accurate as the member: costs that are free to know decide on that. When no member has an
    unknown neighbour left, random architectures are a new start.
    """

    name = "local_search"
    Settings = LocalSearchSettings

    def __init__(
        self,
        problem: SearchProblem,
        *,
        seed: int = 0,
        settings: LocalSearchSettings | None = None,
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        self._front: Told | None = None

    def _round_size(self) -> int:
        return int(self.settings.n_first) if self.round == 0 else 1

    def _end_round(self, news: list[Evaluation]) -> None:
        complete = [e for e in news if e.has_values]
        told = Told.of(complete, self.problem.objectives, self.problem.space.n_genes)
        if len(told):
            self._front = (told if self._front is None else self._front + told).front()

    def _proposals(self) -> Iterator[Genes]:
        front = self._front
        if front is None:
            return
        # Whose neighbours are all known has nothing to yield; the order is a member's own for good,
        # so that a member is done before the next one's turn.
        order = [self._rng(_STREAM_ORDER, *map(int, genes)).random() for genes in front.genes]
        for member in np.argsort(order, kind="stable"):
            yield from self._neighbours(front, int(member))

    def _neighbours(self, front: Told, member: int) -> Genes:
        """Return the feasible neighbours of a member of the front, the promising ones first."""
        genes = front.genes[member]
        around = self._feasible(neighbours(self.problem.space, genes))
        rng = self._rng(_STREAM_ORDER, *map(int, genes), 1)
        around = around[rng.permutation(len(around))]
        points = self._if_as_good(front.points[member], around)
        # By the front, not by each other: the fastest would leave nothing to the others.
        no_worse = np.all(front.points[None] <= points[:, None], axis=2)
        beaten = np.any(no_worse, axis=1)
        return around[np.argsort(beaten, kind="stable")]

    def _if_as_good(self, point: Floats, around: Genes) -> Floats:
        """Return the points of `around`, with the dear values of `point`, shape (n, ...)."""
        points = np.repeat(point[None], len(around), axis=0)
        if self.problem.cheap is None or not len(around):
            return points
        costs = self.problem.cheap(around)
        for column, goal in enumerate(self.problem.objectives):
            if goal.name in costs:
                points[:, column] = minimised(goal, costs[goal.name])
        return points
