"""What a surrogate says of architectures: a normal distribution each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgenas.searchers.problem import Floats


@dataclass(frozen=True, slots=True)
class Normal:
    """Means and standard deviations, each of shape (n,)."""

    mean: Floats
    std: Floats

    def at(self, deviations: Floats) -> Floats:
        """Return the values so many deviations above the means, shape (n, n_deviations)."""
        found: Floats = self.mean[:, None] + self.std[:, None] * deviations[None]
        return found


class Model(Protocol):
    """A fitted surrogate."""

    def __call__(self, blocks: list[Floats]) -> Normal:
        """Return what it expects of architectures, noise of an evaluation included.

        Args:
            blocks: their features in groups, each (n, n_features), as it was fitted to.
        """
