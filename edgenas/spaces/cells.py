"""Cells of NAS-Bench-201 as blocks: their edges, what leads through them, what is between them.

Dong and Yang 2020 (NAS-Bench-201), arXiv:2001.00326, figure 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgenas.core import ops
from edgenas.core.ops import Graph, Node, OpSpec, Shape
from edgenas.spaces.blocks import BLOCKS, GraphBuilder
from edgenas.spaces.mixed_cell import MixedCell, MixedEdge

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""From node to node, in the order of the benchmark's text."""

PATHS = ([0, 2, 5], [0, 4], [1, 5], [3])
"""Numbers of the edges of every path from node 0 to node 3, in order."""

_KERNELS = {"o": 1, "t": 3}
_LETTERS = {
    "none": "n",
    "skip_connect": "s",
    "avg_pool_3x3": "p",
    "nor_conv_1x1": "o",
    "nor_conv_3x3": "t",
}
"""Operators in the key of a cell, a letter an edge."""


def used_edges(is_there: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which edges some whole path runs over; both arrays have shape (n, n_edges)."""
    used = np.zeros_like(is_there)
    for path in PATHS:
        used[:, path] |= is_there[:, path].all(axis=1, keepdims=True)
    return used


def reads_activated(letters: str) -> bool:
    """Return whether a cell reads its input through the ReLU of its convolutions only.

    Then what comes before the cell, a cell of the same kind or the block between stages, ends
    with that ReLU: engines take it along with the sum or the convolution that it follows, and a
    block that is timed alone has to end where a kernel does.
    """
    return [step.letter for step in _steps(letters) if "input" in step.inputs] == ["r"]


@cache
def cell_letters(edges: tuple[str, ...]) -> str:
    """Return what leads through a cell, a letter for each of `EDGES`; ``n`` where nothing does."""
    used = {edge for path in PATHS if all(edges[one] != "none" for one in path) for edge in path}
    return "".join(_LETTERS[e] if i in used else "n" for i, e in enumerate(edges))


def cell(in_shape: Shape, letters: str, *, activation: str = "none") -> OpSpec | None:
    """Return a cell as an operator; None if it returns its input as it is.

    Args:
        in_shape: every node has this shape.
        letters: what `cell_letters` makes of its edges.
        activation: of what it returns, ``"relu"`` or ``"none"``; see `reads_activated`.
    """
    if set(letters) == {"n", "s"} and _n_paths(letters) == 1:
        return None
    return _cell(in_shape, letters, activation)


@cache
def _cell(in_shape: Shape, letters: str, activation: str) -> OpSpec:
    return OpSpec.make("nas_bench_201_cell", in_shape, edges=letters, activation=activation)


def _n_paths(letters: str) -> int:
    return sum(all(letters[edge] != "n" for edge in path) for path in PATHS)


def mixed_cell(in_shape: Shape, genes: Sequence[str], options: Sequence[str]) -> MixedCell:
    """Return a cell with all edges open.

    Args:
        in_shape: every node has this shape.
        genes: that choose the operators of `EDGES`.
        options: of every gene, keys of the letters' table.
    """
    return MixedCell(
        tuple(
            MixedEdge(
                source,
                target,
                gene,
                f"edge{source}to{target}",
                tuple(_mixed_option(in_shape, _LETTERS[option]) for option in options),
            )
            for (source, target), gene in zip(EDGES, genes, strict=True)
        ),
        n_nodes=4,
    )


def _mixed_option(in_shape: Shape, letter: str) -> Graph | None:
    """Return what an edge runs with a letter."""
    if letter == "n":
        return None
    if letter == "s":
        return Graph(in_shape, ())
    nodes = [Node("act", _primitive(in_shape, "r"), ("input",))] if letter in _KERNELS else []
    source = nodes[-1].name if nodes else "input"
    return Graph(in_shape, (*nodes, Node("layer", _primitive(in_shape, letter), (source,))))


@BLOCKS.add("nas_bench_201_cell")
def _expand_cell(op: OpSpec) -> Graph:
    letters = str(op["edges"])
    steps = _steps(letters)
    entry = next((s.name for s in steps if s.letter == "r"), "") if reads_activated(letters) else ""
    nodes = [
        Node(
            step.name,
            _primitive(op.in_shape, step.letter),
            tuple("input" if name == entry else name for name in step.inputs),
        )
        for step in steps
        if step.name != entry
    ]
    if op["activation"] == "relu":
        nodes.append(Node("act", _primitive(op.in_shape, "r"), (nodes[-1].name,)))
    return Graph(op.in_shape, tuple(nodes))


class _Step(NamedTuple):
    """What a cell computes, of whatever shape: see `_primitive` for the letters."""

    name: str
    letter: str
    inputs: tuple[str, ...]


@cache
def _steps(letters: str) -> tuple[_Step, ...]:
    """Return how a cell comes by its last node: a node is the sum of what its edges make."""
    if set(letters) == {"n"}:
        return (_Step("zeros", "n", ("input",)),)
    steps: list[_Step] = []
    values = {0: "input"}
    for target in (1, 2, 3):
        terms = [
            _edge(steps, letter, f"edge{source}to{target}", values[source])
            for (source, end), letter in zip(EDGES, letters, strict=True)
            if end == target and letter != "n"
        ]
        for i, term in enumerate(terms):
            if i == 0:
                values[target] = term
                continue
            name = f"node{target}.sum{i}"
            steps.append(_Step(name, "+", (values[target], term)))
            values[target] = name
    return tuple(steps)


def _edge(steps: list[_Step], letter: str, name: str, value: str) -> str:
    """Append what an edge runs on `value`; return the name of what it makes."""
    if letter == "s":
        return value
    if letter in _KERNELS:  # ReLU, convolution, batch norm; edges of a value share the first
        act = f"{value}.act"
        if all(step.name != act for step in steps):
            steps.append(_Step(act, "r", (value,)))
        value = act
    steps.append(_Step(name, letter, (value,)))
    return name


@cache
def _primitive(shape: Shape, letter: str) -> OpSpec:
    """Return what an edge of a letter runs, ReLU (r) or sum (+), of which a space has few."""
    if letter in _KERNELS:
        return ops.conv2d(shape, shape[0], kernel=_KERNELS[letter], norm=True)
    if letter == "p":
        return ops.avg_pool2d(shape, kernel=3, stride=1, padding=1)
    if letter == "r":
        return ops.activation(shape, "relu")
    return ops.add(shape) if letter == "+" else ops.zeros(shape)


def basic_block(
    in_shape: Shape, out_channels: int, *, stride: int, activation: str = "none"
) -> OpSpec:
    """Return the residual block between stages: two 3x3 convolutions, ReLU before each.

    The shortcut is the input's average over `stride` x `stride` pixels through a 1x1 convolution.
    `activation` is that of the sum, ``"relu"`` or ``"none"``; see `reads_activated`.
    """
    return OpSpec.make(
        "nas_bench_201_reduction",
        in_shape,
        out_channels=out_channels,
        stride=stride,
        activation=activation,
    )


@BLOCKS.add("nas_bench_201_reduction")
def _expand_basic_block(op: OpSpec) -> Graph:
    builder, stride = GraphBuilder(op.in_shape), op.integer("stride")
    width = op.integer("out_channels")
    builder.then("downsample_pool", ops.avg_pool2d(op.in_shape, kernel=stride, stride=stride))
    builder.conv("downsample", width, norm=False)
    shortcut, builder.last, builder.shape = builder.last, "input", op.in_shape
    builder.then("act", ops.activation(builder.shape, "relu"))
    builder.conv("conv1", width, kernel=3, stride=stride, activation="relu")
    builder.conv("conv2", width, kernel=3)
    builder.then("shortcut", ops.add(builder.shape), shortcut)
    if op["activation"] == "relu":
        builder.then("shortcut_act", ops.activation(builder.shape, "relu"))
    return builder.graph()
