"""A network in torch that rounds as its 8-bit file does, so that it can be trained to bear it.

Values and weights go through their codes and back; gradients pass the rounding as if it were not
there, and stop where a code saturates (Jacob et al. 2018, arXiv:1712.05877, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edgenas.core.ops import Graph
from edgenas.lowering.plan import node_weights, steps
from edgenas.lowering.quantisation import LEAST_WIDTH, Ranges, Scale
from edgenas.lowering.torch import run_graph

_CLAMPS = ("relu", "relu6")


def run_quantised(
    graph: Graph, tensors: Mapping[str, Tensor], images: Tensor, ranges: Ranges | None
) -> Tensor:
    """Return the output of a graph without batch norms on images (channels last), in 8 bits.

    Args:
        graph: of a folded network (see `edgenas.lowering.torch.folded`).
        tensors: its parameters by name.
        images: normalised, shape (n, channels, height, width).
        ranges: of ``"input"`` and of every node's value; None leaves values in float32.
    """
    rounded = {
        name: _rounded_weight(tensors[name])
        for node in graph.nodes
        for name in node_weights(node)
        if name.endswith(".weight")
    }
    if ranges is None:
        return run_graph(graph, {**tensors, **rounded}, images, training=False)
    scales = {
        name: Scale.of(ranges[name], signed=False) for name in ("input", *_coded_values(graph))
    }

    def coded(name: str, value: Tensor) -> Tensor:
        scale = scales.get(name)
        if scale is None:
            return value
        return torch.fake_quantize_per_tensor_affine(
            value, scale.step, scale.zero_point, scale.low, scale.high
        )

    return run_graph(graph, {**tensors, **rounded}, images, training=False, rounded=coded)


def _coded_values(graph: Graph) -> list[str]:
    """Return the nodes whose values are rounded.

    What only a clamp reads is not: integer kernels clamp by the code of what comes after.
    """
    inner = {
        step.node.name
        for step in steps(graph)
        if step.function in _CLAMPS and step.node.op.kind != "concat"
    }
    return [node.name for node in graph.nodes if node.name not in inner]


def _rounded_weight(weight: Tensor) -> Tensor:
    """Return a weight in the codes of `edgenas.lowering.quantisation.weight_codes`."""
    flat = weight.detach().abs().flatten(1)
    largest = flat.amax(dim=1).clamp_min(LEAST_WIDTH / 127)
    zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, largest / 127, zeros, 0, -127, 127)
