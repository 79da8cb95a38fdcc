"""Architectures that differ in one gene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace


def changes_by_gene(space: SearchSpace, genes: Genes) -> Iterator[Genes]:
    """Yield, for every active gene, what its other options make of an architecture.

    Args:
        space: of the architecture.
        genes: canonical, shape (n_genes,).

    Yields:
        Canonical genes, shape (n, n_genes), without `genes` itself.
    """
    for column in np.flatnonzero(space.active(genes[None])[0]):
        rows = np.repeat(genes[None], int(space.n_options[column]), axis=0)
        rows[:, column] = np.arange(len(rows))
        changed = space.canonical(rows)
        yield changed[(changed != genes).any(axis=1)]


def neighbours(space: SearchSpace, genes: Genes) -> Genes:
    """Return all that `changes_by_gene` yields, each once, shape (n, n_genes)."""
    found = [np.zeros((0, space.n_genes), dtype=np.int8), *changes_by_gene(space, genes)]
    every: Genes = np.unique(np.concatenate(found), axis=0)
    return every
