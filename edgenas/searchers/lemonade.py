"""LEMONADE: parents and children where the cheap objectives are thinly sown, and inherited weights.

Elsken et al. 2019, Efficient Multi-objective Neural Architecture Search via Lamarckian Evolution,
arXiv:1804.09081, algorithm 1: a density estimate over the cheap objectives of the population
chooses the parents and which of their many children are worth the dear objectives; the population
is the front of all so far. A child differs in one gene (an approximate morphism) and is handed over
with its parent, so that an evaluator with weights can inherit them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgenas.core.architecture import Architecture, Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.searchers.base import SearchProblem
from edgenas.searchers.problem import Floats
from edgenas.searchers.rounds import RoundSearcher
from edgenas.searchers.told import Told

_STREAM_CHILDREN = 2
_N_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class LemonadeSettings:
    """Settings; the numbers are defaults of ours.

    Attributes:
        n_first: random architectures before the first children.
        n_proposed: children of a generation whose cheap objectives are looked at.
        n_accepted: of these, how many are evaluated.
    """

    n_first: int = 20
    n_proposed: int = 100
    n_accepted: int = 20

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        if self.n_first < 1:
            raise UsageError(f"n_first is at least 1, got {self.n_first}")
        if not 1 <= self.n_accepted <= self.n_proposed:
            raise UsageError(
                "n_accepted is at least 1 and at most n_proposed, got "
                f"{self.n_accepted} of {self.n_proposed}"
            )


class LemonadeSearcher(RoundSearcher):
    """A round is a generation, made of what the ones before it left on the front."""

    name = "lemonade"
    Settings = LemonadeSettings

    def __init__(
        self, problem: SearchProblem, *, seed: int = 0, settings: LemonadeSettings | None = None
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        self._front: Told | None = None
        self._parents: dict[bytes, bytes] = {}

    def parent(self, arch: Architecture) -> Architecture | None:
        """Return what a proposal of this generation was made from (see `Searcher.parent`)."""
        found = self._parents.get(arch.row.tobytes())
        if found is None:
            return None
        return Architecture(arch.space, tuple(np.frombuffer(found, dtype=np.int8).tolist()))

    def _round_size(self) -> int:
        return int(self.settings.n_first if self.round == 0 else self.settings.n_accepted)

    def _end_round(self, news: list[Evaluation]) -> None:
        self._parents.clear()  # a replay, which asks for nothing in between, knows none of them
        complete = [e for e in news if e.has_values]
        told = Told.of(complete, self.problem.objectives, self.problem.space.n_genes)
        if len(told):
            self._front = (told if self._front is None else self._front + told).front()

    def _proposals(self) -> Iterator[Genes]:
        if self._front is None:
            return iter(())
        return self._candidates(self._children, n_chunks=_N_CHUNKS)

    def _children(self, chunk: int) -> Genes:
        """Return accepted children (algorithm 1, lines 5 to 9), in the order of their drawing."""
        assert self._front is not None  # noqa: S101  # asked for with a front only
        rng = self._rng(_STREAM_CHILDREN, self.round, chunk)
        space, living = self.problem.space, self._front.genes
        costs = self._cheap(living)
        weights = 1 / density(costs, costs)
        parents = rng.choice(len(living), self.settings.n_proposed, p=weights / weights.sum())
        # Probability 0: the one gene that always moves.
        children = space.mutate(living[parents], rng, probability=0.0)
        sound = self.problem.violations(children) <= 0
        children, parents = children[sound], parents[sound]
        if not len(children):
            return children
        weights = 1 / density(costs, self._cheap(children))
        n = min(self.settings.n_accepted, len(children))
        accepted = rng.choice(len(children), n, replace=False, p=weights / weights.sum())
        for child, parent in zip(children[accepted], living[parents[accepted]], strict=True):
            self._parents.setdefault(child.tobytes(), parent.tobytes())
        return np.asarray(children[accepted])

    def _cheap(self, population: Genes) -> Floats:
        """Return the cheap objectives, shape (n, n_cheap)."""
        names = [g.name for g in self.problem.objectives if g.name in self.problem.cheap_names]
        if not names:
            return np.zeros((len(population), 0))
        assert self.problem.cheap is not None  # noqa: S101  # it gave the names
        costs = self.problem.cheap(population)
        return np.stack([np.asarray(costs[name], dtype=np.float64) for name in names], axis=1)


def density(known: Floats, asked: Floats) -> Floats:
    """Return a Gaussian kernel density estimate, up to a factor, shape (n_asked,), never 0.

    Args:
        known: the points that it is estimated from, shape (n_known, n_values).
        asked: where, shape (n_asked, n_values).

    The bandwidth is Scott's, a value at a time (Scott 1992, doi:10.1002/9780470316849).
    """
    spread = known.std(axis=0)
    spread[spread == 0] = 1.0
    bandwidth = spread * len(known) ** (-1.0 / (known.shape[1] + 4))
    away = (asked[:, None] - known[None]) / bandwidth
    found = np.exp(-0.5 * (away**2).sum(axis=2)).mean(axis=1)
    return np.asarray(np.maximum(found, 1e-3), dtype=np.float64)
