"""Updates of a controller from advantages: REINFORCE and proximal policy optimisation."""

from __future__ import annotations

import numpy as np
import torch

from edgenas.searchers.neural.controller import Controller
from edgenas.searchers.policy import Lesson


def _scaled(lesson: Lesson) -> torch.Tensor:
    """Return weighted advantages in units of their spread: rates mean the same everywhere."""
    spread = float(np.sqrt((lesson.weights * lesson.advantages**2).sum()))
    return torch.from_numpy(lesson.weights * lesson.advantages / (spread or 1.0))


class Reinforce:
    """One step along sum_t grad log P(a_t | a_<t) * R, the mean over the batch.

    Williams 1992, doi:10.1007/BF00992696; Hsu et al. 2018 (MONAS), arXiv:1806.10332, section 3.2.
    """

    def __init__(self, controller: Controller, *, rate: float, entropy_weight: float) -> None:
        self.controller, self.entropy_weight = controller, entropy_weight
        self.optimizer = torch.optim.Adam(controller.parameters(), lr=rate)

    def __call__(self, lesson: Lesson) -> None:
        """Take the step."""
        logs, entropy = self.controller.log_probabilities(lesson.genes, lesson.conditions)
        gain = (_scaled(lesson) * logs).sum()
        bonus = self.entropy_weight * (torch.from_numpy(lesson.weights) * entropy).sum()
        self.optimizer.zero_grad()
        (-(gain + bonus)).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


class ProximalPolicy:
    """Several steps on the clipped surrogate objective.

    Schulman et al. 2017, Proximal Policy Optimization Algorithms, arXiv:1707.06347, equation 7.
    """

    def __init__(
        self,
        controller: Controller,
        *,
        rate: float,
        entropy_weight: float,
        clip: float,
        n_steps: int,
    ) -> None:
        self.controller, self.entropy_weight = controller, entropy_weight
        self.clip, self.n_steps = clip, n_steps
        self.optimizer = torch.optim.Adam(controller.parameters(), lr=rate)

    def __call__(self, lesson: Lesson) -> None:
        """Take the steps."""
        with torch.no_grad():
            old, _ = self.controller.log_probabilities(lesson.genes, lesson.conditions)
        scaled, weights = _scaled(lesson), torch.from_numpy(lesson.weights)
        for _ in range(self.n_steps):
            logs, entropy = self.controller.log_probabilities(lesson.genes, lesson.conditions)
            ratio = (logs - old).exp()
            kept = ratio.clamp(1 - self.clip, 1 + self.clip)
            gain = torch.minimum(ratio * scaled, kept * scaled).sum()
            bonus = self.entropy_weight * (weights * entropy).sum()
            self.optimizer.zero_grad()
            (-(gain + bonus)).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
