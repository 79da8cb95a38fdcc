"""Rewards of architectures, as MONAS and MnasNet define them."""

from __future__ import annotations

import numpy as np

from edgenas.searchers.problem import Floats


def mixed(accuracy: Floats, cost: Floats, alpha: float) -> Floats:
    """Return ``alpha * accuracy - (1 - alpha) * cost``, shape (n,); both in [0, 1].

    Hsu et al. 2018 (MONAS), arXiv:1806.10332, section 3.3, mixed reward.
    """
    return alpha * accuracy - (1 - alpha) * cost


def constrained_on_cost(accuracy: Floats, cost: Floats, threshold: float) -> Floats:
    """Return the accuracy where the cost is at most `threshold`, else 0 (MONAS)."""
    return np.where(cost <= threshold, accuracy, 0.0)


def constrained_on_accuracy(accuracy: Floats, cost: Floats, threshold: float) -> Floats:
    """Return ``1 - cost`` where the accuracy is at least `threshold`, else 0 (MONAS).

    `cost` lies in [0, 1].
    """
    return np.where(accuracy >= threshold, 1 - cost, 0.0)


def weighted_product(
    accuracy: Floats, cost: Floats, target: float, *, alpha: float, beta: float
) -> Floats:
    """Return ``accuracy * (cost / target) ** w``, w = `alpha` within the target, `beta` beyond it.

    Tan et al. 2019 (MnasNet), arXiv:1807.11626, equations 2 and 3; costs and target are positive.
    """
    ratio = cost / target
    return np.asarray(accuracy * ratio ** np.where(ratio <= 1, alpha, beta), dtype=np.float64)
