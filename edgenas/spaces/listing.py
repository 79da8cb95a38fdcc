"""All architectures of a small space, listed."""

from __future__ import annotations

from math import prod

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace

MOST_COMBINATIONS = 1 << 17
"""Spaces of at most so many combinations of options are listed."""


def listing(space: SearchSpace) -> Genes | None:
    """Return every architecture of `space` once, canonical, in a fixed order; None of a large one.

    Returns:
        Shape (n, n_genes), the first gene turning slowest.
    """
    n_options = space.n_options.tolist()
    if prod(n_options) > MOST_COMBINATIONS:
        return None
    grid = np.indices(n_options, dtype=np.int8).reshape(space.n_genes, -1).T
    every: Genes = np.unique(space.canonical(grid), axis=0)
    return every
