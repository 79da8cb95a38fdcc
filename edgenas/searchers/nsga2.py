"""NSGA-II, elitist multi-objective evolution with constrained domination.

Deb et al. 2002, A fast and elitist multiobjective genetic algorithm: NSGA-II,
doi:10.1109/4235.996017. Lu et al. 2019 (NSGA-Net), arXiv:1810.03522, search architectures with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.searchers.base import SearchProblem
from edgenas.searchers.rounds import RoundSearcher
from edgenas.searchers.told import Told

_STREAM_OFFSPRING = 2
_OFFSPRING_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class Nsga2Settings:
    """Defaults of the paper; a mutation probability of None is one gene of `n_genes`.

    One gene of a child changes in any case: a child that is its parent would teach nothing.
    """

    population_size: int = 100
    crossover_probability: float = 0.9
    mutation_probability: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        if self.population_size < 2:
            raise UsageError(f"population_size is at least 2, got {self.population_size}")
        for name in ("crossover_probability", "mutation_probability"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name} lies in [0, 1], got {value}")


class Nsga2Searcher(RoundSearcher):
    """NSGA-II: a round is a generation.

    Generation g starts when g populations have been told; its offspring are an endless sequence
    that the survivors and the seed decide.
    """

    name = "nsga2"
    Settings = Nsga2Settings

    def __init__(
        self, problem: SearchProblem, *, seed: int = 0, settings: Nsga2Settings | None = None
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        self._survivors: Told | None = None

    def _round_size(self) -> int:
        return int(self.settings.population_size)

    def _end_round(self, news: list[Evaluation]) -> None:
        pool = Told.of(news, self.problem.objectives, self.problem.space.n_genes)
        if self._survivors is not None:
            pool = self._survivors + pool
        self._survivors = pool.best(self.settings.population_size)

    def _proposals(self) -> Iterator[Genes]:
        if self._survivors is None:
            return iter(())
        return self._candidates(self._make_offspring, n_chunks=_OFFSPRING_CHUNKS)

    def _make_offspring(self, chunk: int) -> Genes:
        """Return a population of children of the survivors.

        Parents win binary tournaments by the crowded comparison (section III-B).
        """
        assert self._survivors is not None  # noqa: S101  # asked for after generation 0 only
        rng = self._rng(_STREAM_OFFSPRING, self.round, chunk)
        n, space = self.settings.population_size, self.problem.space
        left = self._survivors.genes[self._survivors.tournament(n, 2, rng)]
        right = self._survivors.genes[self._survivors.tournament(n, 2, rng)]
        crossed = space.crossover(left, right, rng)
        mated = rng.random(n) < self.settings.crossover_probability
        children = np.where(mated[:, None], crossed, left)
        return space.mutate(children, rng, probability=self.settings.mutation_probability)


@dataclass(frozen=True, slots=True)
class NsgaNetSettings(Nsga2Settings):
    """NSGA-Net's population: 40 networks, and as many offspring."""

    population_size: int = 40


class NsgaNetSearcher(Nsga2Searcher):
    """NSGA-II with the settings of NSGA-Net."""

    name = "nsga_net"
    Settings = NsgaNetSettings
