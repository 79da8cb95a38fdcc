"""MnasNet's search: a recurrent controller, PPO, and accuracy times a power of the latency.

Tan et al. 2019, MnasNet: Platform-Aware Neural Architecture Search for Mobile, arXiv:1807.11626,
section 3. One run of the paper has one target; that one controller is told which of several
targets to aim at, and so finds a front, is our extension.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgenas.core.errors import UsageError
from edgenas.searchers.base import SearchProblem
from edgenas.searchers.policy import PolicySearcher, Update, check_controller
from edgenas.searchers.problem import Floats
from edgenas.searchers.rewards import weighted_product

_LEAST_COST = 1e-9
_EXPONENTS = {"soft": (-0.07, -0.07), "hard": (0.0, -1.0)}


@dataclass(frozen=True, slots=True)
class MnasNetSettings:
    """Settings; the numbers of controller and PPO are defaults of ours, as the paper lacks them.

    Attributes:
        reward: ``soft`` (alpha = beta = -0.07) or ``hard`` (alpha = 0, beta = -1).
        alpha: another exponent within the target.
        beta: another exponent beyond it (MobileNetV3-Small: both -0.15).
        target: of `cost`, in its unit; None asks for the front, under `n_targets` targets, spread
            over what random architectures cost, up to a limit if the search has one. With several
            targets the reward is always hard: the soft one would order architectures the same
            way under all.
        cost: empty: the first one.
        n_targets: how many where none is given.
        batch_size: architectures of an update.
        n_hidden: of the LSTM.
        rate: of Adam.
        entropy_weight: of the bonus for undecided choices.
        n_free: draws a condition and update that teach costs alone; 0: none, as in the paper.
        memory: evaluations that an update learns from; `batch_size` is the paper's.
        clip: of PPO's ratio.
        n_steps: of PPO on one batch.
    """

    reward: str = "soft"
    alpha: float | None = None
    beta: float | None = None
    target: float | None = None
    cost: str = ""
    n_targets: int = 8
    batch_size: int = 10
    n_hidden: int = 64
    rate: float = 0.02
    entropy_weight: float = 0.02
    n_free: int = 32
    memory: int = 100
    clip: float = 0.2
    n_steps: int = 5

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        if self.reward not in _EXPONENTS:
            raise UsageError(f"reward is 'soft' or 'hard', got {self.reward!r}")
        if self.target is not None and self.target <= 0:
            raise UsageError(f"target is above 0, got {self.target}")
        check_controller(self)
        for name in ("n_targets", "n_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is at least 1, got {getattr(self, name)}")
        if not 0 < self.clip < 1:
            raise UsageError(f"clip lies in (0, 1), got {self.clip}")


class MnasNetSearcher(PolicySearcher):
    """See the module; a round is an update of the controller."""

    name = "mnasnet"
    Settings = MnasNetSettings

    def __init__(
        self, problem: SearchProblem, *, seed: int = 0, settings: MnasNetSettings | None = None
    ) -> None:
        super().__init__(problem, seed=seed, settings=settings)
        self._cost = self.goals.cost(self.settings.cost, self.name)
        if self._cost.direction != "minimize" or self.goals.bought.direction != "maximize":
            raise UsageError(
                "mnasnet raises an objective that is to maximize and lowers one that is to "
                f"minimize, got {self.goals.bought.name} and {self._cost.name}"
            )

    @property
    def n_conditions(self) -> int:
        """Number of targets."""
        return 1 if self.settings.target is not None else int(self.settings.n_targets)

    def _targets(self, column: int) -> Floats:
        if self.settings.target is not None:
            return np.array([self.settings.target])
        return self._steps(self._cost.name, column)

    def _exponents(self) -> tuple[float, float]:
        chosen = self.settings
        alpha, beta = _EXPONENTS["hard" if self.n_conditions > 1 else chosen.reward]
        return (
            alpha if chosen.alpha is None else chosen.alpha,
            beta if chosen.beta is None else chosen.beta,
        )

    def _rewards(self, values: Floats) -> Floats:
        column = 1 + self.goals.costs.index(self._cost)
        alpha, beta = self._exponents()
        cost = np.maximum(values[:, column], _LEAST_COST)  # a power of 0 would be infinite
        return np.stack(
            [
                weighted_product(values[:, 0], cost, target, alpha=alpha, beta=beta)
                for target in self._targets(column)
            ],
            axis=1,
        )

    def _update(self) -> Update:
        from edgenas.searchers.neural.updates import ProximalPolicy

        chosen = self.settings
        return ProximalPolicy(
            self.controller,
            rate=chosen.rate,
            entropy_weight=chosen.entropy_weight,
            clip=chosen.clip,
            n_steps=chosen.n_steps,
        )
