"""TFLite files read and write channels last as they are asked to: nothing is turned at a border."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgenas import spaces
from edgenas.lowering.optimised_tflite import tflite_operators
from edgenas.profiling.workload import model_bytes

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
INT8 = ("dpp_net_tiny", "fbnet_tiny", "mbv3_tiny", "resnet_tiny")
KINDS = [(name, "float32") for name in spaces.SPACES.names()] + [(name, "int8") for name in INT8]


def kinds_at_borders(model: bytes) -> set[str]:
    """Returns the operators that read the network's input, and that make its output."""
    content: Any = schema.ModelT.InitFromPackedBuf(model)
    graph = content.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    kinds = set()
    for operator in graph.operators:
        at_border = (
            set(operator.inputs) & set(graph.inputs),
            set(operator.outputs) & set(graph.outputs),
        )
        if any(at_border):
            kinds.add(names[content.operatorCodes[operator.opcodeIndex].builtinCode])
    return kinds


@pytest.mark.parametrize(("name", "precision"), KINDS, ids=str)
def test_no_transpose_and_nothing_outside_xnnpack(name: str, precision: str) -> None:
    space = spaces.get(name)
    (row,) = space.sample(1, np.random.default_rng(0))
    model = model_bytes(space.network(row), "tflite", precision)
    found = kinds_at_borders(model)
    assert found
    assert "TRANSPOSE" not in found
    assert not tflite_operators(model).outside
