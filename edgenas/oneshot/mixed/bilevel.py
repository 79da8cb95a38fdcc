"""The second-order step of DARTS: logits that look one step of the weights ahead.

Liu et al. 2019 (DARTS), arXiv:1806.09055, equations 6 to 8: the gradient of the loss at weights
one step ahead, less the product with the second derivative, by central differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Gradients = Callable[[Sequence[nn.Parameter]], list[Tensor | None]]
"""Gradients of a loss, at the parameters' values of now, for the given parameters."""


@torch.no_grad()
def look_ahead(
    weights: Sequence[nn.Parameter],
    logits: Sequence[nn.Parameter],
    *,
    training: Gradients,
    validation: Gradients,
    lr: float,
) -> list[Tensor | None]:
    """Return the second-order gradient of the logits; weights are left as they were.

    Args:
        weights: of the supernet.
        logits: of the genes.
        training: of the loss on the batch from which the weights learn.
        validation: of the loss from which the logits learn.
        lr: the step ahead, plain gradient descent (xi in the paper).
    """
    kept = [weight.detach().clone() for weight in weights]
    for weight, gradient in zip(weights, training(weights), strict=True):
        if gradient is not None:
            weight.sub_(lr * gradient)
    both = validation([*weights, *logits])
    ahead, direct = both[: len(weights)], both[len(weights) :]
    length = sum(float(g.square().sum()) for g in ahead if g is not None) ** 0.5
    if length == 0:
        _restore(weights, kept)
        return direct
    small = 0.01 / length
    sides: list[list[Tensor | None]] = []
    for sign in (1.0, -1.0):
        _restore(weights, kept)
        for weight, gradient in zip(weights, ahead, strict=True):
            if gradient is not None:
                weight.add_(sign * small * gradient)
        sides.append(training(logits))
    _restore(weights, kept)
    found: list[Tensor | None] = []
    for own, plus, minus in zip(direct, *sides, strict=True):
        if plus is None or minus is None:
            found.append(own)
            continue
        curvature = (plus - minus) / (2 * small)
        found.append(-lr * curvature if own is None else own - lr * curvature)
    return found


def _restore(weights: Sequence[nn.Parameter], kept: Sequence[Tensor]) -> None:
    for weight, old in zip(weights, kept, strict=True):
        weight.copy_(old)
