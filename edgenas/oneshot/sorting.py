"""Channel sorting: the most important middle channels come first, so that narrow networks get them.

Cai et al. 2020 (Once-for-All), arXiv:1908.09791, section 3.3: before a narrower choice is trained,
the middle channels of a block are ordered by the L1 norm of the weights that read them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from edgenas.oneshot.elastic import Slot
from edgenas.oneshot.sharing import STATISTICS, Shared, graph_of
from edgenas.oneshot.supernet import Supernet


class _Middle(NamedTuple):
    """Channels between layers: who makes them, and who reads them, the judge of them first."""

    writers: tuple[str, ...]
    readers: tuple[str, ...]


_MIDDLES: dict[str, tuple[_Middle, ...]] = {
    "mbconv": (
        _Middle(("expand", "depthwise", "se_expand"), ("project", "se_reduce")),
        _Middle(("se_reduce",), ("se_expand",)),
    ),
    "bottleneck": (_Middle(("conv2",), ("conv3",)), _Middle(("conv1",), ("conv2",))),
}
"""By kind of operator, in the order in which they are sorted."""


@torch.no_grad()
def sort_channels(supernet: Supernet, *, stage: int = 0) -> None:
    """Reorder the middle channels of every block that is elastic in them, in place.

    They come by decreasing L1 norm of the weights that read them: the columns of the projection.
    The largest network computes what it did; narrower ones get other channels. An optimiser's
    state is not reordered: make a new one.

    Args:
        supernet: its weights, and its statistics where it keeps some.
        stage: how many of the narrower widths are trained already. The channels that those use
            stay before the others, so that each goes on with its own.
    """
    for slot in supernet.slots.values():
        if not isinstance(slot, Slot) or "mid_channels" not in slot.shared.elastic:
            continue
        largest = slot.shared.largest
        layers = {node.name for node in graph_of(largest).nodes}
        for middle in _MIDDLES.get(largest.kind, ()):
            if middle.writers[0] in layers:  # without it the channels are those of the input
                _sort(slot, middle, layers, stage)


def _sort(slot: Slot, middle: _Middle, layers: set[str], stage: int) -> None:
    judge = slot.get_submodule(middle.readers[0]).get_parameter("weight")
    importance = judge.abs().sum(dim=(0, 2, 3))
    trained = _widths(slot.shared, middle.writers[0])[1 : stage + 1]
    # Least significant key first, as sorting is stable: importance, then each width in training.
    order = torch.argsort(importance, descending=True, stable=True)
    for width in trained:
        order = order[torch.argsort((order >= width).int(), stable=True)]
    for name in middle.writers:
        if name in layers:
            for tensor in _outputs(slot, name):
                tensor.copy_(tensor[order])
    for name in middle.readers:
        if name in layers:
            weight = slot.get_submodule(name).get_parameter("weight")
            weight.copy_(weight[:, order])


def _widths(shared: Shared, writer: str) -> list[int]:
    """Return how many channels `writer` makes, descending, in operators as wide outside as any."""
    largest = shared.largest
    found = {
        node.op.integer("out_channels")
        for op in shared.variants
        if op.in_shape[0] == largest.in_shape[0] and op["out_channels"] == largest["out_channels"]
        for node in graph_of(op).nodes
        if node.name == writer
    }
    return sorted(found, reverse=True)


def _outputs(slot: Slot, name: str) -> list[Tensor]:
    """Return all tensors of a layer that have one row a channel that it makes."""
    layer = slot.get_submodule(name)
    found: list[Tensor] = list(layer.parameters())
    found += [buffer for key, buffer in layer.named_buffers() if key.endswith(STATISTICS)]
    return found
