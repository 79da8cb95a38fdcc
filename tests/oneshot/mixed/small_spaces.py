"""Spaces that are small enough to be listed, one of every kind that can be mixed."""

from __future__ import annotations

import numpy as np
import torch

from edgenas import spaces
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.layerwise import Stage as Layers
from edgenas.spaces.ofa_mbv3 import Stage

KINDS = ("once-for-all", "fbnet", "proxylessnas", "mnasnet", "cell")


def small(kind: str) -> SearchSpace:
    """Return a space of a kind, for images of one channel and ten classes."""
    images = {"input_channels": 1, "n_classes": 10}
    if kind == "once-for-all":
        stages = (
            Stage(16, 2, (1, 2), squeeze_excite=True, activation="h_swish"),
            Stage(24, 1, (1,), squeeze_excite=False, activation="relu"),
        )
        widths = {"stem_width": 8, "first_width": 8, "final_width": 32, "mix_width": 40}
        return spaces.get(
            "mbv3_tiny", stages=stages, expansions=(2, 4), kernels=(3, 5), resolutions=(12, 16),
            **widths,
        )  # fmt: skip
    if kind == "fbnet":
        return spaces.get(
            "fbnet_cifar", stages=(Layers(16, 1, 2), Layers(24, 2, 2)), resolution=16,
            head_width=32, **images,
        )  # fmt: skip
    if kind == "proxylessnas":
        return spaces.get(
            "proxylessnas", stem_width=8, first_width=8, resolution=16, head_width=32,
            stages=(Layers(16, 2, 2), Layers(24, 1, 2)), **images,
        )  # fmt: skip
    if kind == "mnasnet":
        blocks = spaces.get("mnasnet").settings.blocks  # type: ignore[attr-defined]
        return spaces.get(
            "mnasnet", blocks=blocks[:1] + blocks[2:3], stem_width=16, resolution=16,
            head_width=32, **images,
        )  # fmt: skip
    return spaces.get("nas_bench_201", width=8, n_cells=2, resolution=8, **images)


def random_probabilities(space: SearchSpace, seed: int) -> dict[int, torch.Tensor]:
    """Return random probabilities of every gene that has a choice."""
    rng = np.random.default_rng(seed)
    return {
        c: torch.from_numpy(rng.dirichlet(np.ones(n)))
        for c, n in enumerate(space.n_options)
        if n > 1
    }
