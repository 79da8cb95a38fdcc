"""Which genes no sum can hold, as they choose the size of the image; known without torch."""

from __future__ import annotations

import numpy as np

from edgenas.core.errors import SpaceError
from edgenas.core.ops import OpSpec
from edgenas.spaces.base import Factor, SearchSpace


def drawn_genes(space: SearchSpace) -> frozenset[int]:
    """Return the columns of genes of which one option runs at a time: those of the input's size.

    Raises:
        SpaceError: other genes choose the height or width of something inside the network, or
            there is nothing to choose.
    """
    if not (space.n_options > 1).any():
        raise SpaceError(
            f"{space.name} has one architecture; a differentiable search needs choices"
        )
    first = space.factors[0]
    drawn = _columns_of_size(space, first, space.combination_ops[0])
    for factor, table in zip(space.factors, space.combination_ops, strict=True):
        if factor.mixed is None and _columns_of_size(space, factor, table) - drawn:
            raise SpaceError(
                f"{space.name}: the choices of {factor.name} read images of several sizes; a "
                "mixed supernet takes spaces in which the resolution of the input alone decides"
            )
    return frozenset(drawn)


def _columns_of_size(
    space: SearchSpace, factor: Factor, table: list[tuple[OpSpec, ...]]
) -> set[int]:
    """Return the genes of a factor on which the size of what it reads depends."""
    if factor.mixed is not None:
        return set()
    columns, _ = space.strides(factor)
    sizes = {specs[0].in_shape[1:] for specs in table if specs}
    numbers = {size: i for i, size in enumerate(sorted(sizes))}
    # A combination that runs nothing reads whatever comes.
    found = np.array([numbers[specs[0].in_shape[1:]] if specs else -1 for specs in table])
    grid = found.reshape([int(space.n_options[c]) for c in columns])
    return {c for axis, c in enumerate(columns) if _depends(grid, axis)}


def _depends(grid: np.ndarray, axis: int) -> bool:
    high = grid.max(axis=axis)
    low = np.where(grid < 0, np.iinfo(grid.dtype).max, grid).min(axis=axis)
    return bool(((low < high) & (high >= 0)).any())
