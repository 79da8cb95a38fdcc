"""What searches by a predictor learn accuracy with: telling subnets first, then the best kind."""

from __future__ import annotations

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import DataError
from edgenas.evaluators.predictors.features import Floats
from edgenas.evaluators.predictors.fitting import fit_predictor
from edgenas.evaluators.predictors.sampling import choose_subnets
from edgenas.searchers.learner import LinearLearner, Prediction
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import Fold, macs

KINDS = ("ridge", "gaussian_process")
"""Those that are fitted in seconds; a search fits again and again."""


class AccuracyLearner(LinearLearner):
    """A `edgenas.searchers.learner.Learner` of accuracy.

    Args:
        cost: a sum over which the first architectures are spread; default: the MACs.
    """

    def __init__(self, cost: Fold | None = None) -> None:
        self.cost = cost

    def choose(self, space: SearchSpace, n: int, *, seed: int) -> Genes:
        """Return the most telling architectures (see `choose_subnets`); small spaces have fewer."""
        cost = macs(space) if self.cost is None else self.cost
        there = min(n, BudgetProgram(cost).size())
        return choose_subnets(space, there, np.random.default_rng(seed), cost=cost, seed=seed)

    def fit(
        self, space: SearchSpace, population: Genes, values: Floats, *, seed: int
    ) -> Prediction:
        """Return the kind that ranks what it has not seen best; of too few, a linear function."""
        try:
            return fit_predictor(space, population, values, kinds=KINDS, seed=seed)
        except DataError:
            return super().fit(space, population, values, seed=seed)
