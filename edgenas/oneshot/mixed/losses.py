"""What logits learn: the cross entropy and the expected costs in one number.

Every form reads costs in the unit of their tables. FBNet's logarithm is of microseconds, as in the
paper: with another unit its weight would be another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from edgenas.oneshot.mixed.loss_settings import LossSettings

_US_PER_MS = 1000.0


Form = Callable[[LossSettings, Tensor, Mapping[str, Tensor], Mapping[str, float]], Tensor]
"""From settings, cross entropy, expected costs and references to the loss."""


def _none(
    settings: LossSettings, loss: Tensor, costs: Mapping[str, Tensor], at: Mapping[str, float]
) -> Tensor:
    """Return the cross entropy alone."""
    return loss


def _fbnet(
    settings: LossSettings, loss: Tensor, costs: Mapping[str, Tensor], at: Mapping[str, float]
) -> Tensor:
    """Return CE alpha log(cost)^beta: FBNet, equation 3, and its code; natural logarithm.

    Latencies are taken in microseconds; other costs in their own unit.
    """
    for name, cost in costs.items():
        scale = _US_PER_MS if name.startswith("latency_ms") else 1.0
        # Below 1 the logarithm would change its sign, and the loss with it.
        logarithm = (scale * cost).clamp_min(1 + 1e-6).log()
        loss = loss * settings.alpha * logarithm**settings.beta
    return loss


def _sum(
    settings: LossSettings, loss: Tensor, costs: Mapping[str, Tensor], at: Mapping[str, float]
) -> Tensor:
    """Return CE + alpha cost: ProxylessNAS, equation 10 (the weights decay in the optimiser)."""
    for cost in costs.values():
        loss = loss + settings.alpha * cost
    return loss


def _relative_sum(
    settings: LossSettings, loss: Tensor, costs: Mapping[str, Tensor], at: Mapping[str, float]
) -> Tensor:
    """Return CE + alpha (cost - reference) / reference: ProxylessNAS's code, "add#linear"."""
    for name, cost in costs.items():
        loss = loss + settings.alpha * (cost - at[name]) / at[name]
    return loss


def _relative_product(
    settings: LossSettings, loss: Tensor, costs: Mapping[str, Tensor], at: Mapping[str, float]
) -> Tensor:
    """Return CE alpha (log cost / log reference)^beta: ProxylessNAS's code, "mul#log".

    Latencies are taken in microseconds, so that the logarithms are above 0.
    """
    for name, cost in costs.items():
        scale = _US_PER_MS if name.startswith("latency_ms") else 1.0
        low = 1 + 1e-6
        ratio = (scale * cost).clamp_min(low).log() / torch.tensor(
            max(scale * at[name], low), dtype=cost.dtype
        ).log()
        loss = loss * settings.alpha * ratio**settings.beta
    return loss


FORMS: Mapping[str, Form] = {
    "none": _none,
    "fbnet": _fbnet,
    "sum": _sum,
    "proxylessnas_sum": _relative_sum,
    "proxylessnas_product": _relative_product,
    "budget": _none,  # the multipliers of `edgenas.oneshot.mixed.budget` add to it
}
"""Forms by name; ``budget`` is the cross entropy under multipliers that end on the budget."""


def reward(
    settings: LossSettings, accuracy: float, costs: Mapping[str, float], at: Mapping[str, float]
) -> float:
    """Return what a measured network earns: accuracy (reference / cost)^beta for every cost.

    ProxylessNAS, section 4.2, whose exponent is 0.1 there.
    """
    for name, cost in costs.items():
        accuracy *= (at[name] / cost) ** settings.beta
    return accuracy
