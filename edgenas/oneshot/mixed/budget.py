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

_N_TILTS = 5
_MOST_SHIFT = 12.0


class Multipliers(nn.Module):
    """Multipliers of several budgets; buffers, so that a checkpoint keeps them.

    Args:
        budgets: by cost, in its unit.
        rate: of the multipliers, for a step in which a cost is twice its budget.
        penalty: weight of the squared excess, which damps the multipliers' swing.
        tolerance: this share below the budget is where the distribution is to end.
        is_reachable: whether some network has so much: else nothing presses up.
    """

    def __init__(
        self,
        budgets: Mapping[str, float],
        *,
        rate: float = 0.2,
        penalty: float = 30.0,
        tolerance: float = 0.02,
        is_reachable: bool = True,
    ) -> None:
        super().__init__()
        self.budgets, self.rate, self.penalty = dict(budgets), rate, penalty
        self.tolerance, self.is_reachable = tolerance, is_reachable
        self.register_buffer("above", torch.zeros(len(budgets), dtype=torch.float64))
        self.register_buffer("below", torch.zeros((), dtype=torch.float64))

    def __call__(self, costs: Mapping[str, Tensor]) -> Tensor:
        """Return what is added to the loss, a scalar."""
        over = self._over(costs)
        above, below = self.get_buffer("above"), self.get_buffer("below")
        loss = (above * over).sum() + self.penalty / 2 * over.clamp_min(0).square().sum()
        if not self.is_reachable:
            return loss
        short = (1 - self.tolerance) - (over.max() + 1)
        return loss + below * short + self.penalty / 2 * short.clamp_min(0).square()

    @torch.no_grad()
    def step(self, costs: Mapping[str, Tensor]) -> None:
        """Raise or lower the multipliers after a step of the logits."""
        over = self._over(costs).detach()
        above, below = self.get_buffer("above"), self.get_buffer("below")
        above.add_(self.rate * over).clamp_min_(0)
        if self.is_reachable:
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
    is_reachable: bool = True,
) -> bool:
    """Tilt what a search has learned, as little as it takes to be on its budgets.

    Every probability is multiplied by exp(-t c) of its option's marginal cost c, relative to its
    budget, with the one t for which the greatest ratio of expected cost and budget is just under
    1: of all distributions with that cost the nearest one, to first order. What is there within
    the tolerance is left alone, and so is what is below budgets that nothing reaches.

    Returns:
        Whether it is on the budgets now: within the tolerance below, and above none.
    """

    def ratios() -> dict[str, float]:
        chances = logits.probabilities()
        return {name: float(costs[name](chances)) / budget for name, budget in budgets.items()}

    for _ in range(_N_TILTS):
        over = ratios()
        name = max(over, key=lambda one: over[one])
        if over[name] <= 1 and (over[name] >= 1 - tolerance or not is_reachable):
            return True
        slopes = _slopes(costs[name], logits.probabilities(), budgets[name])
        kept = {c: logits.get_parameter(f"gene{c}").clone() for c in slopes}
        steepest = max((float(slope.abs().max()) for slope in slopes.values()), default=0.0)
        if steepest == 0:
            break
        most = _MOST_SHIFT / steepest  # no logit moves by more
        low, high = (0.0, most) if over[name] > 1 else (-most, 0.0)
        for _ in range(60):
            middle = (low + high) / 2
            for column, slope in slopes.items():
                logits.get_parameter(f"gene{column}").copy_(kept[column] - middle * slope)
            if max(ratios().values()) > 1 - tolerance / 2:
                low = middle
            else:
                high = middle
    over = ratios()
    return max(over.values()) <= 1 and (max(over.values()) >= 1 - tolerance or not is_reachable)


def _slopes(
    cost: Callable[[Mapping[int, Tensor]], Tensor], chances: Mapping[int, Tensor], budget: float
) -> dict[int, Tensor]:
    """Return, by gene, what each option adds to the cost's share of its budget.

    Less the mean of the gene's options, which changes no probability: a gene that all of the
    network reads would otherwise have slopes that are large and nearly alike.
    """
    leaves = {column: p.detach().clone().requires_grad_() for column, p in chances.items()}
    with torch.enable_grad():
        found = torch.autograd.grad(cost(leaves), list(leaves.values()), allow_unused=True)
    gradients: list[Tensor | None] = list(found)  # None: the cost does not depend on the gene
    slopes = {}
    for (column, p), gradient in zip(chances.items(), gradients, strict=True):
        if gradient is not None:
            own, weights = gradient.detach() / budget, p.detach().to(gradient.dtype)
            centred = own - (weights * own).sum()
            slopes[column] = torch.where(weights > 0, centred, 0.0).float()
    return slopes
