"""A graph evaluated the plain way, in float64 numpy: the oracle that lowerings are held against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgenas.core.ops import POOLS, Graph, OpSpec, out_shape
from edgenas.lowering.weights import Weights

Array = npt.NDArray[np.float64]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _h_sigmoid(x: Array) -> Array:
    return np.clip(x + 3, 0, 6) / 6


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "h_swish": lambda x: x * _h_sigmoid(x),
    "h_sigmoid": _h_sigmoid,
    "swish": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
}


def evaluate(graph: Graph, weights: Weights, images: npt.NDArray[np.float32]) -> Array:
    """Return what `graph` answers to `images`, shape (n, channels, height, width)."""
    return values_of(graph, weights, images)[graph.nodes[-1].name]


def values_of(graph: Graph, weights: Weights, images: npt.NDArray[np.float32]) -> dict[str, Array]:
    """Return ``"input"`` and the value of every node of `graph` for `images`."""
    values: dict[str, Array] = {"input": images.astype(np.float64)}
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        values[node.name] = _apply(node.op, inputs, node.name, weights)
    return values


def _apply(op: OpSpec, inputs: list[Array], name: str, weights: Weights) -> Array:
    if op.kind == "activation":
        return ACTIVATIONS[str(op["function"])](inputs[0])
    if op.kind == "add":
        return inputs[0] + inputs[1]
    if op.kind == "concat":
        return np.concatenate(inputs, axis=1)
    if op.kind == "multiply":
        return inputs[0] * inputs[1]
    if op.kind == "global_avg_pool":
        return np.asarray(inputs[0].mean(axis=(2, 3), keepdims=True))
    if op.kind in POOLS:
        return _pool(inputs[0], op)
    if op.kind == "channel_shuffle":
        n, channels, *size = inputs[0].shape
        groups = op.integer("groups")
        split = inputs[0].reshape(n, groups, channels // groups, *size)
        return split.swapaxes(1, 2).reshape(inputs[0].shape)
    weight = weights[f"{name}.weight"].astype(np.float64)
    bias = weights.get(f"{name}.bias", np.zeros(len(weight))).astype(np.float64)
    if op.kind in ("batch_norm", "zeros"):  # a factor and a shift for every channel
        return np.asarray(inputs[0] * weight[:, 0] + bias[:, np.newaxis, np.newaxis])
    if op.kind == "linear":
        return np.asarray(inputs[0].reshape(len(inputs[0]), -1) @ weight.T + bias)
    return _convolve(inputs[0], weight, op) + bias[:, np.newaxis, np.newaxis]


def _pool(x: Array, op: OpSpec) -> Array:
    kernel, stride, padding = (op.integer(name) for name in ("kernel", "stride", "padding"))
    reduce = np.max if op.kind == "max_pool2d" else np.mean
    result = np.empty((len(x), *out_shape(op)))
    for i, j in np.ndindex(*result.shape[2:]):
        top, left = i * stride - padding, j * stride - padding
        rows, columns = slice(max(top, 0), top + kernel), slice(max(left, 0), left + kernel)
        result[:, :, i, j] = reduce(x[:, :, rows, columns], axis=(2, 3))
    return result


def _convolve(x: Array, weight: Array, op: OpSpec) -> Array:
    kernel, stride, groups = op.integer("kernel"), op.integer("stride"), op.integer("groups")
    border = kernel // 2
    padded = np.pad(x, ((0, 0), (0, 0), (border, border), (border, border)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    n, channels, height, width = windows.shape[:4]
    grouped = windows.reshape(n, groups, channels // groups, height, width, kernel, kernel)
    filters = weight.reshape(groups, len(weight) // groups, channels // groups, kernel, kernel)
    result = np.einsum("ngchwij,gocij->ngohw", grouped, filters, optimize=True)
    return np.asarray(result.reshape(n, len(weight), height, width))
