"""Operators on a part of their channels, with a part of their weights.

Xu et al. 2020 (PC-DARTS), arXiv:1907.05737, section 3.2: candidates see 1 / K of the channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from math import prod

from torch import Tensor

from edgenas.core.errors import SpaceError
from edgenas.core.ops import Graph, OpSpec
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import out_shape
from edgenas.spaces.mixed_cell import MixedCell

_WIDTHS = ("out_channels", "mid_channels", "se_channels")
"""Attributes that count channels."""


@lru_cache(maxsize=4096)
def can_be_narrow(op: OpSpec, parts: int) -> bool:
    """Return whether `op` returns what goes in, in shape, and does so with fewer channels, too."""
    try:
        return out_shape(op) == op.in_shape and out_shape(narrow_op(op, parts)) == (
            op.in_shape[0] // parts,
            *op.in_shape[1:],
        )
    except SpaceError:
        return False


def narrow_op(op: OpSpec, parts: int) -> OpSpec:
    """Return `op` on one of `parts` parts of its channels.

    Raises:
        SpaceError: some number of channels does not divide.
    """
    widths = {name: value for name, value in op.attrs if name in _WIDTHS}
    for what, count in {"channels": op.in_shape[0], **widths}.items():
        if int(count) % parts:
            raise SpaceError(f"{op.key}: {count} {what} cannot be divided by {parts}")
    attrs = {**dict(op.attrs), **{name: int(count) // parts for name, count in widths.items()}}
    channels, *size = op.in_shape
    return OpSpec.make(op.kind, (channels // parts, *size), **attrs)


def check_cells(space: SearchSpace, parts: int) -> None:
    """Refuse to divide channels of cells that cannot be divided by `parts`.

    Raises:
        SpaceError: some number of channels of an edge does not divide.
    """
    for factor in space.factors:
        for part in factor.mixed() if factor.mixed else ():
            if isinstance(part, MixedCell):
                for edge in part.edges:
                    for graph in edge.options:
                        if graph is not None:
                            narrow_graph(graph, parts)


def narrow_graph(graph: Graph, parts: int) -> Graph:
    """Return a graph of primitives that keep their shape, each on a part of its channels."""
    nodes = tuple(replace(node, op=narrow_op(node.op, parts)) for node in graph.nodes)
    channels, *size = graph.in_shape
    return replace(graph, in_shape=(channels // parts, *size), nodes=nodes)


def narrow_tensors(graph: Graph, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the first channels of the parameters, as many as `graph` has."""
    found: dict[str, Tensor] = {}
    for node in graph.nodes:
        op, name = node.op, node.name
        if op.kind == "conv2d":
            n_out, n_in = op.integer("out_channels"), op.in_shape[0] // op.integer("groups")
            found[f"{name}.weight"] = tensors[f"{name}.weight"][:n_out, :n_in]
        elif op.kind == "linear":
            n_out = op.integer("out_features")
            found[f"{name}.weight"] = tensors[f"{name}.weight"][:n_out, : prod(op.in_shape)]
        elif op.kind == "batch_norm":
            n_out = op.in_shape[0]
        else:
            continue
        for key in (f"{name}.bias", f"{name}.norm.weight", f"{name}.norm.bias"):
            if key in tensors:
                found[key] = tensors[key][:n_out]
    return found
