"""Weights that a network takes over from a similar one: network morphisms.

Chen et al. 2016 (Net2Net), arXiv:1511.05641, for growing without changing the function; Elsken et
al. 2019 (LEMONADE), arXiv:1804.09081, section 3.2, for the approximate morphisms that shrink.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgenas.core.ops import Graph, Node
from edgenas.lowering.torch import GraphModule
from edgenas.oneshot.sharing import STATISTICS

_LAYERS = ("conv2d", "linear", "batch_norm")

Channel = tuple[str, int]
"""Which channel of which node's output a value's channel is, whatever it went through since."""


class _Pairs(NamedTuple):
    """Positions in the child, and of the same in the parent."""

    child: list[int]
    parent: list[int]


def inherit(child: GraphModule, parent: GraphModule) -> int:
    """Give `child`, fresh, what it shares with `parent`; return how many of its layers inherited.

    Layers correspond by name, their outputs by number, their inputs by where they come from, and
    kernels by their centre. What a larger child has beyond that changes nothing at first: old
    outputs do not read new inputs, the rims of larger kernels are 0, and a new block with a
    shortcut starts as that shortcut. So a child that grew by channels, kernels, layers of a dense
    network or blocks with shortcuts computes what its parent does, with the parent's batch norm
    statistics. Other changes are approximate: a new block without a shortcut starts fresh, and so
    does a convolution whose groups are others or have become wider.
    """
    known = {node.name: node for node in parent.graph.nodes}
    own, theirs = _channels(child.graph), _channels(parent.graph)
    added = {name for node in child.graph.nodes if node.op.kind == "add" for name in node.inputs}
    n_inherited = 0
    with torch.no_grad():
        for node in child.graph.nodes:
            if node.op.kind not in _LAYERS:
                continue
            layer, other = child.get_submodule(node.name), known.get(node.name)
            if other is not None and _corresponds(node, other):
                ins = _paired(own[node.inputs[0]], theirs[other.inputs[0]])
                outs = _paired(own[node.name], theirs[other.name])
                _copy(node, layer, parent.get_submodule(node.name), ins, outs)
                n_inherited += 1
            elif node.name in added and "norm" in layer._modules:
                nn.init.zeros_(layer.get_parameter("norm.weight"))
    return n_inherited


def weights_digest(module: GraphModule) -> str:
    """Return a hash of all parameters and statistics."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.tensors().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _channels(graph: Graph) -> Mapping[str, Sequence[Channel]]:
    """Return where the channels of every value come from, by its node's name.

    What is added or multiplied keeps the name of the older of both: of a block's sum, the
    shortcut's, which is there without the block, too.
    """
    found: dict[str, list[Channel]] = {"input": [("input", i) for i in range(graph.in_shape[0])]}
    order = {"input": -1, **{node.name: i for i, node in enumerate(graph.nodes)}}
    for node in graph.nodes:
        kind, first = node.op.kind, found[node.inputs[0]]
        if kind == "conv2d" and not _is_depthwise(node):
            found[node.name] = [(node.name, i) for i in range(node.op.integer("out_channels"))]
        elif kind == "linear":
            found[node.name] = [(node.name, i) for i in range(node.op.integer("out_features"))]
        elif kind == "concat":
            found[node.name] = [one for name in node.inputs for one in found[name]]
        elif kind == "channel_shuffle":
            groups = node.op.integer("groups")
            width = len(first) // groups
            found[node.name] = [first[g * width + i] for i in range(width) for g in range(groups)]
        else:
            found[node.name] = found[min(node.inputs, key=order.__getitem__)]
    return found


def _paired(child: Sequence[Channel], parent: Sequence[Channel]) -> _Pairs:
    """Return the channels that both have; the first ones of each where they have none in common."""
    places = {channel: i for i, channel in enumerate(parent)}
    shared = [(i, places[channel]) for i, channel in enumerate(child) if channel in places]
    if not shared:
        shared = [(i, i) for i in range(min(len(child), len(parent)))]
    return _Pairs([one for one, _ in shared], [other for _, other in shared])


def _is_depthwise(node: Node) -> bool:
    groups = node.op.integer("groups")
    return 1 < groups == node.op.in_shape[0] == node.op.integer("out_channels")


def _corresponds(node: Node, other: Node) -> bool:
    """Return whether two layers of one name are of one kind, so that the one's weights fit."""
    if other.op.kind != node.op.kind:
        return False
    if node.op.kind == "linear":
        return node.op.in_shape[1:] == other.op.in_shape[1:]
    if node.op.kind == "batch_norm" or (_is_depthwise(node) and _is_depthwise(other)):
        return True
    groups = node.op.integer("groups")
    if groups != other.op.integer("groups"):
        return False
    names = ("out_channels", "groups")
    same = node.op.in_shape[0] == other.op.in_shape[0]
    return groups == 1 or (same and all(node.op[name] == other.op[name] for name in names))


def _copy(node: Node, layer: nn.Module, source: nn.Module, ins: _Pairs, outs: _Pairs) -> None:
    if node.op.kind != "batch_norm":
        weight: Tensor = layer.get_parameter("weight").data
        given: Tensor = source.get_parameter("weight").data
        weight[outs.child] = 0.0
        if node.op.kind == "linear":
            size = weight.shape[1] // node.op.in_shape[0]  # pixels of a channel
            weight, given = (w.view(len(w), -1, size) for w in (weight, given))
        elif int(weight.shape[1]) < node.op.in_shape[0]:  # of groups: nothing to choose from
            ins = _Pairs(*([list(range(weight.shape[1]))] * 2))
        if weight.ndim == 4:
            side = min(weight.shape[-1], given.shape[-1])
            weight, given = _centre(weight, side), _centre(given, side)
        taken = given[outs.parent][:, ins.parent]
        weight[torch.tensor(outs.child)[:, None], torch.tensor(ins.child)[None]] = taken
        biases = [module._parameters.get("bias") for module in (layer, source)]
        if all(bias is not None for bias in biases):
            layer.get_parameter("bias")[outs.child] = source.get_parameter("bias")[outs.parent]
    if "norm" in layer._modules and "norm" in source._modules:
        norm, other = layer.get_submodule("norm"), source.get_submodule("norm")
        for name in ("weight", "bias"):
            norm.get_parameter(name)[outs.child] = other.get_parameter(name)[outs.parent]
        for name in STATISTICS:
            if getattr(norm, name) is not None and getattr(other, name) is not None:
                norm.get_buffer(name)[outs.child] = other.get_buffer(name)[outs.parent]


def _centre(kernels: Tensor, side: int) -> Tensor:
    """Return the middle of kernels, shape (n_out, n_in, side, side), a view."""
    margin = (kernels.shape[-1] - side) // 2
    return kernels[..., margin : margin + side, margin : margin + side]
