"""Moves between architectures: all choices of one part of the network, for whole populations."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_COMBINATIONS = 512
"""A factor with more combinations of its own genes moves one gene at a time."""


class Moves:
    """Every assignment of the genes of one factor, and of every gene that many factors read.

    A gene that at least half of the factors read (the resolution) moves alone; the others move
    with the genes of their factor, so that a block that begins to run comes with all its choices.

    Attributes:
        masks: which genes a move sets, shape (n_moves, n_genes).
        options: what it sets them to, shape (n_moves, n_genes).
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        readers = np.zeros(space.n_genes, dtype=np.int64)
        for factor in space.factors:
            readers[[space.index[name] for name in factor.genes]] += 1
        shared = readers * 2 >= len(space.factors)
        groups: dict[tuple[int, ...], None] = {}
        for factor in space.factors:
            columns = sorted(space.index[name] for name in factor.genes)
            own = tuple(gene for gene in columns if not shared[gene])
            fits = own and np.prod(space.n_options[list(own)]) <= MOST_COMBINATIONS
            for group in [own] if fits else [(gene,) for gene in own]:
                groups[group] = None
        for gene in range(space.n_genes):
            if shared[gene] or not any(gene in group for group in groups):
                groups[(gene,)] = None
        masks, options = [], []
        for group in groups:
            for combination in product(*(range(space.n_options[gene]) for gene in group)):
                mask, option = np.zeros(space.n_genes, bool), np.zeros(space.n_genes, np.int8)
                mask[list(group)], option[list(group)] = True, combination
                masks.append(mask)
                options.append(option)
        self.masks, self.options = np.array(masks), np.array(options)
        self._touch = (self.masks.astype(np.float32) @ self.masks.T.astype(np.float32)) > 0

    def __len__(self) -> int:
        return len(self.masks)

    def apply(self, population: Genes, moves: Ints) -> Genes:
        """Return the architectures after a move each, or after several: shape (n, n_genes).

        Args:
            population: shape (n, n_genes).
            moves: shape (n,) or (n, k), made one after the other.
        """
        genes = population
        for column in np.atleast_2d(moves.T):
            genes = np.where(self.masks[column], self.options[column], genes)
        return self.space.canonical(genes)

    def singles(self, population: Genes) -> Genes:
        """Return what every single move makes of everyone, shape (n * n_moves, n_genes)."""
        n, m = len(population), len(self)
        children = np.where(self.masks[None], self.options[None], population[:, None, :])
        return self.space.canonical(children.reshape(n * m, -1))

    def independent(self, promising: Ints, places: Ints) -> npt.NDArray[np.bool_]:
        """Return which combinations of moves set different genes, shape (n, n_combinations).

        Args:
            promising: shape (n, k), numbers of moves.
            places: in `promising`, shape (n_combinations, size).
        """
        free = np.ones((len(promising), len(places)), dtype=bool)
        for a, b in combinations(range(places.shape[1]), 2):
            free &= ~self._touch[promising[:, places[:, a]], promising[:, places[:, b]]]
        return free
