"""Additive quantities: what a linear predictor says, as a number an option of every gene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import Fold

Floats = npt.NDArray[np.float64]


class GeneSum:
    """A number for every option of every gene, added up over canonical genes.

    Args:
        space: whose genes are read; inactive ones count with their option 0.
        weights: one array a gene, shape (n_options,).
        offset: added to every architecture.

    Raises:
        SpaceError: the weights are not those of the space's options.
    """

    def __init__(
        self, space: SearchSpace, weights: Sequence[npt.ArrayLike], *, offset: float = 0.0
    ) -> None:
        self.space, self.offset = space, offset
        self.weights = [np.asarray(values, dtype=np.float64) for values in weights]
        found = [values.shape for values in self.weights]
        wanted = [(int(n),) for n in space.n_options]
        if found != wanted:
            raise SpaceError(
                f"{space.name} takes one array of weights a gene, of shapes {wanted}, got {found}"
            )
        self._starts = np.concatenate([[0], np.cumsum(space.n_options)[:-1]])

    @classmethod
    def from_linear(
        cls, space: SearchSpace, coefficients: npt.ArrayLike, *, offset: float = 0.0
    ) -> GeneSum:
        """Return a linear function of `SearchSpace.encode`, whose inactive genes are zeros.

        Args:
            space: whose features they are.
            coefficients: shape (sum of options,).
            offset: of the linear function.

        Raises:
            SpaceError: another number of coefficients.
        """
        flat = np.asarray(coefficients, dtype=np.float64)
        if flat.shape != (int(space.n_options.sum()),):
            raise SpaceError(
                f"{space.name} has {int(space.n_options.sum())} features, got coefficients of "
                f"shape {flat.shape}"
            )
        given = np.split(flat, np.cumsum(space.n_options)[:-1])
        weights = [values - values[0] for values in given]
        for gene, values in enumerate(given):
            # Option 0 counts where the gene is active, and so does every option's difference to it.
            offset += _add_active(space, weights, gene, float(values[0]))
        return cls(space, weights, offset=offset)

    def __call__(self, population: Genes) -> Floats:
        """Return the sum of every architecture, shape (n,); `population` is canonical."""
        flat = np.concatenate(self.weights)
        total: Floats = flat[population + self._starts].sum(axis=1) + self.offset
        return total


Additive = Fold | GeneSum
"""What the exact programme takes: parts that are added up, or whose maximum is taken."""


def _add_active(space: SearchSpace, weights: list[Floats], gene: int, amount: float) -> float:
    """Add `amount` to every architecture in which `gene` is active; return what is constant."""
    if gene not in space.conditions:
        return amount
    parent, allowed = space.conditions[gene]
    weights[parent][1:] += amount * allowed[1:]
    if not allowed[0]:  # an inactive parent has option 0, so its own activity says nothing more
        return 0.0
    weights[parent][1:] -= amount
    return _add_active(space, weights, parent, amount)
