"""A space small enough to be listed, and costs whose best is known by listing it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import Fold, macs, params, peak_activation_kib


@dataclass(frozen=True)
class Small:
    """All of a space's networks, and costs of theirs."""

    space: SearchSpace
    every: np.ndarray
    latency: Fold
    macs: Fold
    params: Fold
    peak: Fold

    def accuracy(self, population: np.ndarray) -> np.ndarray:
        """A number that is no sum over the genes, and grows with the network."""
        weights = np.sin(1 + np.arange(self.space.n_genes))
        size = (population * (1.5 + weights)).sum(axis=1)
        twist = np.cos(population[:, :-1] @ np.arange(1, self.space.n_genes) * 0.7)
        return 1 - np.exp(-0.2 * size) + 0.02 * twist


@pytest.fixture(scope="session")
def small() -> Small:
    stages = [
        {"width": 24, "stride": 2, "depths": [1, 2], "squeeze_excite": False, "activation": "relu"},
        {"width": 40, "stride": 1, "depths": [1, 2], "squeeze_excite": True, "activation": "relu"},
    ]
    space = get("mbv3_tiny", stages=stages, kernels=[3, 5], expansions=[2, 4], resolutions=[20, 28])
    grid = np.array(list(product(*map(range, space.n_options.tolist()))), dtype=np.int8)
    rng = np.random.default_rng(3)
    macs_of = macs(space)
    return Small(
        space=space,
        every=np.unique(space.canonical(grid), axis=0),
        latency=Fold(space, [rng.uniform(0.5, 2, len(t)) for t in macs_of.tables], offset=0.25),
        macs=macs_of,
        params=params(space),
        peak=peak_activation_kib(space),
    )
