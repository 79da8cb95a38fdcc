"""What a searcher learns a dear objective with: where to look first, and a fit to what was seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.searchers.arrays.terms import GeneSum
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]
Prediction = Callable[[Genes], Floats]
"""A number an architecture: genes of shape (n, n_genes) in, shape (n,) out."""


class Learner(Protocol):
    """Learns one objective; the same arguments give the same results in another process."""

    def choose(self, space: SearchSpace, n: int, *, seed: int) -> Genes:
        """Return up to `n` architectures from which most can be learned, shape (n, n_genes)."""

    def fit(
        self, space: SearchSpace, population: Genes, values: Floats, *, seed: int
    ) -> Prediction:
        """Return what was learned from the values of some architectures, shape (n,)."""


class LinearLearner:
    """A number for every option, and random architectures to learn it from.

    MacKay 1992, doi:10.1162/neco.1992.4.3.415: the strength of the ridge follows from the data.
    Its predictions are additive: fronts over them are exact.
    """

    def choose(self, space: SearchSpace, n: int, *, seed: int) -> Genes:
        """Return `n` random architectures."""
        return space.sample(n, np.random.default_rng(seed))

    def fit(
        self, space: SearchSpace, population: Genes, values: Floats, *, seed: int
    ) -> Prediction:
        """Return the linear function of the one-hot genes."""
        from sklearn.linear_model import BayesianRidge

        del seed  # nothing is random
        model = BayesianRidge().fit(space.encode(population).astype(np.float64), values)
        return GeneSum.from_linear(space, model.coef_, offset=float(model.intercept_))
