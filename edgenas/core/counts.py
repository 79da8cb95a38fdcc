"""What a graph costs on paper: MACs, parameters, bytes of weights and of live activations."""

from __future__ import annotations

from math import prod

from edgenas.core.ops import Graph, OpSpec, out_shape

BYTES = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes of one value in each precision."""


def n_macs(graph: Graph) -> int:
    """Return the multiply-accumulates of convolutions and linear layers, batch 1."""
    return sum(_op_macs(node.op) for node in graph.nodes)


def n_params(graph: Graph) -> int:
    """Return the trainable parameters: weights, biases, and scale and shift of batch norms."""
    return sum(_weights(node.op) + _biases(node.op) for node in graph.nodes)


def weight_bytes(graph: Graph, precision: str = "float32") -> int:
    """Return the bytes of the deployed weights, with batch norms folded into convolutions.

    Biases stay 32 bits wide in every precision, as the runtimes keep them.
    """
    return sum(
        _deployed_weights(node.op) * BYTES[precision] + 4 * _folded_biases(node.op)
        for node in graph.nodes
    )


def peak_activation_bytes(graph: Graph, precision: str = "float32") -> int:
    """Return the largest sum of tensors that are alive while one operator runs.

    The graph's input is alive from the start. Activations run in place of nothing: this is an
    upper bound for a runtime that plans its memory by liveness in the order of the nodes.
    """
    last_use = {
        name: step for step, node in enumerate(graph.nodes) for name in (node.name, *node.inputs)
    }
    sizes = {"input": prod(graph.in_shape)}
    alive = {"input"}
    peak = sizes["input"]
    for step, node in enumerate(graph.nodes):
        sizes[node.name] = prod(out_shape(node.op))
        alive.add(node.name)
        peak = max(peak, sum(sizes[name] for name in alive))
        alive = {name for name in alive if last_use.get(name, -1) > step}
    return peak * BYTES[precision]


def _op_macs(op: OpSpec) -> int:
    if op.kind == "conv2d":
        return _weights(op) * prod(out_shape(op)[1:])
    return _weights(op)


def _weights(op: OpSpec) -> int:
    if op.kind == "conv2d":
        in_channels = op.in_shape[0] // op.integer("groups")
        return op.integer("out_channels") * in_channels * op.integer("kernel") ** 2
    if op.kind == "linear":
        return prod(op.in_shape) * op.integer("out_features")
    return 0


def _deployed_weights(op: OpSpec) -> int:
    # A factor for every channel (see `edgenas.lowering.plan.deployed`).
    return op.in_shape[0] if op.kind in ("batch_norm", "zeros") else _weights(op)


def _biases(op: OpSpec) -> int:
    if op.kind == "batch_norm":
        return 2 * op.in_shape[0]
    if op.kind == "conv2d":
        return op.integer("out_channels") * (op.integer("bias") + 2 * op.integer("norm"))
    return op.integer("out_features") * op.integer("bias") if op.kind == "linear" else 0


def _folded_biases(op: OpSpec) -> int:
    if op.kind == "conv2d":
        return op.integer("out_channels") * int(bool(op["bias"]) or bool(op["norm"]))
    return op.in_shape[0] if op.kind in ("batch_norm", "zeros") else _biases(op)
