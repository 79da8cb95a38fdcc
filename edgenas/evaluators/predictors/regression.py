"""The contract of regressions on architectures' features: fitted once, then plain arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from edgenas.evaluators.predictors.features import Features, Floats, Singles

Arrays = Mapping[str, npt.NDArray[np.float32] | npt.NDArray[np.float64] | npt.NDArray[np.int32]]


class Regression(ABC):
    """A function of features, fitted to targets of mean 0 and deviation 1.

    All that prediction needs is in `arrays`, so that a fitted one is saved without code and
    loaded without the library that fitted it.
    """

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, features: Features, rows: Singles, target: Floats, *, seed: int) -> Self:
        """Return the regression of `target` on the features of some architectures.

        Args:
            features: what the rows are; says which of them are options and which are counts.
            rows: of the architectures, in columns, shape (n_features, n).
            target: shape (n,), mean 0 and deviation 1.
            seed: decides whatever is random.
        """

    @abstractmethod
    def __call__(self, rows: Singles) -> Floats:
        """Return the function at `rows`, shape (n_features, n), as shape (n,)."""

    @abstractmethod
    def arrays(self) -> Arrays:
        """Return all that prediction needs, by name."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the regression whose `arrays` these are.

        Raises:
            KeyError: an array is missing.
            ValueError: arrays do not fit together.
        """
