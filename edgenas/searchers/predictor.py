"""Search by a predictor: evaluate few, learn the dear objectives, select over arrays, go on.

As LINAS (Cummings et al. 2022, arXiv:2205.10358) and NSGANetV2 (Lu et al. 2020, arXiv:2007.10396)
do: what the fit calls the front is evaluated next, and joins what it is fitted to. Where every
objective is cheap there is nothing to learn: what the selection finds is proposed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.searchers.arrays.problem import ACCURACY, Limits, Numbers
from edgenas.searchers.arrays.select import select
from edgenas.searchers.base import Searcher, SearchProblem
from edgenas.searchers.learner import Learner, LinearLearner
from edgenas.searchers.problem import Floats, cost_key

_STREAM_DRAWS, _STREAM_SEEDS = 1, 2


@dataclass(frozen=True, slots=True)
class PredictorSettings:
    """Settings.

    Attributes:
        n_first: architectures evaluated before the first fit.
        n_between: evaluations between two fits.
        n_predictions: most predictions a selection makes.
    """

    n_first: int = 60
    n_between: int = 40
    n_predictions: int = 200_000

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        for name, least in (("n_first", 4), ("n_between", 1), ("n_predictions", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is at least {least}, got {getattr(self, name)}")


class PredictorSearcher(Searcher):
    """Rounds end by what was told: round r is fitted to the first `n_first` + (r - 1) `n_between`.

    The members of a round's predicted front are proposed from one end to the other and back in ever
    smaller steps, so that few evaluations are spread over all of it. When all are known, random
    architectures take their place.
    """

    name = "predictor"
    Settings = PredictorSettings

    def __init__(
        self, problem: SearchProblem, *, seed: int = 0, settings: PredictorSettings | None = None
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        self.learner: Learner = problem.learner or LinearLearner()
        self._complete: list[Evaluation] = []
        self._round = -1
        self._proposals: Iterator[Genes] = iter(())
        self._draws = self._random_candidates(_STREAM_DRAWS)
        self._cheap = problem.cheap_names
        self._dear = [goal for goal in problem.objectives if goal.name not in self._cheap]

    def _propose(self) -> Genes | None:
        due = self._due()
        if due != self._round:
            self._round = due
            self._proposals = iter(self._candidates_of(due))
        row = self._first_fresh(self._proposals)
        if row is None:
            row = self._first_fresh(self._draws)
        return self._last_resort() if row is None else row

    def _learn(self, evaluation: Evaluation) -> None:
        if evaluation.has_values:
            self._complete.append(evaluation)

    # -- internal --------------------------------------------------------------------------

    def _due(self) -> int:
        if not self._dear:
            return 1
        beyond = len(self._complete) - self.settings.n_first
        return 0 if beyond < 0 else 1 + beyond // self.settings.n_between

    def _candidates_of(self, number: int) -> Genes:
        """Return what round `number` proposes, in order; round 0 has nothing to predict with."""
        space, seed = self.problem.space, int(self._rng(_STREAM_SEEDS, number).integers(2**31))
        if number == 0:
            chosen = self.learner.choose(space, self.settings.n_first, seed=seed)
            return self._feasible(space.canonical(chosen))
        n_known = self.settings.n_first + (number - 1) * self.settings.n_between
        front = self._select(self._fits(self._complete[:n_known], seed), seed)
        return _spread(self._feasible(front))

    def _select(self, fits: Mapping[str, Numbers], seed: int) -> Genes:
        """Return the front of cheap values and of fits to the dear ones, one end first."""
        problem = self.problem
        names = [goal.name for goal in problem.objectives]
        limits: dict[str, float] = {}
        for constraint in problem.constraints:
            key = cost_key(constraint.name, constraint.confidence)
            if key in self._cheap and constraint.name != ACCURACY:
                limits[key] = constraint.limit
        given: dict[str, Numbers] = {
            name: fits.get(name) or problem.folds.get(name) or partial(self._cost, name)
            for name in dict.fromkeys([*names, *limits])
        }
        front = select(
            problem.space,
            {name: values for name, values in given.items() if name != ACCURACY},
            accuracy=given.get(ACCURACY),
            objectives=names,
            constraints=limits,
            seed=seed,
            limits=Limits(n_evaluations=self.settings.n_predictions),
        )
        return front.genes

    def _fits(self, known: list[Evaluation], seed: int) -> Mapping[str, Numbers]:
        genes = np.array([evaluation.arch.genes for evaluation in known], dtype=np.int8)
        found: dict[str, Numbers] = {}
        for goal in self._dear:
            values = np.array([evaluation.values.get(goal.name, math.nan) for evaluation in known])
            found[goal.name] = self.learner.fit(self.problem.space, genes, values, seed=seed)
        return found

    def _cost(self, name: str, population: Genes) -> Floats:
        assert self.problem.cheap is not None  # noqa: S101  # it gave the name
        return np.asarray(self.problem.cheap(population)[name], dtype=np.float64)


def _spread(genes: Genes) -> Genes:
    """Return rows in an order whose every beginning is spread over all of them.

    The bits of the place are turned around (van der Corput 1935).
    """
    n_bits = max(1, (len(genes) - 1).bit_length())
    places = np.arange(1 << n_bits)
    turned = np.zeros_like(places)
    for bit in range(n_bits):
        turned |= ((places >> bit) & 1) << (n_bits - 1 - bit)
    return genes[turned[turned < len(genes)]]
