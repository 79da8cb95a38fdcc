"""Weights that a network takes over from a similar one: network morphisms.

Chen et al. 2016 (Net2Net), arXiv:1511.05641, for growing without changing the function; Elsken et
al. 2019 (LEMONADE), arXiv:1804.09081, section 3.2, for the approximate morphisms that shrink.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from edgenas.core.ops import Node
from edgenas.lowering.torch import GraphModule
from edgenas.oneshot.sharing import STATISTICS


def inherit(child: GraphModule, parent: GraphModule) -> int:
    """Give `child`, fresh, what it shares with `parent`; return how many of its layers inherited.

    Layers correspond by name. Of each, outputs and inputs that both have are copied from the first
    on, and kernels around their centre. What a larger child has beyond that changes nothing at
    first: old outputs do not read new inputs, the rims of larger kernels are 0, and a new block
    with a shortcut starts as that shortcut. New outputs stay fresh, and so does a new block
    without a shortcut, and a layer that divides its channels into other groups. So a child that
    only grew computes what its parent does, with the parent's batch norm statistics.
    """
    known = {node.name: node for node in parent.graph.nodes}
    added = {name for node in child.graph.nodes if node.op.kind == "add" for name in node.inputs}
    n_inherited = 0
    with torch.no_grad():
        for node in child.graph.nodes:
            if node.op.kind not in ("conv2d", "linear"):
                continue
            layer = child.get_submodule(node.name)
            if _corresponds(node, known.get(node.name)):
                _copy(layer, parent.get_submodule(node.name))
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


def _corresponds(node: Node, other: Node | None) -> bool:
    """Return whether both layers divide their channels in the same way."""
    if other is None or other.op.kind != node.op.kind:
        return False
    if node.op.kind == "linear":
        return node.op.in_shape[1:] == other.op.in_shape[1:]
    return _grouping(node) == _grouping(other)


def _grouping(node: Node) -> int:
    """Return the number of groups, -1 where every channel is one of its own."""
    groups = node.op.integer("groups")
    return -1 if 1 < groups == node.op.in_shape[0] else groups


def _copy(layer: nn.Module, source: nn.Module) -> None:
    weight, given = layer.get_parameter("weight"), source.get_parameter("weight")
    n_out, n_in = (min(a, b) for a, b in zip(weight.shape[:2], given.shape[:2], strict=True))
    weight[:n_out] = 0.0
    target, taken = weight[:n_out, :n_in], given[:n_out, :n_in]
    if weight.ndim == 4:
        side = min(weight.shape[-1], given.shape[-1])
        target, taken = _centre(target, side), _centre(taken, side)
    target.copy_(taken)
    biases = [module._parameters.get("bias") for module in (layer, source)]
    if all(bias is not None for bias in biases):
        layer.get_parameter("bias")[:n_out] = source.get_parameter("bias")[:n_out]
    if "norm" in layer._modules and "norm" in source._modules:
        norm, other = layer.get_submodule("norm"), source.get_submodule("norm")
        for name in ("weight", "bias"):
            norm.get_parameter(name)[:n_out] = other.get_parameter(name)[:n_out]
        for name in STATISTICS:
            if getattr(norm, name) is not None and getattr(other, name) is not None:
                norm.get_buffer(name)[:n_out] = other.get_buffer(name)[:n_out]


def _centre(kernels: Tensor, side: int) -> Tensor:
    """Return the middle of kernels, shape (n_out, n_in, side, side), a view."""
    margin = (kernels.shape[-1] - side) // 2
    return kernels[..., margin : margin + side, margin : margin + side]
