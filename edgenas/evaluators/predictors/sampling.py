"""Chooses the subnets whose accuracy is worth knowing: spread over costs, telling, near the front.

Candidates are drawn over the whole range of a cost without rejection (`BudgetProgram`); of them
those are chosen that teach a predictor most (`edgenas.evaluators.predictors.design`), with the
extremes first. Once some accuracies are known, half of what is asked for is to teach about
architectures that look good for their cost: a search ends there.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.evaluators.predictors.design import PriorProcess, most_telling
from edgenas.evaluators.predictors.features import Features, Floats, Singles
from edgenas.evaluators.predictors.fitting import distinct
from edgenas.evaluators.predictors.process import GaussianProcess
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import Fold, macs

N_CANDIDATES = 1500
"""Architectures of which some are chosen, at least."""

_PER_CHOICE = 3  # candidates for each that is wanted, if that is more
_N_LEVELS = 16  # of the cost, over which candidates are spread
_N_GENERATIONS = 12
_N_TARGET = 800
_NEAR = 0.25  # the share of each level that counts as near the front


class _Process(Protocol):
    """A Gaussian process: what the choice needs of it."""

    @property
    def noise(self) -> float:
        """Variance of one evaluation."""

    def covariance(self, left: Singles, right: Singles) -> Floats:
        """Return the covariance of two sets of architectures, shape (n, m)."""


def choose_subnets(  # noqa: PLR0913
    space: SearchSpace,
    n: int,
    rng: np.random.Generator,
    *,
    cost: Fold | None = None,
    known: tuple[Genes, Floats] | None = None,
    seed: int = 0,
) -> Genes:
    """Return `n` distinct architectures to evaluate next, the most telling first.

    Args:
        space: to choose from.
        n: how many.
        rng: draws the candidates.
        cost: a sum over which candidates are spread, such as a table's latency
            (`CostModel.fold`); default: the MACs.
        known: architectures that were evaluated, shape (n_known, n_genes), and their
            accuracies, fractions; they are not chosen again. With at least ten of them a
            process is fitted, and half of the choice is made for architectures near the front.
        seed: of that fit.

    Returns:
        Canonical genes, shape (n, n_genes). Without `known`, the cheapest and the dearest
        architecture come first.

    Raises:
        UsageError: the space has not so many architectures left.
        SpaceError, DataError: `known` is not of the space, or holds no fractions.
    """
    own = macs(space) if cost is None else cost
    program = BudgetProgram(own)
    rows, accuracy = _known(space, known)
    left = program.size() - len(rows)
    if not 0 < n <= left:
        raise UsageError(f"{n} architectures are wanted of {space.name}, which has {left} more")
    wanted = max(N_CANDIDATES, _PER_CHOICE * n)
    pool = spread_over_cost(program, wanted, rng)
    features = Features.scaled_to(space, pool)
    process: _Process = PriorProcess(features, features(pool))
    target = pool[rng.permutation(len(pool))[:_N_TARGET]]
    if len(rows) >= 10 and np.ptp(accuracy) > 0:
        scaled = (accuracy - accuracy.mean()) / accuracy.std()
        features = Features.scaled_to(space, rows)
        fitted = GaussianProcess.fit(features, features(rows), scaled, seed=seed)
        process = fitted
        good = near_front(fitted, features, own, pool, rng)
        target = np.vstack([target[: _N_TARGET // 2], good[: _N_TARGET // 2]])
        pool = np.vstack([pool[: wanted // 2], good[: wanted // 2]])
    first = rows if len(rows) else np.stack([program.least()[1], program.greatest()[1]])
    pool = _filled(space, np.vstack([first, pool]), len(rows) + n, rng)
    values = features(pool)
    fixed = tuple(range(len(rows) if len(rows) else min(n, len(np.unique(first, axis=0)))))
    chosen = most_telling(
        process.covariance(values, values),
        process.covariance(features(target), values),
        n if len(rows) else n - len(fixed),
        noise=process.noise,
        known=fixed,
    )
    order = chosen if len(rows) else [*fixed, *chosen]
    return pool[order]


def spread_over_cost(program: BudgetProgram, n: int, rng: np.random.Generator) -> Genes:
    """Return about `n` distinct architectures, as many at each level of the cost.

    Uniform draws under each of a ladder of budgets end close to that budget; draws of uniform
    genes and the extremes of the cost join them.
    """
    least, cheapest = program.least()
    greatest, dearest = program.greatest()
    budgets = np.linspace(least, greatest, _N_LEVELS + 1)[1:]
    each = -(-n // (_N_LEVELS + 1))
    drawn = [program.sample(each, float(budget), rng) for budget in budgets]
    drawn += [program.space.sample(each, rng), np.stack([cheapest, dearest])]
    return _distinct_rows(program.space.canonical(np.vstack(drawn)))


def near_front(
    process: GaussianProcess,
    features: Features,
    cost: Fold,
    population: Genes,
    rng: np.random.Generator,
) -> Genes:
    """Return distinct architectures that the process thinks good for their cost, as many or fewer.

    The best of each level of the cost are crossed with each other and mutated, again and again.
    """
    space = features.space
    edges = np.quantile(cost(population), np.linspace(0, 1, _N_LEVELS + 1)[1:-1])
    n = len(population)
    best = population
    for _ in range(_N_GENERATIONS):
        parents = best[rng.integers(0, len(best), (2, n))]
        children = space.mutate(space.crossover(parents[0], parents[1], rng), rng)
        pool = _distinct_rows(np.vstack([best, children]))
        value, level = process(features(pool)), np.searchsorted(edges, cost(pool))
        best = np.vstack(
            [
                pool[rows[np.argsort(-value[rows])[: max(int(_NEAR * n / _N_LEVELS), 1)]]]
                for rows in (np.flatnonzero(level == i) for i in range(_N_LEVELS))
                if len(rows)
            ]
        )
    return best[rng.permutation(len(best))]


def _known(space: SearchSpace, known: tuple[Genes, Floats] | None) -> tuple[Genes, Floats]:
    if known is None:
        return np.zeros((0, space.n_genes), dtype=np.int8), np.zeros(0)
    rows, accuracy, _ = distinct(space, *known)
    return rows, accuracy


def _distinct_rows(population: Genes) -> Genes:
    """Return the rows of `population`, each where it first stands."""
    _, first = np.unique(population, axis=0, return_index=True)
    return population[np.sort(first)]


def _filled(space: SearchSpace, pool: Genes, n: int, rng: np.random.Generator) -> Genes:
    """Return distinct candidates, at least `n`: small spaces are drawn from until that many."""
    pool = _distinct_rows(pool)
    while len(pool) < n:
        pool = _distinct_rows(np.vstack([pool, space.sample(64, rng), space.mutate(pool, rng)]))
    return pool
