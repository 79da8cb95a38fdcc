"""What logits learn: the cross entropy and the expected costs in one number.

Costs come in the unit of their tables. Logarithms are taken in small units (FBNet's of
microseconds): with another unit the weights would be others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from edgenas.oneshot.mixed.loss_settings import LossSettings, unit_of

Form = Callable[[LossSettings, Tensor, Mapping[str, Tensor], Mapping[str, float]], Tensor]
"""From settings, cross entropy, expected costs and limits to the loss, linear in the entropy.

What compares with limits reads the costs that have one.
"""


def _none(
    settings: LossSettings, loss: Tensor, costs: Mapping[str, Tensor], limits: Mapping[str, float]
) -> Tensor:
    """Return the cross entropy alone."""
    return loss


def _fbnet(
    settings: LossSettings, loss: Tensor, costs: Mapping[str, Tensor], limits: Mapping[str, float]
) -> Tensor:
    """Return CE alpha log(cost)^beta: FBNet, equation 3, and its code; natural logarithm."""
    for name, cost in costs.items():
        loss = loss * settings.factor * (unit_of(name) * cost).log() ** settings.power
    return loss


def _sum(
    settings: LossSettings, loss: Tensor, costs: Mapping[str, Tensor], limits: Mapping[str, float]
) -> Tensor:
    """Return CE + alpha cost: ProxylessNAS, equation 10 (the weights decay in the optimiser)."""
    for cost in costs.values():
        loss = loss + settings.factor * cost
    return loss


def _relative_sum(
    settings: LossSettings, loss: Tensor, costs: Mapping[str, Tensor], limits: Mapping[str, float]
) -> Tensor:
    """Return CE + alpha (cost - limit) / limit: ProxylessNAS's code, "add#linear"."""
    for name, limit in limits.items():
        loss = loss + settings.factor * (costs[name] - limit) / limit
    return loss


def _relative_product(
    settings: LossSettings, loss: Tensor, costs: Mapping[str, Tensor], limits: Mapping[str, float]
) -> Tensor:
    """Return CE alpha (log cost / log limit)^beta: ProxylessNAS's code, "mul#log"."""
    for name, limit in limits.items():
        unit = unit_of(name)
        ratio = (unit * costs[name]).log() / math.log(unit * limit)
        loss = loss * settings.factor * ratio**settings.power
    return loss


FORMS: Mapping[str, Form] = {
    "none": _none,
    "fbnet": _fbnet,
    "sum": _sum,
    "proxylessnas_sum": _relative_sum,
    "proxylessnas_product": _relative_product,
    "budget": _none,  # the multipliers of `edgenas.oneshot.mixed.budget` add to it
}
"""Forms by name."""


def reward(
    settings: LossSettings, accuracy: float, costs: Mapping[str, float], limits: Mapping[str, float]
) -> float:
    """Return what a measured network earns: accuracy (limit / cost)^beta for every limited cost.

    ProxylessNAS, section 4.2, whose exponent is 0.1 there.
    """
    for name, limit in limits.items():
        accuracy *= (limit / costs[name]) ** settings.power
    return accuracy
