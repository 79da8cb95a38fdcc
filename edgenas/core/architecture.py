"""An architecture: a point of a search space, as genes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Genes = npt.NDArray[np.int8]
"""Option indices; one architecture has shape (n_genes,), a population (n, n_genes)."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Canonical genes of one architecture in the space called `space`."""

    space: str
    genes: tuple[int, ...]

    @property
    def id(self) -> str:
        """Ten hex digits that name this architecture in files and on screens."""
        text = f"{self.space}:{','.join(map(str, self.genes))}"
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def row(self) -> Genes:
        """The genes as an array, shape (n_genes,)."""
        return np.asarray(self.genes, dtype=np.int8)


def architectures(space: str, population: Genes) -> list[Architecture]:
    """Return one `Architecture` for every row of `population`, shape (n, n_genes)."""
    return [Architecture(space, tuple(row)) for row in population.tolist()]


def population(archs: list[Architecture], n_genes: int) -> Genes:
    """Return the genes of `archs` as an array, shape (n, n_genes)."""
    return np.array([arch.genes for arch in archs], dtype=np.int8).reshape(len(archs), n_genes)
