"""The budget form: multipliers that lead the expected costs onto their budgets.

Loss + sum_k lambda_k (E_k / B_k - 1) with lambda_k raised while E_k is above B_k and lowered to 0
while it is below: dual ascent on an augmented Lagrangian (Nocedal and Wright 2006, Numerical
Optimization, section 17.3). What is far below every budget leaves accuracy unused: one more
multiplier presses up while the greatest ratio is under 1 - tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from edgenas.oneshot.mixed.logits import GeneLogits

_N_TILTS = 3
_MOST_TILT = 1e4


class Multipliers(nn.Module):
    """Multipliers of several budgets; buffers, so that a checkpoint keeps them.

    Args:
        budgets: by cost, in its unit.
        rate: of the multipliers, for a step in which a cost is twice its budget.
        penalty: weight of the squared excess, which damps the multipliers' swing.
        tolerance: this share below the budget is where the distribution is to end.
    """

    def __init__(
        self,
        budgets: Mapping[str, float],
        *,
        rate: float = 0.2,
        penalty: float = 30.0,
        tolerance: float = 0.02,
    ) -> None:
        super().__init__()
        self.budgets, self.rate, self.penalty = dict(budgets), rate, penalty
        self.tolerance = tolerance
        self.register_buffer("above", torch.zeros(len(budgets), dtype=torch.float64))
        self.register_buffer("below", torch.zeros((), dtype=torch.float64))

    def __call__(self, costs: Mapping[str, Tensor]) -> Tensor:
        """Return what is added to the loss, a scalar."""
        over = self._over(costs)
        above, below = self.get_buffer("above"), self.get_buffer("below")
        short = (1 - self.tolerance) - (over.max() + 1)
        excess = over.clamp_min(0).square().sum() + short.clamp_min(0).square()
        return (above * over).sum() + below * short + self.penalty / 2 * excess

    @torch.no_grad()
    def step(self, costs: Mapping[str, Tensor]) -> None:
        """Raise or lower the multipliers after a step of the logits."""
        over = self._over(costs).detach()
        above, below = self.get_buffer("above"), self.get_buffer("below")
        above.add_(self.rate * over).clamp_min_(0)
        below.add_(self.rate * ((1 - self.tolerance) - (over.max() + 1))).clamp_min_(0)

    def _over(self, costs: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([costs[name] / budget - 1 for name, budget in self.budgets.items()])


@torch.no_grad()
def settle(
    logits: GeneLogits,
    costs: Mapping[str, Callable[[Mapping[int, Tensor]], Tensor]],
    budgets: Mapping[str, float],
    *,
    tolerance: float = 0.02,
) -> None:
    """Tilt what a search has learned, as little as it takes to be on its budgets.

    Every probability is multiplied by exp(-t c) of its option's marginal cost c, relative to its
    budget, with the one t for which the greatest ratio of expected cost and budget is just under
    1: of all distributions with that cost the nearest one, to first order. What is there within
    the tolerance is left alone.
    """

    def ratios(chances: Mapping[int, Tensor]) -> dict[str, float]:
        return {name: float(costs[name](chances)) / budget for name, budget in budgets.items()}

    for _ in range(_N_TILTS):
        chances = logits.probabilities()
        over = ratios(chances)
        name = max(over, key=lambda one: over[one])
        if 1 - tolerance <= over[name] <= 1:
            return
        slopes = _slopes(costs[name], chances, budgets[name])
        kept = {c: logits.get_parameter(f"gene{c}").clone() for c in slopes}
        low, high = (0.0, _MOST_TILT) if over[name] > 1 else (-_MOST_TILT, 0.0)
        for _ in range(60):
            middle = (low + high) / 2
            for column, slope in slopes.items():
                logits.get_parameter(f"gene{column}").copy_(kept[column] - middle * slope)
            now = max(ratios(logits.probabilities()).values())
            if now > 1 - tolerance / 2:
                low = middle
            else:
                high = middle


def _slopes(
    cost: Callable[[Mapping[int, Tensor]], Tensor], chances: Mapping[int, Tensor], budget: float
) -> dict[int, Tensor]:
    """Return, by gene, how the cost's share of its budget changes with every probability."""
    leaves = {column: p.detach().clone().requires_grad_() for column, p in chances.items()}
    with torch.enable_grad():
        found = torch.autograd.grad(cost(leaves), list(leaves.values()), allow_unused=True)
    gradients: list[Tensor | None] = list(found)  # None: the cost does not depend on the gene
    return {
        column: (gradient / budget).float()
        for column, gradient in zip(leaves, gradients, strict=True)
        if gradient is not None
    }
