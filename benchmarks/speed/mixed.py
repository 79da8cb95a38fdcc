"""A step of a mixed supernet in which candidates share what they begin with, against one without.

Both compute all candidates of every layer, forward and backward, on the same images with the same
weights, in turns: a ratio is that of two turns in a row, so that the machine's drift meets both.
Where their gradients differ, the benchmark fails.

    python -m benchmarks.speed.mixed
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.program import main
from edgenas import spaces
from edgenas.core.ops import OpSpec
from edgenas.oneshot.elastic import Slot
from edgenas.oneshot.mixed import network
from edgenas.oneshot.mixed.drawn import drawn_genes
from edgenas.oneshot.mixed.mixture import Mixture, OptionWeights
from edgenas.oneshot.supernet import Supernet
from edgenas.spaces.base import SearchSpace

OUT = Path(__file__).parent / "results" / "mixed.json"
CASES = {"mbv3_tiny": 64, "ofa_mbv3_w1.0": 2, "proxylessnas": 2}
"""By space: images a step, of the largest size that it chooses from."""

N_TURNS = 15
_MOST_APART = 0.01  # of a gradient's length: other orders of adding up
_ROUNDING = 1e-6  # of all gradients' length


def apart(
    slot: Slot, specs: Sequence[tuple[OpSpec, ...]], values: Tensor, *, norm_epsilon: float
) -> list[Tensor | None]:
    """Stand in for `run_candidates`, and leave every candidate to be computed alone."""
    del slot, values, norm_epsilon
    return [None] * len(specs)


def mixture_of(space: SearchSpace) -> Mixture:
    """Return all options, as likely as one another; of genes that are drawn the largest's."""
    drawn, largest = drawn_genes(space), space.largest()
    genes = {}
    for column, n in enumerate(map(int, space.n_options)):
        if column in drawn:
            genes[column] = OptionWeights(torch.ones(n), (int(largest[column]),))
        elif n > 1:
            value = torch.full((n,), 1 / n, requires_grad=True)
            genes[column] = OptionWeights(value, tuple(range(n)))
    return Mixture(genes)


def run() -> dict[str, Any]:
    """Return seconds of a step and the ratio, by space."""
    torch.set_num_threads(1)
    return {"cases": {name: _case(name, batch_size) for name, batch_size in CASES.items()}}


def _case(name: str, batch_size: int) -> dict[str, Any]:
    space = spaces.get(name)
    supernet = Supernet(space, seed=0)
    mixed, mixture = network.MixedNetwork(supernet, space), mixture_of(space)
    shape = (batch_size, *space.input_shape(space.largest()))
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def step() -> float:
        supernet.zero_grad()
        start = time.perf_counter()
        mixed(images, mixture).square().mean().backward()
        return time.perf_counter() - start

    def step_apart() -> float:
        with patch.object(network, "run_candidates", apart):
            return step()

    _check_same(supernet, step, step_apart)
    times = [(step(), step_apart()) for _ in range(N_TURNS)]
    return {
        "images": list(shape),
        "shared_s": round(median(one for one, _ in times), 4),
        "apart_s": round(median(other for _, other in times), 4),
        "ratio": round(median(one / other for one, other in times), 3),
    }


def _check_same(
    supernet: Supernet, step: Callable[[], float], step_apart: Callable[[], float]
) -> None:
    """Compare the gradients of every parameter, relative to their own length.

    Those of biases that a norm takes out again are nothing but rounding, and next to all others.
    """
    found = []
    for one in (step, step_apart):
        one()
        named = supernet.named_parameters()
        found.append({name: p.grad.clone() for name, p in named if p.grad is not None})
    shared, separate = found
    if shared.keys() != separate.keys():
        raise AssertionError(f"gradients of one alone: {sorted(shared.keys() ^ separate.keys())}")
    whole = float(torch.cat([one.flatten() for one in separate.values()]).norm())
    for name, gradient in separate.items():
        distance = float((shared[name] - gradient).norm())
        if distance > _MOST_APART * float(gradient.norm()) + _ROUNDING * whole:
            raise AssertionError(f"the gradients of {name} are {distance} apart")


if __name__ == "__main__":
    main(run, doc=__doc__, out=OUT)
