"""In which order architectures are written and read, gene by gene."""

from __future__ import annotations

from edgenas.spaces.base import SearchSpace


def gene_order(space: SearchSpace) -> list[int]:
    """Return the columns of the genes, parents before what they make active."""
    rank = dict.fromkeys(range(space.n_genes), 0)
    for column, (parent, _) in space.conditions.items():  # parents come first
        rank[column] = rank[parent] + 1
    return sorted(rank, key=lambda column: (rank[column], column))
