"""Cells as graphs of edges, for searchers that mix what each edge may run.

The combinations of a cell's edges are too many to be run side by side; the options of every edge
are few. A factor that repeats a cell says so (`edgenas.spaces.base.Factor.mixed`).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgenas.core.ops import Graph, OpSpec


@dataclass(frozen=True, slots=True)
class MixedEdge:
    """One edge of a cell.

    Attributes:
        source: number of the node that it reads; node 0 is the cell's input.
        target: number of the node that it is added to.
        gene: that chooses what it runs.
        layer: name of the node that it is, if it has weights, in the graph of a chosen cell.
        options: what it runs, by option of the gene: primitives in a row, the last of which is
            the one that may have weights; none at all returns the input, and None makes zeros.
    """

    source: int
    target: int
    gene: str
    layer: str
    options: tuple[Graph | None, ...]


@dataclass(frozen=True, slots=True)
class MixedCell:
    """A cell whose edges are chosen; every node is the sum of its edges, the last is the output."""

    edges: tuple[MixedEdge, ...]
    n_nodes: int


MixedPart = OpSpec | MixedCell
"""A part of a factor that is mixed: an operator that all combinations share, or a cell."""
