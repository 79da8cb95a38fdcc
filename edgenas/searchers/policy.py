"""Searchers whose controller learns from rewards: rounds of proposals, then an update.

A front needs many rewards, a paper has one. So the controller is asked under conditions (several
weights of the costs, several targets), in turn; one condition is the paper's case. An architecture
is evaluated once and teaches under all conditions and in later updates too: weighted by the
probability of being drawn now over that of having been drawn then, the gradients stay those of each
condition's own policy (of what was drawn: architectures that somebody else chose count as well).

Costs that are free are not learned from evaluations alone. A reward is split into what it would be
at a typical accuracy, whose gradient any number of unevaluated draws gives, and the rest, which
only evaluations tell (a control variate; the sum is the reward's own gradient).

Architectures that the controller draws again are not evaluated again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.extras import require
from edgenas.searchers.base import SearchProblem
from edgenas.searchers.goals import Goals
from edgenas.searchers.problem import Floats
from edgenas.searchers.rounds import RoundSearcher

if TYPE_CHECKING:
    from edgenas.searchers.neural.controller import Controller


@dataclass(frozen=True, slots=True)
class Lesson:
    """Architectures under conditions: how much better than expected, and how much each counts.

    Attributes:
        genes: shape (n, n_genes).
        conditions: shape (n,).
        advantages: shape (n,).
        weights: sum to 1 over each part that an expectation is taken of, shape (n,).
    """

    genes: Genes
    conditions: npt.NDArray[np.int64]
    advantages: Floats
    weights: Floats

    @classmethod
    def joined(cls, parts: Sequence[Lesson]) -> Lesson:
        """Return several as one."""
        return cls(
            np.concatenate([part.genes for part in parts]),
            np.concatenate([part.conditions for part in parts]),
            np.concatenate([part.advantages for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )


Update = Callable[[Lesson], None]
"""Moves a controller."""

_STREAM_DRAWN, _STREAM_WEIGHTS, _STREAM_REFERENCE, _STREAM_FREE = 2, 3, 4, 5
_N_CHUNKS = 64
_N_REFERENCE = 2000
_WORST_QUANTILE = 0.1
_MOST_RATIO = 10.0  # between probabilities now and then


class PolicySearcher(RoundSearcher):
    """See the module; settings have what `check_controller` reads, and what the update reads."""

    def __init__(self, problem: SearchProblem, *, seed: int = 0, settings: Any = None) -> None:
        require("torch")  # now, not after the first evaluations
        super().__init__(problem, seed=seed, settings=settings)
        self.goals = Goals.of(problem)
        self._values: dict[bytes, Floats] = {}  # the bought one as it is, then the costs
        self._order: list[Genes] = []
        self._then: list[float] = []  # log probability of having been drawn, under all conditions

    # -- for the kinds ---------------------------------------------------------------------

    @property
    @abstractmethod
    def n_conditions(self) -> int:
        """Number of rewards that are wanted at once."""

    @abstractmethod
    def _rewards(self, values: Floats) -> Floats:
        """Return the rewards of architectures under every condition.

        Args:
            values: the bought objective, then the costs, shape (n, 1 + n_costs).

        Returns:
            Shape (n, n_conditions).
        """

    @abstractmethod
    def _update(self) -> Update:
        """Return a fresh update rule for `controller`."""

    # -- the contract ----------------------------------------------------------------------

    @cached_property
    def controller(self) -> Controller:
        """The controller; it loads torch."""
        from edgenas.searchers.neural.controller import Controller

        return Controller(
            self.problem.space,
            n_conditions=self.n_conditions,
            n_hidden=self.settings.n_hidden,
            seed=int(self._rng(_STREAM_WEIGHTS).integers(2**31)),
        )

    @cached_property
    def _updates(self) -> Update:
        return self._update()

    def _round_size(self) -> int:
        return int(self.settings.batch_size)

    def _proposals(self) -> Iterator[Genes]:
        return self._candidates(self._drawn, n_chunks=_N_CHUNKS)

    def _drawn(self, chunk: int) -> Genes:
        n = self.settings.batch_size
        conditions = (np.arange(n) + (self.round + chunk) * n) % self.n_conditions
        return self.controller.sample(conditions, self._rng(_STREAM_DRAWN, self.round, chunk))

    def _end_round(self, news: list[Evaluation]) -> None:
        rows = np.array([evaluation.arch.genes for evaluation in news], dtype=np.int8)
        for evaluation in news:
            self._note(evaluation)
        self._order += list(rows)
        self._then += self.controller.mixture(rows).tolist()
        if not any(np.isfinite(values).all() for values in self._values.values()):
            return
        parts = [self._bought_lesson()]
        if self._is_free:
            parts.append(self._free_lesson())
        self._updates(Lesson.joined(parts))

    def _note(self, evaluation: Evaluation) -> None:
        goals = (self.goals.bought, *self.goals.costs)
        values = [evaluation.values.get(goal.name, np.nan) for goal in goals]
        if not evaluation.has_values:
            values = [np.nan] * len(goals)
        self._values[evaluation.arch.row.tobytes()] = np.array(values, dtype=np.float64)

    @property
    def _is_free(self) -> bool:
        names = self.problem.cheap_names
        known = bool(self.goals.costs) and all(goal.name in names for goal in self.goals.costs)
        return known and self.settings.n_free > 0

    def _bought_lesson(self) -> Lesson:
        """Return what evaluations say beyond a typical accuracy, of the last `memory` ones."""
        genes = np.array(self._order[-self.settings.memory :])
        then = np.array(self._then[-self.settings.memory :])
        values = np.array([self._values[row.tobytes()] for row in genes])
        sound = np.isfinite(values).all(axis=1)
        n, n_conditions = len(genes), self.n_conditions
        advantages = np.zeros((n, n_conditions))
        if sound.any():
            rewards = self._rewards(values[sound])
            expected = self._expected(values[sound]) if self._is_free else rewards.mean(axis=0)
            advantages[sound] = rewards - expected
        # A failure is as bad as the worst that was sound.
        advantages[~sound] = advantages[sound].min(axis=0) if sound.any() else 0.0
        now = self.controller.log_table(genes)
        ratios = np.exp(np.minimum(now - then[:, None], np.log(_MOST_RATIO)))
        weights = ratios / ratios.sum(axis=0) / n_conditions
        return Lesson(
            np.repeat(genes, n_conditions, axis=0),
            np.tile(np.arange(n_conditions), n),
            advantages.reshape(-1),
            weights.reshape(-1),
        )

    def _free_lesson(self) -> Lesson:
        """Return what costs alone say, of draws that nobody evaluates."""
        assert self.problem.cheap is not None  # noqa: S101  # `_is_free`
        n = self.settings.n_free
        conditions = np.tile(np.arange(self.n_conditions), n)
        genes = self.controller.sample(conditions, self._rng(_STREAM_FREE, self.round))
        costs = self.problem.cheap(genes)
        columns = [np.asarray(costs[goal.name], dtype=np.float64) for goal in self.goals.costs]
        values = np.stack([np.zeros(len(genes)), *columns], axis=1)
        allowed = (self.problem.violations(genes) <= 0) & np.isfinite(values).all(axis=1)
        rewards = np.zeros(len(genes))
        if allowed.any():
            found = self._expected(values[allowed])
            rewards[allowed] = found[np.arange(len(found)), conditions[allowed]]
            rewards[~allowed] = found.min()
        table = rewards.reshape(n, self.n_conditions)
        advantages = (table - table.mean(axis=0)).reshape(-1)
        return Lesson(genes, conditions, advantages, np.full(len(genes), 1 / len(genes)))

    def _expected(self, values: Floats) -> Floats:
        """Return rewards as if all had the mean of the bought objective's last values."""
        told = np.array([self._values[row.tobytes()][0] for row in self._order])
        told = told[np.isfinite(told)][-self.settings.memory :]
        typical = values.copy()
        typical[:, 0] = told.mean()
        return self._rewards(typical)

    # -- what rewards are made of ------------------------------------------------------------

    @cached_property
    def _reference(self) -> dict[str, Floats]:
        """Cheap costs of random architectures, sorted, by name."""
        if self.problem.cheap is None:
            return {}
        rows = self.problem.sample(_N_REFERENCE, self._rng(_STREAM_REFERENCE))
        return {
            name: np.sort(values[np.isfinite(values)])
            for name, values in self.problem.cheap(rows).items()
        }

    def _spread(self, name: str, column: int) -> Floats:
        """Return finite values of a cost, sorted: of random architectures, or of the told ones."""
        if name in self._reference:
            return self._reference[name]
        told = np.array(list(self._values.values()))[:, column]
        return np.sort(told[np.isfinite(told)])

    def _steps(self, name: str, column: int) -> Floats:
        """Return upper ends of equal shares of the logarithm of a cost, ascending, (n_conditions,).

        From the least to the greatest that random architectures cost, or that is allowed.

        Raises:
            UsageError: no cost is above 0.
        """
        spread = self._spread(name, column)
        positive = spread[spread > 0]
        if not len(positive):
            raise UsageError(f"{self.name} needs costs above 0; no {name} is")
        low, high = positive[[0, -1]]
        limits = [one.limit for one in self.problem.constraints if one.name == name]
        high = min([high, *(limit for limit in limits if limit > low)])
        steps = np.arange(1, self.n_conditions + 1) / self.n_conditions
        return np.asarray(np.exp(np.log(low) + (np.log(high) - np.log(low)) * steps))

    def _scaled_cost(self, values: Floats, column: int) -> Floats:
        """Return the share of random architectures that cost less, in [0, 1], shape (n,).

        A share, as a few slow architectures would press all others together.
        """
        goal = self.goals.costs[column - 1]
        spread = self._spread(goal.name, column)
        rank = np.searchsorted(spread, values[:, column], side="left")
        share = rank / max(1, len(spread) - 1)
        return np.clip(share if goal.direction == "minimize" else 1 - share, 0.0, 1.0)

    def _scaled_costs(self, values: Floats) -> Floats:
        """Return the mean of the scaled costs, shape (n,); 0 if there are none."""
        columns = range(1, 1 + len(self.goals.costs))
        scaled = [self._scaled_cost(values, column) for column in columns]
        return np.asarray(np.mean(scaled, axis=0) if scaled else np.zeros(len(values)))

    def _scaled_bought(self, values: Floats) -> Floats:
        """Return the bought objective scaled to [0, 1] over what was told, shape (n,).

        From the value that a tenth of the told ones do not reach, as a few broken networks would
        press all others together.
        """
        sign = 1.0 if self.goals.bought.direction == "maximize" else -1.0
        told = sign * np.array(list(self._values.values()))[:, 0]
        told = told[np.isfinite(told)]
        low, high = np.quantile(told, _WORST_QUANTILE), told.max()
        return np.clip((sign * values[:, 0] - low) / ((high - low) or 1.0), 0.0, 1.0)


def check_controller(settings: Any) -> None:
    """Refuse settings of controller and baseline that no run can use.

    Raises:
        UsageError: which one, and what is allowed.
    """
    for name, least in (("batch_size", 1), ("n_hidden", 1), ("n_free", 0), ("memory", 1)):
        if getattr(settings, name) < least:
            raise UsageError(f"{name} is at least {least}, got {getattr(settings, name)}")
    if settings.rate <= 0:
        raise UsageError(f"rate is above 0, got {settings.rate}")
    if settings.entropy_weight < 0:
        raise UsageError(f"entropy_weight is not negative, got {settings.entropy_weight}")
