"""MONAS: an LSTM controller, REINFORCE, and rewards that mix or constrain accuracy and cost.

Hsu et al. 2018, MONAS: Multi-Objective Neural Architecture Search, arXiv:1806.10332. Its costs are
power and MACs; that any cost will do, latency too, is our extension, and so is the front from
one run: the reward under several thresholds or weights, which one controller is told to aim at.
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
        reward: one of `REWARDS`; empty: ``mixed`` where `alpha` is given, else ``constrained_cost``
            (the accuracy alone where no objective is a cost).
        alpha: weight of the accuracy in the mixed reward, which alone reads it; None asks for the
            front, under `n_weights` weights in equal steps of (0, 1].
        threshold: of the constrained rewards: the most of `cost`, in its unit, or the least
            accuracy. None asks for the front, under `n_weights` most costs, spread over what random
            architectures cost; not for ``constrained_accuracy``.
        cost: of the constrained rewards; empty: the first one. The mixed one takes the mean of all.
        n_weights: how many weights or thresholds.
        batch_size: architectures of an update.
        n_hidden: of the LSTM.
        rate: of Adam.
        entropy_weight: of the bonus for undecided choices.
        n_free: draws a condition and update that teach costs alone; 0: none, as in the paper.
        memory: evaluations that an update learns from; `batch_size` is the paper's.
    """

    reward: str = ""
    alpha: float | None = None
    threshold: float | None = None
    cost: str = ""
    n_weights: int = 8
    batch_size: int = 5
    n_hidden: int = 64
    rate: float = 0.04
    entropy_weight: float = 0.02
    n_free: int = 32
    memory: int = 100

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        if self.kind not in REWARDS:
            raise UsageError(f"reward is one of {', '.join(REWARDS)}, got {self.reward!r}")
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha lies in [0, 1], got {self.alpha}")
        if self.kind == "constrained_accuracy" and self.threshold is None:
            raise UsageError("constrained_accuracy needs a threshold: the least accuracy")
        if self.kind == "mixed" and self.threshold is not None:
            raise UsageError("the mixed reward has no threshold; take constrained_cost")
        if self.kind != "mixed" and self.alpha is not None:
            raise UsageError(f"{self.kind} has no weight alpha; take reward 'mixed'")
        check_controller(self)
        if self.n_weights < 1:
            raise UsageError(f"n_weights is at least 1, got {self.n_weights}")

    @property
    def kind(self) -> str:
        """The reward that is meant."""
        return self.reward or ("constrained_cost" if self.alpha is None else "mixed")


class MonasSearcher(PolicySearcher):
    """See the module; a round is an update of the controller."""

    name = "monas"
    Settings = MonasSettings

    def __init__(
        self, problem: SearchProblem, *, seed: int = 0, settings: MonasSettings | None = None
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        chosen = self.settings
        self._is_mixed = chosen.kind == "mixed" or (
            chosen.threshold is None and not self.goals.costs
        )
        if not self._is_mixed:
            self._cost = self.goals.cost(chosen.cost, self.name)
            if self.goals.bought.direction != "maximize":
                raise UsageError(
                    f"monas's {chosen.kind} reward raises an objective that is to maximize, "
                    f"got {self.goals.bought.name}; take reward 'mixed'"
                )
        if self._is_front and not self._is_mixed and self._cost.direction != "minimize":
            raise UsageError(
                f"monas spreads thresholds over a cost that is to minimize, got {self._cost.name}; "
                "give a threshold, or take reward 'mixed'"
            )

    @property
    def n_conditions(self) -> int:
        """Number of weights or thresholds."""
        return int(self.settings.n_weights) if self._is_front else 1

    @property
    def _is_front(self) -> bool:
        chosen = self.settings
        return bool(self.goals.costs) and chosen.alpha is None and chosen.threshold is None

    def _rewards(self, values: Floats) -> Floats:
        if self._is_mixed:
            bought, cost = self._scaled_bought(values), self._scaled_costs(values)
            return np.stack([rewards.mixed(bought, cost, alpha) for alpha in self._weights()], 1)
        column = 1 + self.goals.costs.index(self._cost)
        if self.settings.kind == "constrained_accuracy":
            cost = self._scaled_cost(values, column)
            least = self.settings.threshold
            return rewards.constrained_on_accuracy(values[:, 0], cost, least)[:, None]
        cost, accuracy = values[:, column], values[:, 0]
        limits = self._thresholds(column)
        return np.stack([rewards.constrained_on_cost(accuracy, cost, most) for most in limits], 1)

    def _weights(self) -> Floats:
        chosen = self.settings
        if not self._is_front:
            return np.array([1.0 if chosen.alpha is None else chosen.alpha])
        return np.arange(1.0, chosen.n_weights + 1) / float(chosen.n_weights)

    def _thresholds(self, column: int) -> Floats:
        """Return the most that may be paid, by condition, ascending."""
        if self.settings.threshold is not None:
            return np.array([self.settings.threshold])
        return self._steps(self._cost.name, column)

    def _update(self) -> Update:
        from edgenas.searchers.neural.updates import Reinforce

        return Reinforce(
            self.controller,
            rate=self.settings.rate,
            entropy_weight=self.settings.entropy_weight,
        )
