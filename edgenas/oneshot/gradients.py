"""Gradients of one step: the shares of its batch go to threads, and their gradients add up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edgenas.oneshot.processes import Processes


@dataclass(frozen=True, slots=True)
class Share:
    """What one thread learns from in a step.

    Attributes:
        images: uint8, shape (n, channels, height, width).
        labels: shape (n,).
        size: height and width of the network's input.
        seed: of all that is random in the step; the same for every share of it.
    """

    images: Tensor
    labels: Tensor
    size: tuple[int, int]
    seed: int

    def on(self, device: torch.device) -> Share:
        """Return the share with its tensors on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


StepLosses = Callable[[Share], Iterable[Tensor]]
"""A share to the losses whose sum is lessened, one by one.

It may be called for several shares at the same time and must change nothing.
"""


@dataclass(frozen=True, slots=True)
class _Found:
    """What one share says: its loss and the gradient of every parameter."""

    n_images: int
    loss: float
    gradients: list[Tensor | None]


def set_gradients(  # noqa: PLR0913
    parameters: Sequence[nn.Parameter],
    losses: StepLosses,
    shares: Sequence[Share],
    *,
    n_reported: int,
    workers: Executor,
    processes: Processes,
    n_images: int,
) -> float:
    """Give every parameter its gradient, and return the mean of the first `n_reported` losses.

    Both are means over the whole batch, which has `n_images` in the shares of all processes.
    """

    def compute(share: Share) -> _Found:
        return _gradients(parameters, losses, share, n_reported, processes)

    found = list(workers.map(compute, shares))
    for i, parameter in enumerate(parameters):
        parameter.grad = None
        for one in found:
            gradient = one.gradients[i]
            if gradient is not None:
                parameter.grad = _sum(parameter.grad, gradient * (one.n_images / n_images))
    loss = sum(one.loss * one.n_images for one in found) / n_images
    return processes.add_up(parameters, loss)


def _gradients(
    parameters: Sequence[nn.Parameter],
    losses: StepLosses,
    share: Share,
    n_reported: int,
    processes: Processes,
) -> _Found:
    total: list[Tensor | None] = [None] * len(parameters)
    reported: list[float] = []
    with processes.autocast():
        ahead = iter(losses(share.on(processes.device)))
    while True:
        with processes.autocast():  # for the forward pass alone
            loss = next(ahead, None)
        if loss is None:
            break
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        total = [_sum(old, new) for old, new in zip(total, found, strict=True)]
        if len(reported) < n_reported:
            reported.append(float(loss.detach()))
    return _Found(len(share.labels), math.fsum(reported) / len(reported), total)


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
