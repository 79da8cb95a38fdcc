"""Weights of a graph as plain arrays, batch norms folded, in the layout of the description."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
import numpy.typing as npt

from edgenas.core.ops import Graph

Weights = dict[str, npt.NDArray[np.float32]]
"""``<node>.weight`` and ``<node>.bias``.

Convolutions are (out, in / groups, kernel, kernel), linear layers (out, in); biases are (out,).
A convolution with a batch norm has a bias: the norm is folded into both.
"""


def has_bias(node_bias: object, node_norm: object) -> bool:
    """Return whether a convolution carries a bias once its batch norm is folded."""
    return bool(node_bias) or bool(node_norm)


def random_weights(graph: Graph, *, seed: int = 0) -> Weights:
    """Return weights for `graph` that keep activations near unit scale (He et al. 2015).

    Zeros or constants would let runtimes and denormal arithmetic cheat a timing.
    """
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for node in graph.nodes:
        op = node.op
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
        scale = sqrt(2 / prod(shape[1:]))
        weights[f"{node.name}.weight"] = rng.normal(0, scale, shape).astype(np.float32)
        if bias:
            weights[f"{node.name}.bias"] = rng.normal(0, 0.05, shape[0]).astype(np.float32)
    return weights
