"""NSGA-II, elitist multi-objective evolution with constrained domination.

Deb et al. 2002, A fast and elitist multiobjective genetic algorithm: NSGA-II,
doi:10.1109/4235.996017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.pareto import constrained_ranks, crowding_distances
from edgenas.searchers.base import Searcher, SearchProblem
from edgenas.searchers.problem import Floats

_STREAM_DRAWS, _STREAM_OFFSPRING = 1, 2
_OFFSPRING_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class Nsga2Settings:
    """Defaults of the paper; a mutation probability of None is one gene of `n_genes`."""

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


@dataclass(frozen=True, slots=True)
class _Population:
    """Told architectures: genes (n, n_genes), points (n, n_objectives), violations (n,)."""

    genes: Genes
    points: Floats
    violations: Floats

    def order(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ranks and crowding distances under constrained domination, each (n,)."""
        ranks = constrained_ranks(self.points, self.violations)
        crowding = np.zeros(len(ranks))
        feasible = self.violations <= 0
        crowding[feasible] = crowding_distances(self.points[feasible], ranks[feasible])
        return ranks, crowding

    def best(self, n: int) -> _Population:
        """Return the `n` that survive: lower fronts first, lonelier first inside a front."""
        ranks, crowding = self.order()
        kept = np.lexsort((-crowding, ranks))[:n]
        return _Population(self.genes[kept], self.points[kept], self.violations[kept])


class Nsga2Searcher(Searcher):
    """NSGA-II whose generations end by what was told, not by what was asked.

    Generation g starts when g populations have been told. Its offspring are an endless
    sequence that the survivors and the seed decide; whoever asks for more than a population gets
    more of the same generation. When offspring are all known, random ones take their place.
    """

    name = "nsga2"
    Settings = Nsga2Settings

    def __init__(
        self, problem: SearchProblem, *, seed: int = 0, settings: Nsga2Settings | None = None
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        self._generation = 0
        self._news: list[Evaluation] = []
        self._survivors: _Population | None = None
        self._ranking: tuple[Any, Any] = ((), ())
        self._start_generation()

    def _propose(self) -> Genes | None:
        row = None
        if self._survivors is not None:
            row = self._first_fresh(self._offspring)
        if row is None:
            row = self._first_fresh(self._draws)
        return self._last_resort() if row is None else row

    def _learn(self, evaluation: Evaluation) -> None:
        self._news.append(evaluation)
        if len(self._news) < self.settings.population_size:
            return
        pool = self._population(self._news)
        if self._survivors is not None:
            old = self._survivors
            pool = _Population(
                np.concatenate([old.genes, pool.genes]),
                np.concatenate([old.points, pool.points]),
                np.concatenate([old.violations, pool.violations]),
            )
        self._survivors = pool.best(self.settings.population_size)
        self._ranking = self._survivors.order()
        self._news = []
        self._generation += 1
        self._start_generation()

    def _start_generation(self) -> None:
        self._draws = self._random_candidates(_STREAM_DRAWS, self._generation)
        self._offspring = self._candidates(self._make_offspring, n_chunks=_OFFSPRING_CHUNKS)

    def _make_offspring(self, chunk: int) -> Genes:
        """Return a population of children of the survivors."""
        assert self._survivors is not None  # noqa: S101  # asked for after generation 0 only
        rng = self._rng(_STREAM_OFFSPRING, self._generation, chunk)
        n, space = self.settings.population_size, self.problem.space
        left = self._survivors.genes[self._tournament(n, rng)]
        right = self._survivors.genes[self._tournament(n, rng)]
        crossed = space.crossover(left, right, rng)
        mated = rng.random(n) < self.settings.crossover_probability
        children = np.where(mated[:, None], crossed, left)
        return space.mutate(children, rng, probability=self.settings.mutation_probability)

    def _tournament(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` winners of binary tournaments by the crowded comparison (section III-B)."""
        ranks, crowding = self._ranking
        one, two = rng.integers(0, len(ranks), (2, n))
        better = (ranks[two] < ranks[one]) | (
            (ranks[two] == ranks[one]) & (crowding[two] > crowding[one])
        )
        return np.asarray(np.where(better, two, one))

    def _population(self, evaluations: list[Evaluation]) -> _Population:
        goals = self.problem.objectives
        genes = np.array([evaluation.arch.genes for evaluation in evaluations], dtype=np.int8)
        points = np.array(
            [
                [goal.minimised(evaluation.values.get(goal.name, math.nan)) for goal in goals]
                for evaluation in evaluations
            ]
        )
        return _Population(genes, points, np.array([_violation(e) for e in evaluations]))


def _violation(evaluation: Evaluation) -> float:
    """Return 0 for complete, more for infeasible, inf for failed evaluations."""
    if evaluation.status == "complete":
        return 0.0
    if evaluation.status == "failed":
        return math.inf
    return max(evaluation.violation, math.ulp(0.0))
