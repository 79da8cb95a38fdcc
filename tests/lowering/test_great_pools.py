"""Global pools of great maps are as exact as those of small ones, in float."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgenas.core import ops
from edgenas.core.ops import OpSpec
from edgenas.lowering import onnx as to_onnx
from edgenas.lowering import tflite as to_tflite
from edgenas.lowering.optimised_tflite import tflite_operators
from edgenas.lowering.plan import first_window
from edgenas.lowering.weights import random_weights
from edgenas.spaces.blocks import expand
from tests.lowering.answers import run_onnx, run_tflite

GREAT = ops.global_avg_pool((8, 112, 112))


@pytest.mark.parametrize(("side", "window"), [(112, 8), (64, None), (65, 13), (67, None), (98, 14)])
def test_windows_fit(side: int, window: int | None) -> None:
    assert first_window(ops.global_avg_pool((3, side, side))) == window


@pytest.mark.parametrize("op", [GREAT, ops.global_avg_pool((8, 130, 65))], ids=lambda op: op.key)
def test_the_mean_of_many_values_is_exact(op: OpSpec) -> None:
    """One sum of 12,544 values of a mean far from 0 is 4e-6 to 5e-5 off."""
    graph = expand(op)
    weights = random_weights(graph)
    shape = (1, *op.in_shape)
    image = np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)
    exact = image.astype(np.float64).mean(axis=(2, 3)).reshape(-1)
    for lowered, run in ((to_onnx.lower, run_onnx), (to_tflite.lower, run_tflite)):
        found = run(lowered(graph, weights), image).reshape(-1)
        assert np.abs(found / exact - 1).max() <= 1e-6


def test_codes_are_pooled_at_once() -> None:
    """Eight bits are added up as integers, exactly; a stage between would round to 8 bits."""
    graph = expand(GREAT)
    weights = random_weights(graph)
    model = onnx.load_from_string(to_onnx.lower(graph, weights, precision="int8"))
    assert "AveragePool" not in {node.op_type for node in model.graph.node}
    content = to_tflite.lower(graph, weights, precision="int8")
    kinds = [operator.kind for operator in tflite_operators(content).compute]
    assert kinds == ["global_avg_pool"]
    assert tflite_operators(to_tflite.lower(graph, weights)).outside == ()
