"""NetAdapt: from a given network, step by step, under a falling budget.

Yang et al. 2018, NetAdapt, arXiv:1804.03230, algorithm 1. The choice by accuracy lost for each unit
of cost saved is that of Howard et al. 2019 (MobileNetV3), arXiv:1905.02244, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Objective
from edgenas.searchers.base import Searcher, SearchProblem
from edgenas.searchers.goals import Goals
from edgenas.searchers.neighbours import changes_by_gene, neighbours
from edgenas.searchers.problem import Floats, minimised

_STREAM_DRAWS, _STREAM_STARTS = 1, 2


@dataclass(frozen=True, slots=True)
class NetAdaptSettings:
    """Settings.

    Attributes:
        start: options by gene of the given network, as `SearchSpace.describe` writes them; empty:
            the space's largest.
        cost: which cheap objective is the budget; empty: the first one that is cheap.
        first_reduction: share of the given network's cost that the first step saves (section 4.1).
        decay: factor from one step's saving to the next one's.
        choice: ``accuracy`` keeps a step's most accurate proposal, ``ratio`` the one that loses
            least accuracy for the cost that it saves.
    """

    start: Mapping[str, int | float | str] = field(default_factory=dict)
    cost: str = ""
    first_reduction: float = 0.025
    decay: float = 0.96
    choice: str = "accuracy"

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        if not 0 < self.first_reduction < 1:
            raise UsageError(f"first_reduction lies in (0, 1), got {self.first_reduction}")
        if not 0 < self.decay <= 1:
            raise UsageError(f"decay lies in (0, 1], got {self.decay}")
        if self.choice not in ("accuracy", "ratio"):
            raise UsageError(f"choice is 'accuracy' or 'ratio', got {self.choice!r}")
        object.__setattr__(self, "start", dict(self.start))


@dataclass(frozen=True, slots=True)
class _Step:
    """Where a descent stands: the network that it reached, and what it proposes next."""

    genes: Genes
    proposals: Genes  # (n, n_genes); the given network itself at first
    budget: float
    saving: float  # of the next step


class NetAdaptSearcher(Searcher):
    """Every step proposes, for each gene, the smallest change that meets the step's budget.

    Where no change of a gene saves enough, the one that saves most stands for it, and the next
    budget counts from what was reached. A network that breaks constraints on cheap costs, which may
    not be evaluated, is brought within them by its smallest reductions. When nothing can be made
    cheaper, the descent begins again at a random network. Accuracy decides; without that objective,
    the first one that is not cheap.

    Raises:
        UsageError: no cost is cheap.
    """

    name = "netadapt"
    Settings = NetAdaptSettings

    def __init__(
        self, problem: SearchProblem, *, seed: int = 0, settings: NetAdaptSettings | None = None
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        self._cost, self._goal = self._chosen()
        self._known: dict[bytes, float | None] = {}  # what decides, minimised; None has failed
        self._draws = self._random_candidates(_STREAM_DRAWS)
        self._starts = self._random_candidates(_STREAM_STARTS)
        self._step: _Step | None = self._begun(self._given())

    def _propose(self) -> Genes | None:
        self._go_on()
        if self._step is not None:
            row = self._first_fresh(iter(self._step.proposals))
            if row is not None:
                return row
        # All of the step is asked and not told yet, or the space has been gone through.
        row = self._first_fresh(self._draws)
        return self._last_resort() if row is None else row

    def _learn(self, evaluation: Evaluation) -> None:
        value = None
        if evaluation.has_values:
            value = self._goal.minimised(evaluation.values[self._goal.name])
        self._known[evaluation.arch.row.tobytes()] = value

    # -- internal --------------------------------------------------------------------------

    def _chosen(self) -> tuple[Objective, Objective]:
        """Return the objectives that are the budget and that decide."""
        goals, cheap = Goals.of(self.problem), self.problem.cheap_names
        named = [goal.name for goal in goals.costs if goal.name in cheap]
        wanted = self.settings.cost or (named[0] if named else "")
        if wanted not in named:
            names = ", ".join(goal.name for goal in self.problem.objectives)
            raise UsageError(
                f"netadapt lowers a cheap cost (here {', '.join(named) or 'none'}) and keeps "
                f"{goals.bought.name}; got cost {wanted!r} and the objectives {names}"
            )
        return goals.cost(wanted, self.name), goals.bought

    def _costs(self, population: Genes) -> Floats:
        assert self.problem.cheap is not None  # noqa: S101  # it gave the name
        return minimised(self._cost, self.problem.cheap(population)[self._cost.name])

    def _given(self) -> Genes:
        space = self.problem.space
        if not self.settings.start:
            return space.largest()
        return space.parse(self.settings.start)

    def _begun(self, genes: Genes) -> _Step | None:
        """Return a descent's first step, which proposes its network; None if no way is feasible."""
        current = genes
        while self.problem.violations(current[None])[0] > 0:
            around = neighbours(self.problem.space, current)
            broken = self.problem.violations(around)
            better = np.flatnonzero(broken < self.problem.violations(current[None])[0])
            if not len(better):
                return None
            current = around[better[broken[better].argmax()]]
        cost = float(self._costs(current[None])[0])
        return _Step(current, current[None], cost, abs(cost) * self.settings.first_reduction)

    def _go_on(self) -> None:
        """Take every step whose proposals are all known, and begin again where there is none."""
        while True:
            while self._step is not None and all(
                row.tobytes() in self._known for row in self._step.proposals
            ):
                self._step = self._next(self._step)
            if self._step is not None:
                return
            start = next(islice(self._starts, 1), None)
            if start is None:
                return
            self._step = self._begun(start)

    def _next(self, step: _Step) -> _Step | None:
        """Return the step after one whose proposals are known; None at a descent's end."""
        chosen = self._best(step)
        if chosen is None:
            return None
        cost = float(self._costs(chosen[None])[0])
        budget = cost - step.saving
        proposals = []
        for changes in changes_by_gene(self.problem.space, chosen):
            feasible = self._feasible(changes)
            costs = self._costs(feasible)
            fits = np.flatnonzero((costs <= budget) & (costs < cost))
            if len(fits):
                proposals.append(feasible[fits[costs[fits].argmax()]])
            elif len(costs) and costs.min() < cost:
                proposals.append(feasible[costs.argmin()])
        if not proposals:
            return None
        return _Step(
            chosen, np.unique(proposals, axis=0), budget, step.saving * self.settings.decay
        )

    def _best(self, step: _Step) -> Genes | None:
        """Return the proposal that is kept; None if all have failed."""
        values = np.array(
            [
                math.inf if (value := self._known[row.tobytes()]) is None else value
                for row in step.proposals
            ]
        )
        if not np.isfinite(values).any():
            return None
        if self.settings.choice == "accuracy" or len(step.proposals) == 1:
            return np.asarray(step.proposals[int(values.argmin())])
        before = self._known.get(step.genes.tobytes()) or 0.0
        saved = float(self._costs(step.genes[None])[0]) - self._costs(step.proposals)
        lost: Floats = (values - before) / saved
        return np.asarray(step.proposals[int(lost.argmin())])
