"""Weights of a graph as plain arrays, batch norms folded, in the layout of the description."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
import numpy.typing as npt

from edgenas.core.ops import Graph, Node

Weights = dict[str, npt.NDArray[np.float32]]
"""``<node>.weight`` and ``<node>.bias``.

Convolutions are (out, in / groups, kernel, kernel), linear layers (out, in); biases are (out,).
A convolution with a batch norm has a bias: the norm is folded into both.
"""


def zero_weights(node: Node) -> Weights:
    """Return the arrays of a node that makes zeros: a factor of 0 for every channel, no shift."""
    channels = node.op.in_shape[0]
    return {
        f"{node.name}.weight": np.zeros((channels, 1, 1, 1), dtype=np.float32),
        f"{node.name}.bias": np.zeros(channels, dtype=np.float32),
    }


def has_bias(node_bias: object, node_norm: object) -> bool:
    """Return whether a convolution carries a bias once its batch norm is folded."""
    return bool(node_bias) or bool(node_norm)


def random_weights(graph: Graph, *, seed: int = 0) -> Weights:
    """Return weights for `graph` that keep values near unit scale at any depth.

    Variances are those of He et al. 2015, arXiv:1502.01852: doubled behind an activation, which
    halves them. Branches that end in a sum are halved, so that sums do not add up to large values.
    Zeros or constants would let runtimes and denormal arithmetic cheat a timing, large values
    would ask for 8-bit codes that no kernel takes.
    """
    rng = np.random.default_rng(seed)
    summed = {name for node in graph.nodes if node.op.kind == "add" for name in node.inputs}
    kinds = {node.name: node.op.kind for node in graph.nodes}
    weights: Weights = {}
    for node in graph.nodes:
        op = node.op
        if op.kind == "batch_norm":
            channels = op.in_shape[0]
            scale = 0.5 if node.name in summed else 1.0
            factors = scale * rng.choice([-1.0, 1.0], channels) * rng.uniform(0.8, 1.2, channels)
            weights[f"{node.name}.weight"] = factors.reshape(-1, 1, 1, 1).astype(np.float32)
            weights[f"{node.name}.bias"] = rng.normal(0, 0.05, channels).astype(np.float32)
            continue
        if op.kind == "zeros":
            weights |= zero_weights(node)
            continue
        if op.kind == "conv2d":
            kernel, groups = op.integer("kernel"), op.integer("groups")
            shape: tuple[int, ...] = (
                op.integer("out_channels"),
                op.in_shape[0] // groups,
                kernel,
                kernel,
            )
            bias = has_bias(op["bias"], op["norm"])
        elif op.kind == "linear":
            shape = (op.integer("out_features"), prod(op.in_shape))
            bias = bool(op["bias"])
        else:
            continue
        activated = kinds.get(node.inputs[0]) in ("activation", "multiply", "global_avg_pool")
        gain = (sqrt(2) if activated else 1.0) * (0.5 if node.name in summed else 1.0)
        scale = gain / sqrt(prod(shape[1:]))
        weights[f"{node.name}.weight"] = rng.normal(0, scale, shape).astype(np.float32)
        if bias:
            weights[f"{node.name}.bias"] = rng.normal(0, 0.05, shape[0]).astype(np.float32)
    return weights
