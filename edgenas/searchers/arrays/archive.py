"""Elites: the best architectures by cost, unlike each other, and the best for every budget.

A grid over the costs, as in MAP-Elites (Mouret & Clune 2015, arXiv:1504.04909); inside a cell the
better one clears away what is like it (Petrowski 1996, doi:10.1109/ICEC.1996.542703).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LISTED = 40  # of a cell's best, those among which unlike ones are looked for


class Seen:
    """Remembers which architectures came by: their hashes, in sorted blocks of growing size."""

    def __init__(self, n_genes: int) -> None:
        rng = np.random.default_rng(0x5EED)
        self._factors = rng.integers(1, 1 << 63, n_genes, dtype=np.uint64) | np.uint64(1)
        self._blocks: list[npt.NDArray[np.uint64]] = []

    def keys(self, population: Genes) -> npt.NDArray[np.uint64]:
        """Return a hash of every architecture, shape (n,)."""
        keys: npt.NDArray[np.uint64] = (population.astype(np.uint64) + np.uint64(1)) @ self._factors
        return keys

    def fresh(self, population: Genes) -> Ints:
        """Return the rows of what is here for the first time, in order, and remember them."""
        keys, rows = self._unknown(population)
        if len(keys):
            self._blocks.append(keys)
        while len(self._blocks) > 1 and len(self._blocks[-2]) < 2 * len(self._blocks[-1]):
            pair = np.concatenate([self._blocks.pop(), self._blocks.pop()])
            self._blocks.append(np.sort(pair, kind="stable"))
        return np.sort(rows)

    def missing(self, population: Genes) -> Ints:
        """Return the rows that `fresh` would return, and remember nothing."""
        return np.sort(self._unknown(population)[1])

    def _unknown(self, population: Genes) -> tuple[npt.NDArray[np.uint64], Ints]:
        """Return the keys of what did not come by, in order, and the first row of each."""
        keys, first = np.unique(self.keys(population), return_index=True)
        known = np.zeros(len(keys), dtype=bool)
        for block in self._blocks:
            places = np.minimum(np.searchsorted(block, keys), len(block) - 1)
            known |= block[places] == keys
        return keys[~known], first[~known]


class Archive:
    """Elites in cells of a grid over the costs.

    Attributes are arrays of equal length, by cell: `genes`, `accuracy` (the best of a cell first),
    `costs`, `cells`, and `expanded`, which says whose neighbours were looked at. `best` and
    `best_genes` are by budget.

    Args:
        n_genes: of the space.
        edges: by cost the upper ends of the cells, increasing; what is above the last end is not
            kept.
        budgets: limits on the costs, shape (n_budgets, n_costs), inf where there is none.
        n_elites: a cell keeps so many.
        distance: how unlike elites of a cell are at least: the sum of the weights of the genes in
            which they differ.
        weights: of the genes, shape (n_genes,); default: 1 each.
    """

    def __init__(  # noqa: PLR0913
        self,
        n_genes: int,
        edges: Sequence[Floats],
        budgets: Floats,
        *,
        n_elites: int,
        distance: int,
        weights: Ints | None = None,
    ) -> None:
        self.edges, self.budgets = list(edges), budgets
        self._widest = _widest(budgets)
        self.n_elites, self.distance = n_elites, distance
        # Small integers, which are exact as floats: sums of products of those are fast.
        self.weights = np.ones(n_genes, np.float32) if weights is None else np.float32(weights)
        self.genes: Genes = np.zeros((0, n_genes), dtype=np.int8)
        self.accuracy: Floats = np.zeros(0)
        self.costs: Floats = np.zeros((0, len(edges)))
        self.cells: Ints = np.zeros(0, dtype=np.int64)
        self.expanded: npt.NDArray[np.bool_] = np.zeros(0, dtype=bool)
        n_cells = int(np.prod([len(ends) for ends in self.edges]))
        self._floors: Floats = np.full(n_cells, -np.inf)
        self.best: Floats = np.full(len(budgets), -np.inf)
        self.best_genes: Genes = np.zeros((len(budgets), n_genes), dtype=np.int8)

    def __len__(self) -> int:
        return len(self.genes)

    def merge(self, genes: Genes, accuracy: Floats, costs: Floats) -> None:
        """Take in architectures that were evaluated: (n, n_genes), (n,), (n, n_costs)."""
        self._note_best(genes, accuracy, costs)
        cells = self._cells(costs)
        # In a cell that is full, what is no better than its worst elite does not get in.
        fine = (cells >= 0) & (accuracy > self._floors[cells])
        if fine.any():
            self._merge(genes[fine], accuracy[fine], costs[fine], cells[fine])

    def _merge(self, genes: Genes, accuracy: Floats, costs: Floats, cells: Ints) -> None:
        """Find the elites of the cells that get something new; the others stay as they are."""
        touched = np.zeros(len(self._floors), dtype=bool)
        touched[cells] = True
        again = touched[self.cells]
        rows = np.append(np.flatnonzero(again), np.arange(len(genes)) + len(self))
        self.genes = np.concatenate([self.genes, genes])
        self.accuracy = np.concatenate([self.accuracy, accuracy])
        self.costs = np.concatenate([self.costs, costs])
        self.cells = np.concatenate([self.cells, cells])
        self.expanded = np.append(self.expanded, np.zeros(len(genes), dtype=bool))
        rows = np.append(np.flatnonzero(~again), self._elites(rows))
        rows = rows[np.lexsort((-self.accuracy[rows], self.cells[rows]))]
        self.genes, self.accuracy = self.genes[rows], self.accuracy[rows]
        self.costs, self.cells = self.costs[rows], self.cells[rows]
        self.expanded = self.expanded[rows]
        self._note_floors(touched)

    def _elites(self, rows: Ints) -> Ints:
        """Return those of `rows` that are elites of their cells."""
        cells = self.cells[rows]
        order = np.lexsort((-self.accuracy[rows], cells))
        ranks = np.arange(len(order)) - np.searchsorted(cells[order], cells[order])
        rows = rows[order[ranks < _LISTED]]
        return rows[self._unlike(self.genes[rows], self.cells[rows])]

    def _note_floors(self, touched: npt.NDArray[np.bool_]) -> None:
        counts = np.bincount(self.cells, minlength=len(touched))
        self._floors[touched] = -np.inf
        full = np.flatnonzero(touched & (counts >= self.n_elites))
        self._floors[full] = self.accuracy[np.searchsorted(self.cells, full, side="right") - 1]

    def to_expand(self, budgets: Ints, n_each: int) -> tuple[Ints, Ints]:
        """Return the best elites whose neighbours were not looked at, and the budget of each.

        They count as looked at from now on.
        """
        rows: list[Ints] = []
        for budget in budgets.tolist():
            fine = ~self.expanded & (self.costs <= self.budgets[budget]).all(axis=1)
            found = np.flatnonzero(fine)
            found = found[np.argsort(-self.accuracy[found], kind="stable")[:n_each]]
            self.expanded[found] = True
            rows.append(found)
        owners = np.repeat(budgets, [len(found) for found in rows])
        return np.concatenate(rows), owners

    def within(self, costs: Floats) -> npt.NDArray[np.bool_]:
        """Return which costs some budget allows, shape (n,)."""
        found = np.zeros(len(costs), dtype=np.bool_)
        for limits in self._widest:
            kept = np.ones(len(costs), dtype=np.bool_)
            for column, limit in zip(costs.T, limits, strict=True):
                kept &= column <= limit
            found |= kept
        return found

    def best_within(self, costs: Floats) -> Floats:
        """Return the accuracy that is known for no more than each of `costs`, by cells.

        inf for costs beyond the last cell, -inf where nothing is known. Shape (n,).
        """
        best = np.full(len(self._floors), -np.inf)
        cells, first = np.unique(self.cells, return_index=True)
        best[cells] = self.accuracy[first]
        grid = best.reshape([len(ends) for ends in self.edges])
        for axis in range(grid.ndim):
            np.maximum.accumulate(grid, axis=axis, out=grid)
        cells = self._cells(costs)
        return np.where(cells < 0, np.inf, grid.ravel()[cells])

    def _note_best(self, genes: Genes, accuracy: Floats, costs: Floats) -> None:
        if not len(genes):
            return
        fine = (costs[:, None, :] <= self.budgets).all(axis=2)
        values = np.where(fine, accuracy[:, None], -np.inf)
        rows = values.argmax(axis=0)
        found = values[rows, np.arange(len(rows))]
        better = found > self.best
        self.best = np.where(better, found, self.best)
        self.best_genes[better] = genes[rows[better]]

    def _cells(self, costs: Floats) -> Ints:
        cells = np.zeros(len(costs), dtype=np.int64)
        outside = np.zeros(len(costs), dtype=bool)
        for column, edges in zip(costs.T, self.edges, strict=True):
            place = np.searchsorted(edges, column)
            outside |= place == len(edges)
            cells = cells * len(edges) + place
        return np.where(outside, -1, cells)

    def _unlike(self, genes: Genes, cells: Ints) -> Ints:
        """Return rows to keep; rows stand by cell, the best first."""
        taken: list[Ints] = []
        rows = np.arange(len(genes))
        for _ in range(self.n_elites):
            if not len(rows):
                break
            own = cells[rows]
            begins = np.append(True, own[1:] != own[:-1])
            leaders = rows[begins]
            taken.append(leaders)
            unlike = genes[rows] != genes[leaders][np.cumsum(begins) - 1]
            apart = unlike.astype(np.float32) @ self.weights
            rows = rows[apart >= self.distance]
        return np.sort(np.concatenate(taken)) if taken else rows


def _widest(budgets: Floats) -> Floats:
    """Return the budgets that no other one includes."""
    distinct = np.unique(budgets, axis=0)
    inside = (distinct[:, None, :] <= distinct[None, :, :]).all(axis=2)
    widest: Floats = distinct[inside.sum(axis=1) == 1]  # each is inside itself
    return widest
