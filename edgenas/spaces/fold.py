"""Numbers of operators, compiled over a space: whole populations are costed by gathers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgenas.core import counts
from edgenas.core.architecture import Genes
from edgenas.core.ops import Graph, OpSpec
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import expand

How = Literal["sum", "max"]
Floats = npt.NDArray[np.float64]
_CHUNK = 1 << 15  # rows; a chunk's columns and indices stay in the second-level cache


class Fold:
    """One number a combination of a factor's genes, folded over the factors by sum or max.

    Args:
        space: the space that it is compiled for.
        tables: per factor an array, shape (n_combinations,), in the order of
            `SearchSpace.combination_ops`.
        how: how the factors' numbers become the network's.
        offset: added to every network (a runtime's overhead a run).
    """

    def __init__(
        self, space: SearchSpace, tables: list[Floats], *, how: How = "sum", offset: float = 0.0
    ) -> None:
        self.space, self.tables, self.how, self.offset = space, tables, how, offset
        self._plan = [
            (table, list(zip(*space.strides(factor), strict=True)))
            for factor, table in zip(space.factors, tables, strict=True)
        ]

    @classmethod
    def compile(
        cls,
        space: SearchSpace,
        value: Callable[[OpSpec], float],
        *,
        how: How = "sum",
        offset: float = 0.0,
    ) -> Fold:
        """Ask `value` once for every distinct operator of `space` and lay out the tables."""
        values = {op: float(value(op)) for op in space.distinct_ops()}
        join = sum if how == "sum" else (lambda parts: max(parts, default=0.0))
        tables = [
            np.array([join([values[op] for op in specs]) for specs in table], dtype=np.float64)
            for table in space.combination_ops
        ]
        return cls(space, tables, how=how, offset=offset)

    def __call__(self, population: Genes) -> Floats:
        """Return the number of every architecture, shape (n,); `population` is (n, n_genes)."""
        result = np.empty(len(population))
        reduce = np.add if self.how == "sum" else np.maximum
        for start in range(0, len(population), _CHUNK):
            genes = np.ascontiguousarray(population[start : start + _CHUNK].T).astype(np.int32)
            total = np.zeros(genes.shape[1])
            for table, places in self._plan:
                index = sum((genes[c] * np.int32(w) for c, w in places), np.int32(0))
                reduce(total, table[index], out=total)
            result[start : start + _CHUNK] = total
        return result + self.offset

    def by_factor(self, population: Genes) -> Floats:
        """Return every factor's number for every architecture, shape (n, n_factors)."""
        genes = population.astype(np.int64)
        columns = [
            table[sum((genes[:, c] * w for c, w in places), np.zeros(len(genes), np.int64))]
            for table, places in self._plan
        ]
        return np.stack(columns, axis=1)


def _of_graph(count: Callable[[Graph], float]) -> Callable[[OpSpec], float]:
    return lambda op: float(count(expand(op)))


def macs(space: SearchSpace) -> Fold:
    """Multiply-accumulates, batch 1."""
    return Fold.compile(space, _of_graph(counts.n_macs))


def params(space: SearchSpace) -> Fold:
    """Trainable parameters."""
    return Fold.compile(space, _of_graph(counts.n_params))


def weights_kib(space: SearchSpace, precision: str = "float32") -> Fold:
    """Deployed weights, KiB."""
    return Fold.compile(
        space, _of_graph(lambda graph: counts.weight_bytes(graph, precision) / 1024)
    )


def peak_activation_kib(space: SearchSpace, precision: str = "float32") -> Fold:
    """Peak of live activations, KiB; blocks are chained, so the network's peak is a block's."""
    return Fold.compile(
        space,
        _of_graph(lambda graph: counts.peak_activation_bytes(graph, precision) / 1024),
        how="max",
    )


COUNTS: dict[str, Callable[[SearchSpace], Fold]] = {
    "n_macs": macs,
    "n_params": params,
    "weights_kib": weights_kib,
    "peak_activation_kib": peak_activation_kib,
}
"""Objectives that need no device, by name."""
