"""Expected cost of a random architecture whose genes are drawn independently; differentiable.

Wu et al. 2019 (FBNet), arXiv:1812.03443, equation 8, and Cai et al. 2019 (ProxylessNAS),
arXiv:1812.00332, equation 9, for spaces in which a gene chooses a layer. Here a factor's cost is
averaged over all combinations of the genes that it reads, in the unit of the compiled table, so
that the result is exact whatever the factors read; costs that are maxima over the factors (peak
memory) are averaged exactly, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import Fold

Probabilities = Mapping[int, Tensor]
"""By column of a gene, shape (n_options,); a gene that is not there has one option."""

_MOST_VALUES = 20_000_000
"""Of one table; a space beyond it has factors that read too many genes."""


class ExpectedCost:
    """The mean of a compiled cost over a distribution of architectures.

    Args:
        fold: the cost, in its own unit (milliseconds, millijoules, KiB, ...).

    Raises:
        SpaceError: the factors read too many genes at once.
    """

    def __init__(self, fold: Fold) -> None:
        self.fold, self.space = fold, fold.space
        terms: dict[tuple[int, ...], np.ndarray] = {}
        self._order: list[tuple[tuple[int, ...], np.ndarray]] = []
        for factor, table in zip(self.space.factors, fold.tables, strict=True):
            columns, values = _over_canonical(self.space, self.space.strides(factor)[0], table)
            if fold.how == "max":
                self._order.append((columns, values))
            else:  # factors that read the same genes are one table
                terms[columns] = terms.get(columns, 0.0) + values
        self._sums = [(columns, torch.tensor(values)) for columns, values in terms.items()]
        self._levels = _levels(values for _, values in self._order)

    def __call__(self, probabilities: Probabilities) -> Tensor:
        """Return the expected cost, a scalar, float64."""
        if self.fold.how == "max":
            return self._expected_maximum(probabilities) + self.fold.offset
        total = torch.zeros((), dtype=torch.float64)
        for columns, values in self._sums:
            total = total + _mean(values, [self._of(probabilities, c) for c in columns])
        return total + self.fold.offset

    def of(self, row: Genes) -> float:
        """Return the cost of one canonical architecture, shape (n_genes,)."""
        return float(self.fold(row[None])[0])

    def _of(self, probabilities: Probabilities, column: int) -> Tensor:
        if column in probabilities:
            return probabilities[column].double()
        return torch.ones(1, dtype=torch.float64)

    def _expected_maximum(self, probabilities: Probabilities) -> Tensor:
        """Return the mean of the greatest factor: the sum of its levels' tail probabilities.

        The probability that no factor is above a level is a product of indicators, averaged by
        eliminating genes in the order of the network, all levels at once.
        """
        levels = self._levels
        state = torch.ones((len(levels), 1), dtype=torch.float64)
        open_genes: tuple[int, ...] = ()
        for place, (columns, values) in enumerate(self._order):
            later = {c for others, _ in self._order[place + 1 :] for c in others}
            joined = (*open_genes, *(c for c in columns if c not in open_genes))
            staying = tuple(c for c in joined if c in later)
            state = self._eliminate(
                probabilities, state, open_genes, (columns, values), joined, staying
            )
            open_genes = staying
        below = state.reshape(len(levels))  # P(maximum <= level), 1 at the last
        steps = torch.from_numpy(np.diff(levels))
        return torch.tensor(levels[-1], dtype=torch.float64) - (steps * below[:-1]).sum()

    def _eliminate(  # noqa: PLR0913
        self,
        probabilities: Probabilities,
        state: Tensor,
        open_genes: tuple[int, ...],
        factor: tuple[tuple[int, ...], np.ndarray],
        joined: tuple[int, ...],
        staying: tuple[int, ...],
    ) -> Tensor:
        columns, values = factor
        sizes = {c: int(self.space.n_options[c]) for c in joined}
        n = int(np.prod([sizes[c] for c in joined], dtype=np.int64))
        if n * len(self._levels) > _MOST_VALUES:
            raise SpaceError(
                f"{self.space.name}: an expected maximum needs {n} combinations at "
                f"{len(self._levels)} levels; order the factors so that fewer genes stay open"
            )
        letters = {c: chr(ord("b") + i) for i, c in enumerate(joined)}
        is_below = values[None] <= self._levels.reshape(-1, *[1] * values.ndim)
        new = [c for c in joined if c not in open_genes]
        operands = [
            state.reshape(-1, *(sizes[c] for c in open_genes)),
            torch.from_numpy(is_below).double(),
            *(self._of(probabilities, c) for c in new),
        ]
        names = [
            "a" + "".join(letters[c] for c in open_genes),
            "a" + "".join(letters[c] for c in columns),
            *(letters[c] for c in new),
        ]
        result = "a" + "".join(letters[c] for c in staying)
        return torch.einsum(f"{','.join(names)}->{result}", *operands).reshape(
            len(self._levels), -1
        )


def _mean(values: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Return the mean of a table, the last axis first: what is left becomes smaller every time."""
    for weight in reversed(weights):
        values = values @ weight
    return values


def _over_canonical(
    space: SearchSpace, columns: list[int], table: np.ndarray
) -> tuple[tuple[int, ...], np.ndarray]:
    """Return the genes that decide on a factor's cost, and the cost by their options.

    Those are the genes that it reads and those on which their being active depends: a gene that
    is not active counts as its first option, as in canonical genes.
    """
    wanted = list(columns)
    for column in wanted:
        if column in space.conditions and space.conditions[column][0] not in wanted:
            wanted.append(space.conditions[column][0])
    sizes = [int(space.n_options[c]) for c in wanted]
    if not sizes:
        return (), table.reshape(())
    if np.prod(sizes, dtype=np.float64) > _MOST_VALUES:
        raise SpaceError(f"{space.name}: a factor's cost depends on {len(wanted)} genes, too many")
    grid: Genes = np.zeros((int(np.prod(sizes, dtype=np.int64)), space.n_genes), dtype=np.int8)
    options = np.indices(sizes).reshape(len(sizes), -1)
    for column, values in zip(wanted, options, strict=True):
        grid[:, column] = values
    grid = np.where(_active(space, grid, wanted), grid, 0).astype(np.int64)
    counts = space.n_options[columns]
    place = np.zeros(len(grid), dtype=np.int64)
    for column, count in zip(columns, counts, strict=True):
        place = place * int(count) + grid[:, column]
    return tuple(wanted), table[place].reshape(sizes)


def _active(space: SearchSpace, grid: Genes, wanted: Sequence[int]) -> np.ndarray:
    mask = np.ones(grid.shape, dtype=bool)
    for column, (parent, allowed) in space.conditions.items():  # parents come first
        if column in wanted:
            mask[:, column] = mask[:, parent] & allowed[grid[:, parent]]
    return mask


def _levels(tables: Iterable[np.ndarray]) -> np.ndarray:
    found = [np.unique(values) for values in tables]
    return np.unique(np.concatenate(found)) if found else np.zeros(0)
