"""What the tests of predictors share: small spaces, and accuracies that a formula makes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import macs


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return spaces.get("mbv3_tiny")


class Truth:
    """An accuracy: more MACs help less and less, late expansions and wide kernels a little."""

    def __init__(self, space: SearchSpace, *, noise: float = 0.0) -> None:
        self.space, self.noise, self.macs = space, noise, macs(space)
        n = int(space.n_options.sum())
        self.weights = np.random.default_rng(7).normal(size=n) * 0.004

    def __call__(self, rows: Genes, seed: int = 0) -> npt.NDArray[np.float64]:
        least = self.macs(self.space.smallest()[None])[0]
        value = 0.7 + 0.05 * np.log2(self.macs(rows) / least) / 4
        value += self.space.encode(rows) @ self.weights
        noise = self.noise * np.random.default_rng(seed).normal(size=len(rows))
        return np.asarray(value + noise, dtype=np.float64)


@pytest.fixture(scope="session")
def truth(space: SearchSpace) -> Truth:
    return Truth(space, noise=0.0005)


@pytest.fixture(scope="session")
def evaluated(space: SearchSpace, truth: Truth) -> tuple[Genes, npt.NDArray[np.float64]]:
    rows = np.unique(space.sample(90, np.random.default_rng(0)), axis=0)
    return rows, truth(rows)
