"""Surrogate search: a model of each dear objective, the most promising next, and again.

The loop is that of NSGANetV2 (Lu et al. 2020, arXiv:2007.10396) and LINAS (Cummings et al. 2022,
arXiv:2205.10358): fit a model to all evaluations, search on it, evaluate the next batch. Promising
is what makes the hypervolume grow most in expectation (`edgenas.searchers.acquisition`), or what is
Pareto-optimal at its mean plus some deviations. Costs that are known beforehand are used as they
are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import norm

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Objective
from edgenas.pareto import ordered
from edgenas.searchers.acquisition import expected_gains, nodes
from edgenas.searchers.base import SearchProblem
from edgenas.searchers.neighbours import neighbours
from edgenas.searchers.problem import Floats, minimised
from edgenas.searchers.rounds import RoundSearcher
from edgenas.searchers.surrogates.base import Model, Normal
from edgenas.searchers.surrogates.ensemble import Ensemble
from edgenas.searchers.surrogates.process import GaussianProcess, most_probable
from edgenas.searchers.surrogates.scales import scale_of
from edgenas.searchers.told import Told

_STREAM_POOL, _STREAM_SEEDS = 2, 3
_LEAST_VALUED = 4
_REFIT_GROWTH = 1.15
_N_GENERATIONS, _N_PARENTS = 3, 100
MODELS = ("process", "ensemble")
ACQUISITIONS = ("gain", "pareto")


@dataclass(frozen=True, slots=True)
class SurrogateSettings:
    """Settings; the numbers are defaults of ours.

    Attributes:
        n_first: random architectures before the first fit.
        n_between: evaluations between two fits.
        model: ``process`` (Gaussian process) or ``ensemble`` (perceptrons).
        acquisition: ``gain`` (expected hypervolume improvement) or ``pareto``.
        deviations: of ``pareto``: how far above its mean an objective is hoped to be.
        n_pool: architectures that the models look at, in a space too large to be listed.
    """

    n_first: int = 20
    n_between: int = 5
    model: str = "process"
    acquisition: str = "gain"
    deviations: float = 1.0
    n_pool: int = 4000

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        for name, least in (("n_first", 2), ("n_between", 1), ("n_pool", 10)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is at least {least}, got {getattr(self, name)}")
        for name, known in (("model", MODELS), ("acquisition", ACQUISITIONS)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is one of {', '.join(known)}, got {getattr(self, name)}")
        if self.deviations < 0:
            raise UsageError(f"deviations is not negative, got {self.deviations}")


class SurrogateSearcher(RoundSearcher):
    """A round is a fit and what it found promising, the most promising first."""

    name = "surrogate"
    Settings = SurrogateSettings

    def __init__(
        self, problem: SearchProblem, *, seed: int = 0, settings: SurrogateSettings | None = None
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        cheap = problem.cheap_names
        self._dear = [goal for goal in problem.objectives if goal.name not in cheap]
        self._complete: list[Evaluation] = []
        self._valued: list[Evaluation] = []  # with all dear values, infeasible ones too
        self._refits = [0]  # how many were valued when a process's numbers were to be fitted anew
        self._numbers: dict[tuple[str, int], Floats] = {}
        self._known: set[bytes] = set()  # told in rounds that have ended

    # -- the contract ----------------------------------------------------------------------

    def _round_size(self) -> int:
        return int(self.settings.n_first if self.round == 0 else self.settings.n_between)

    def _end_round(self, news: list[Evaluation]) -> None:
        self._known.update(e.arch.row.tobytes() for e in news)
        self._complete += [e for e in news if e.has_values]
        names = [goal.name for goal in self._dear]
        self._valued += [
            e
            for e in news
            if e.status != "failed" and all(math.isfinite(e.values.get(n, math.nan)) for n in names)
        ]
        if len(self._valued) >= _REFIT_GROWTH * self._refits[-1]:
            self._refits.append(len(self._valued))

    def _proposals(self) -> Iterator[Genes]:
        if len(self._valued) < _LEAST_VALUED:
            return iter(())
        models = [self._fit(goal) for goal in self._dear]
        pool = self._pool(models)
        if not len(pool):
            return iter(())
        return iter(pool[np.argsort(-self._worth(pool, models), kind="stable")])

    # -- models ----------------------------------------------------------------------------

    def _fit(self, goal: Objective) -> Model:
        """Return the model of a dear objective, on its scale."""
        genes = _genes(self._valued)
        values = scale_of(goal).to(np.array([e.values[goal.name] for e in self._valued]))
        blocks = self._blocks(genes)
        if self.settings.model == "ensemble":
            seed = int(self._rng(_STREAM_SEEDS, self.round).integers(2**31))
            return Ensemble.fit(blocks, values, seed=seed)
        # The numbers come from the evaluations before the last refit alone: a replay, which asks
        # in no round before, has the same.
        n = self._refits[-1]
        key = (goal.name, n)
        if key not in self._numbers:
            first = [block[:n] for block in blocks]
            self._numbers[key] = most_probable(first, values[:n])
        return GaussianProcess.fit(blocks, values, self._numbers[key])

    def _blocks(self, population: Genes) -> list[Floats]:
        return [block.astype(np.float64) for block in self.problem.space.features(population)]

    # -- candidates ------------------------------------------------------------------------

    @cached_property
    def _every(self) -> Genes:
        """All feasible architectures of a small space."""
        return self._listing()

    def _pool(self, models: list[Model]) -> Genes:
        """Return feasible candidates, not told in earlier rounds, shape (n, n_genes)."""
        if len(self._every):
            return self._unknown(self._every)
        rng = self._rng(_STREAM_POOL, self.round)
        space, n = self.problem.space, self.settings.n_pool
        front = Told.of(self._complete, self.problem.objectives, space.n_genes).front().genes
        parts = [self.problem.sample(n // 2, rng)]
        if len(front):
            parts += [neighbours(space, genes) for genes in front]
            parts.append(self._children(front, n // 2, rng))
        pool = self._unknown(self._feasible(np.concatenate(parts)))
        for _ in range(_N_GENERATIONS):
            if not len(pool):
                break
            best = pool[np.argsort(-self._worth(pool, models), kind="stable")][:_N_PARENTS]
            news = self._feasible(self._children(best, n // 2, rng))
            pool = self._unknown(np.concatenate([best, news]))
        return pool

    def _children(self, parents: Genes, n: int, rng: np.random.Generator) -> Genes:
        left, right = parents[rng.integers(0, len(parents), (2, n))]
        space = self.problem.space
        return space.mutate(space.crossover(left, right, rng), rng)

    def _unknown(self, population: Genes) -> Genes:
        rows = np.unique(population, axis=0)
        return rows[[row.tobytes() not in self._known for row in rows]]

    # -- worth -----------------------------------------------------------------------------

    def _worth(self, pool: Genes, models: list[Model]) -> Floats:
        """Return by what candidates are ordered, more is better, shape (n,)."""
        places, weights = nodes(len(models))
        costs = self.problem.cheap(pool) if self.problem.cheap is not None else {}
        expected = [model(self._blocks(pool)) for model in models]
        hopes = -self.settings.deviations * np.ones((1, len(models)))
        gain = self.settings.acquisition == "gain"
        points = self._points(costs, expected, places if gain else hopes, len(pool))
        front = Told.of(self._complete, self.problem.objectives, self.problem.space.n_genes).front()
        if gain:
            worth = expected_gains(points, weights, front.points, self._reference(costs))
        else:
            together = np.concatenate([points[:, 0], front.points])
            order = ordered(together)
            worth = np.empty(len(together))
            worth[order] = -np.arange(len(together))
            worth = worth[: len(pool)] + len(together)
        return worth * self._chance(expected)

    def _points(
        self,
        costs: Mapping[str, Any],
        expected: list[Normal],
        deviations: Floats,
        n: int,
    ) -> Floats:
        """Return what candidates may turn out to be, minimised, (n, n_deviations, n_objectives)."""
        points = np.empty((n, len(deviations), len(self.problem.objectives)))
        dear = 0
        for column, goal in enumerate(self.problem.objectives):
            if goal in self._dear:
                modelled = expected[dear].at(deviations[:, dear])
                points[:, :, column] = scale_of(goal).back(modelled)
                dear += 1
            else:
                points[:, :, column] = minimised(goal, costs[goal.name])[:, None]
        return points

    def _reference(self, costs: Mapping[str, Any]) -> Floats:
        """Return the worst known value of every objective, minimised, shape (n_objectives,)."""
        told = [
            max(
                (g.minimised(e.values[g.name]) for e in self._valued if g.name in e.values),
                default=-math.inf,
            )
            for g in self.problem.objectives
        ]
        free = [
            float(minimised(g, costs[g.name]).max()) if g.name in costs else -math.inf
            for g in self.problem.objectives
        ]
        return np.maximum(told, free)

    def _chance(self, expected: list[Normal]) -> Floats | float:
        """Return how probably each candidate keeps the constraints on dear objectives, (n,)."""
        chance: Floats | float = 1.0
        for goal, normal in zip(self._dear, expected, strict=True):
            for limit in (c.limit for c in self.problem.constraints if c.name == goal.name):
                most = scale_of(goal).to(np.array([limit]))
                chance = chance * norm.cdf((most - normal.mean) / normal.std)
        return chance


def _genes(evaluations: list[Evaluation]) -> Genes:
    return np.array([e.arch.genes for e in evaluations], dtype=np.int8)
