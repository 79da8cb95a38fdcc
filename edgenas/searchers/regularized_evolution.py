"""Regularised evolution: the winner of a tournament is mutated, the oldest dies.

Real et al. 2019, Regularized Evolution for Image Classifier Architecture Search,
arXiv:1802.01548, algorithm 1. The paper has one objective; with several, the winner is of the
sample's best front, and of that the loneliest (as in NSGA-II).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.searchers.base import SearchProblem
from edgenas.searchers.rounds import RoundSearcher
from edgenas.searchers.told import Told

_STREAM_CHILDREN = 2
_CHUNK, _N_CHUNKS = 16, 64


@dataclass(frozen=True, slots=True)
class RegularizedEvolutionSettings:
    """Defaults are those of the paper's large experiments (P and S of section 3.3).

    Attributes:
        population_size: of living architectures.
        sample_size: entrants of a tournament.
    """

    population_size: int = 100
    sample_size: int = 25

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        if not 1 <= self.sample_size <= self.population_size:
            raise UsageError(
                "sample_size is at least 1 and at most population_size, got "
                f"{self.sample_size} of {self.population_size}"
            )


class RegularizedEvolutionSearcher(RoundSearcher):
    """Round 0 fills the population at random; after that every evaluation ends a round.

    A child differs from its parent in one gene. Failed and infeasible children live and age
    like others, and lose every tournament against sound ones.
    """

    name = "regularized_evolution"
    Settings = RegularizedEvolutionSettings

    def __init__(
        self,
        problem: SearchProblem,
        *,
        seed: int = 0,
        settings: RegularizedEvolutionSettings | None = None,
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        self._living: list[Evaluation] = []

    def _round_size(self) -> int:
        return int(self.settings.population_size) if self.round == 0 else 1

    def _end_round(self, news: list[Evaluation]) -> None:
        self._living = (self._living + news)[-self.settings.population_size :]

    def _proposals(self) -> Iterator[Genes]:
        if not self._living:
            return iter(())
        space = self.problem.space
        told = Told.of(self._living, self.problem.objectives, space.n_genes)

        def children(chunk: int) -> Genes:
            rng = self._rng(_STREAM_CHILDREN, self.round, chunk)
            winners = told.tournament(_CHUNK, self.settings.sample_size, rng)
            # Probability 0: the one gene that always moves.
            return space.mutate(told.genes[winners], rng, probability=0.0)

        return self._candidates(children, n_chunks=_N_CHUNKS)
