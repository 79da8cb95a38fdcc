"""Slots whose operators have weights of their own each, and those of cells, node by node."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgenas.core.ops import Graph, Node, OpSpec
from edgenas.lowering.torch import attach_parameters
from edgenas.oneshot.elastic import Slot
from edgenas.oneshot.sharing import (
    STATISTICS,
    ByNode,
    Separate,
    Shared,
    Weights,
    graph_of,
    has_weights,
    signature,
)


class SeparateSlot(nn.Module):
    """Weights of every operator of a part.

    Args:
        weights: the operators.
        generator: of the first weights.
        statistics: whether batch norms keep running means and variances.
    """

    def __init__(
        self, weights: Separate, generator: torch.Generator, *, statistics: bool = False
    ) -> None:
        super().__init__()
        self.shared = weights
        self._places = {signature(op): f"option{i}" for i, op in enumerate(weights.variants)}
        for i, op in enumerate(weights.variants):
            option = nn.Module()
            attach_parameters(option, graph_of(op), generator, statistics=statistics)
            self.add_module(f"option{i}", option)

    def tensors(self, op: OpSpec, *, statistics: bool = False) -> dict[str, Tensor]:
        """Return the parameters of `op`, named as `GraphModule` names them; see `Slot.tensors`.

        Raises:
            SpaceError: `op` is none of the slot's.
        """
        place = self._places.get(signature(op))
        if place is None:
            self.shared.check(op)
        return _tensors(self.get_submodule(str(place)), statistics=statistics)


class NodeSlot(nn.Module):
    """Weights of the cells of a part: one set for every layer that an edge may run.

    Args:
        weights: the layers.
        generator: of the first weights.
        statistics: whether batch norms keep running means and variances.
    """

    def __init__(
        self, weights: ByNode, generator: torch.Generator, *, statistics: bool = False
    ) -> None:
        super().__init__()
        self.shared = weights
        self._places: dict[tuple[str, object], str] = {}
        for (name, kind), op in sorted(weights.layers.items(), key=repr):
            place = f"{name}/option{sum(n == name for n, _ in self._places)}".replace(".", "/")
            layer = nn.Module()
            graph = Graph(op.in_shape, (Node("layer", op, ("input",)),))
            attach_parameters(layer, graph, generator, statistics=statistics)
            self.add_module(place, layer)
            self._places[name, kind] = place

    def tensors(self, op: OpSpec, *, statistics: bool = False) -> dict[str, Tensor]:
        """Return the parameters of the cell `op`, see `SeparateSlot.tensors`."""
        found: dict[str, Tensor] = {}
        for node in graph_of(op).nodes:
            if has_weights(node.op):
                layer = self.layer(node.name, node.op, statistics=statistics)
                found |= {f"{node.name}{key.removeprefix('layer')}": t for key, t in layer.items()}
        return found

    def layer(self, name: str, op: OpSpec, *, statistics: bool = False) -> dict[str, Tensor]:
        """Return the parameters of one node's layer, which is called ``layer`` there.

        Raises:
            SpaceError: no cell of the slot has such a node.
        """
        place = self._places.get((name, signature(op)))
        if place is None:
            self.shared.check_layer(name, op)
        return _tensors(self.get_submodule(str(place)), statistics=statistics)


AnySlot = Slot | SeparateSlot | NodeSlot
"""What holds the weights of a part."""


def make_slot(weights: Weights, generator: torch.Generator, *, statistics: bool) -> AnySlot:
    """Return a slot with new weights."""
    if isinstance(weights, Shared):
        return Slot(weights, generator, statistics=statistics)
    if isinstance(weights, Separate):
        return SeparateSlot(weights, generator, statistics=statistics)
    return NodeSlot(weights, generator, statistics=statistics)


def _tensors(module: nn.Module, *, statistics: bool) -> dict[str, Tensor]:
    found: dict[str, Tensor] = dict(module.named_parameters())
    if statistics:
        found |= {k: b for k, b in module.named_buffers() if k.endswith(STATISTICS)}
    return found
