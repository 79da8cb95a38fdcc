"""MONAS: an LSTM controller, REINFORCE, and rewards that mix or constrain accuracy and cost.

Hsu et al. 2018, MONAS: Multi-Objective Neural Architecture Search, arXiv:1806.10332. Its costs are
power and MACs; that any cost will do, latency too, is our extension, and so is the front from
one run: the mixed reward under several weights, which one controller is told to aim at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgenas.core.errors import UsageError
from edgenas.searchers import rewards
from edgenas.searchers.base import SearchProblem
from edgenas.searchers.policy import PolicySearcher, Update, check_controller
from edgenas.searchers.problem import Floats

REWARDS = ("mixed", "constrained_cost", "constrained_accuracy")


@dataclass(frozen=True, slots=True)
class MonasSettings:
    """Settings; the numbers are defaults of ours, as the paper does not give them.

    Attributes:
        reward: one of `REWARDS`.
        alpha: weight of the accuracy in the mixed reward, which alone reads it; None asks for the
            front, under `n_weights` weights.
        threshold: of the constrained rewards: the most of `cost`, in its unit, or the least
            accuracy.
        cost: of the constrained rewards; empty: the first one. The mixed one takes the mean of all.
        n_weights: how many weights, in equal steps of (0, 1].
        batch_size: architectures of an update.
        n_hidden: of the LSTM.
        rate: of Adam.
        entropy_weight: of the bonus for undecided choices.
        n_free: draws a condition and update that teach costs alone; 0: none, as in the paper.
        memory: evaluations that an update learns from; `batch_size` is the paper's.
    """

    reward: str = "mixed"
    alpha: float | None = None
    threshold: float | None = None
    cost: str = ""
    n_weights: int = 8
    batch_size: int = 10
    n_hidden: int = 64
    rate: float = 0.02
    entropy_weight: float = 0.02
    n_free: int = 32
    memory: int = 100

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        if self.reward not in REWARDS:
            raise UsageError(f"reward is one of {', '.join(REWARDS)}, got {self.reward!r}")
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha lies in [0, 1], got {self.alpha}")
        if (self.threshold is None) != (self.reward == "mixed"):
            raise UsageError("the constrained rewards, and no other, need a threshold")
        check_controller(self)
        if self.n_weights < 1:
            raise UsageError(f"n_weights is at least 1, got {self.n_weights}")


class MonasSearcher(PolicySearcher):
    """See the module; a round is an update of the controller."""

    name = "monas"
    Settings = MonasSettings

    def __init__(
        self, problem: SearchProblem, *, seed: int = 0, settings: MonasSettings | None = None
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        if self.settings.reward != "mixed" or self.goals.costs:
            self._cost = self.goals.cost(self.settings.cost, self.name)
        if self.settings.reward != "mixed" and self.goals.bought.direction != "maximize":
            raise UsageError(
                f"monas's {self.settings.reward} reward raises an objective that is to maximize, "
                f"got {self.goals.bought.name}; take reward 'mixed'"
            )

    @property
    def n_conditions(self) -> int:
        """Number of weights."""
        return len(self._weights)

    @property
    def _weights(self) -> Floats:
        chosen = self.settings
        if chosen.reward != "mixed" or not self.goals.costs:
            return np.ones(1)
        if chosen.alpha is not None:
            return np.array([chosen.alpha])
        return np.arange(1.0, chosen.n_weights + 1) / float(chosen.n_weights)

    def _rewards(self, values: Floats) -> Floats:
        chosen = self.settings
        if chosen.reward == "mixed":
            bought, cost = self._scaled_bought(values), self._scaled_costs(values)
            return np.stack([rewards.mixed(bought, cost, alpha) for alpha in self._weights], axis=1)
        column = 1 + self.goals.costs.index(self._cost)
        if chosen.reward == "constrained_cost":
            found = rewards.constrained_on_cost(values[:, 0], values[:, column], chosen.threshold)
        else:
            cost = self._scaled_cost(values, column)
            found = rewards.constrained_on_accuracy(values[:, 0], cost, chosen.threshold)
        return found[:, None]

    def _update(self) -> Update:
        from edgenas.searchers.neural.updates import Reinforce

        return Reinforce(
            self.controller,
            rate=self.settings.rate,
            entropy_weight=self.settings.entropy_weight,
        )
