"""What engines answer to lowered graphs, beside a plain evaluation; and what they run of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter

from edgenas import spaces
from edgenas.core import ops
from edgenas.core.counts import n_macs
from edgenas.core.ops import Graph, OpSpec
from edgenas.lowering import onnx as to_onnx
from edgenas.lowering import tflite as to_tflite
from edgenas.lowering.optimised import Execution, differences, joined
from edgenas.lowering.optimised_onnx import onnx_operators
from edgenas.lowering.optimised_tflite import tflite_operators
from edgenas.lowering.plan import deployed
from edgenas.lowering.weights import Weights, random_weights
from edgenas.spaces.alexnet import alexnet_head, alexnet_layer
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import conv_block, expand, mbv3_head
from edgenas.spaces.dense import condense_layer, dense_layer
from edgenas.testing.reference import evaluate

Array = np.ndarray[Any, Any]


def small(name: str) -> SearchSpace:
    """Return a space, of those for large images one for smaller ones where that does not matter."""
    changes: dict[str, dict[str, Any]] = {
        "mnasnet": {"resolution": 64},
        "nas_bench_201": {"n_cells": 1},
        "monas_condensenet": {"layers": (1, 3), "growths": (4, 8)},
    }
    return spaces.get(name, **changes.get(name, {}))


RUNTIMES = {
    "onnxruntime": (to_onnx.lower, onnx_operators),
    "litert": (to_tflite.lower, tflite_operators),
}
"""How a graph gets to each engine, and how to see what the engine makes of it."""

OPERATORS = (
    conv_block((3, 33, 32), 24, kernel=3, stride=2, activation="h_swish"),
    conv_block((1, 7, 7), 5, kernel=7, stride=2, activation="relu6"),
    mbv3_head((24, 5, 5), final_channels=64, mix_channels=96, n_classes=10),
    ops.linear((6, 5, 4), 10),
    ops.linear((24,), 10, bias=False),
    ops.conv2d((8, 8, 8), 16, kernel=3, groups=8),
    ops.conv2d((8, 8, 8), 16, kernel=3, groups=4, bias=True),
    ops.global_avg_pool((8, 5, 6)),
    ops.batch_norm((8, 5, 6)),
    ops.channel_shuffle((8, 5, 6), 4),
    dense_layer((8, 6, 7), 4, norm="bn_relu", conv="learned1x1", groups=4, pool=True),
    dense_layer((8, 6, 7), 4, norm="identity", conv="depthwise3x3", groups=4),
    dense_layer((8, 6, 7), 4, norm="bn", conv="group3x3", groups=2),
    condense_layer((12, 5, 6), 4, bottleneck=2, groups=2),
    alexnet_layer((3, 9, 8), 8, kernel=9, pool=True),
    alexnet_head((6, 3, 2), hidden=(16, 12), n_classes=5),
    ops.max_pool2d((8, 9, 8), kernel=3, stride=2, padding=1),
    ops.max_pool2d((8, 9, 8), kernel=5, stride=2, padding=2, ceil=True),
    ops.max_pool2d((8, 9, 7), kernel=2, stride=2),
    ops.avg_pool2d((8, 9, 8), kernel=2, stride=2, ceil=True),
    ops.avg_pool2d((8, 1, 7), kernel=2, stride=2, ceil=True),
    ops.avg_pool2d((8, 8, 7), kernel=3, stride=2),
    *(ops.activation((4, 5, 6), function) for function in ops.ACTIVATIONS),
    *(ops.activation((9,), function) for function in ops.ACTIVATIONS),
)
"""One of each operator, of awkward sizes."""


def run_onnx(model: bytes, image: Array) -> Array:
    """Return the logits; codes in and out are those of the float values."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    if source.type == "tensor(uint8)":
        content = onnx.load_from_string(model)
        constants = {t.name: onnx.numpy_helper.to_array(t) for t in content.graph.initializer}
        step, zero = constants["image.step"], int(constants["image.zero"])
        image = np.clip(np.rint(image / step) + zero, 0, 255).astype(np.uint8)
        (result,) = session.run(["logits"], {"image": image})
        last = next(n for n in content.graph.node if n.output[0] == "logits")
        step, zero = constants[last.input[1]], int(constants[last.input[2]])
        codes: Array = result.astype(np.float64)
        return (codes - zero) * step
    return np.asarray(session.run(["logits"], {"image": image})[0])


def run_tflite(model: bytes, image: Array) -> Array:
    """Return the logits, channels first; codes in and out are those of the float values."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    runner = interpreter.get_signature_runner("serving_default")
    (source,) = runner.get_input_details().values()
    (result,) = runner.get_output_details().values()
    image = np.moveaxis(image, 1, -1)
    if source["dtype"] == np.int8:
        step, zero = source["quantization"]
        image = np.clip(np.rint(image / step) + zero, -128, 127).astype(np.int8)
    values = runner(image=image)["logits"]
    if result["dtype"] == np.int8:
        step, zero = result["quantization"]
        values = (values.astype(np.float64) - zero) * step
    return np.asarray(np.moveaxis(values, -1, 1))


def answers(
    graph: Graph, weights: Weights, *, seed: int = 1, **options: Any
) -> tuple[Array, dict[str, Array]]:
    """Return a plain evaluation's answer to a random image, and each format's, of one shape."""
    shape = (1, *graph.in_shape)
    image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    expected = evaluate(graph, weights, image)
    found = {
        "onnx": run_onnx(to_onnx.lower(graph, weights, **options), image),
        "tflite": run_tflite(to_tflite.lower(graph, weights, **options), image),
    }
    for name, values in found.items():
        assert values.shape == expected.shape, name
    return expected, found


def check_pieces(runtime: str, space: SearchSpace, rows: list[Array], **options: Any) -> list[str]:
    """See that networks run what their operators run alone; return what runs outside a delegate.

    Networks have other weights than the pieces: trained ones are others, too.
    """
    lower, operators = RUNTIMES[runtime]
    profiled: dict[OpSpec, Execution] = {}
    outside: list[str] = []
    for row in rows:
        network = space.network(row)
        exported = operators(lower(network, random_weights(network, seed=9), **options))
        pieces = []
        for _, op in space.ops(row):
            if op not in profiled:
                graph = expand(op)
                profiled[op] = operators(lower(graph, random_weights(graph), **options))
            pieces.append(profiled[op])
        alone = joined(pieces)
        if runtime == "onnxruntime" and options.get("precision") == "int8":
            ends = {op.in_shape for _, op in space.ops(row) if pools_at_an_end(op)}
            exported, alone = (without_layout(one, ends) for one in (exported, alone))
        assert differences(exported, alone) == []
        assert exported.n_macs == alone.n_macs == n_macs(deployed(network))
        # A network never moves more data about, or in and out of codes, than its pieces do.
        assert len(exported.moves) <= len(alone.moves)
        outside += exported.outside
    return outside


_POOLS = ("global_avg_pool", *ops.POOLS)


def pools_at_an_end(op: OpSpec) -> bool:
    """Return whether a pool reads what a block is given, or is a summand of what it returns."""
    nodes = expand(op).nodes
    last = {nodes[-1].name}
    for node in reversed(nodes):
        if node.op.kind in ("add", "activation") and node.name in last:
            last |= {*node.inputs}
    summands = last - {nodes[-1].name}
    return any(n.op.kind in _POOLS and {n.name, *n.inputs} & {"input", *summands} for n in nodes)


def without_layout(execution: Execution, in_shapes: set[tuple[int, ...]]) -> Execution:
    """Return the execution as if pools of values of these shapes had no layout.

    Where a pool is the first to read a piece, it reads codes as they were given; in a network they
    come in the layout of the convolution before. Where what it leaves is only added to others and
    returned, it is the convolution behind the piece for whose layout the engine decides.
    """
    pooled = {
        operator: replace(operator, layout="")
        for operator in execution.compute
        if operator.kind in _POOLS and operator.in_shape in in_shapes
    }
    compute = tuple(pooled.get(operator, operator) for operator in execution.compute)
    return replace(execution, compute=compute)
