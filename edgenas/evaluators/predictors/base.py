"""The contract of predictors of accuracy: populations of genes in, fractions out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]


class AccuracyPredictor(ABC):
    """Predicts the accuracy of a space's architectures, whole populations at once.

    Args:
        space: whose genes are taken.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    @abstractmethod
    def __call__(self, population: Genes) -> Floats:
        """Return predicted accuracies, fractions, shape (n,); `population` is (n, n_genes).

        Genes are not checked here (see `SearchSpace.check`): this is called millions of times.
        """

    @property
    def has_intervals(self) -> bool:
        """Whether predictions have intervals: errors on architectures left out are known."""
        return False

    def predict(self, population: Genes, *, coverage: float = 0.9) -> tuple[Floats, Floats, Floats]:
        """Return predicted accuracy and the ends of its interval, each of shape (n,).

        Args:
            population: shape (n, n_genes).
            coverage: probability with which the interval holds the accuracy that evaluating
                the architecture would give. The ends are NaN where there are no intervals.
        """
        del coverage
        value = self(population)
        unknown = np.full(len(value), np.nan)
        return value, unknown, unknown.copy()
