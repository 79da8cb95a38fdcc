"""ONNX files are written simplified: ONNX Runtime's simplifications find nothing to take away."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas import spaces
from edgenas.profiling.workload import model_bytes

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def kinds(model: Any) -> Counter[str]:
    """Returns how many nodes of each kind a model has."""
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("name", spaces.SPACES.names())
def test_nothing_is_left_to_simplify(name: str, tmp_path: Path) -> None:
    space = spaces.get(name)
    (row,) = space.sample(1, np.random.default_rng(0))
    model = model_bytes(space.network(row), "onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "simplified.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    written, simplified = (
        kinds(onnx.load_from_string(model)),
        kinds(onnx.load(options.optimized_model_filepath)),
    )
    gone = written - simplified
    assert set(gone) <= {"HardSwish"}  # the CPU takes two operators in its place
    assert (simplified - written)["Mul"] == gone["HardSwish"]
