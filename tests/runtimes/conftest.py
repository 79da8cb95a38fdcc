"""Tiny models, a device, and stand-ins for the measuring process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from edgenas.core.ops import Graph, Node, activation, conv2d
from edgenas.hardware.device import Device, load_device
from edgenas.lowering import tflite
from edgenas.lowering.weights import random_weights

SHAPE = (8, 16, 16)


@pytest.fixture(scope="session")
def kernel() -> np.ndarray:
    """The weights of the one convolution, (out, in, height, width)."""
    return np.random.default_rng(0).normal(size=(8, 8, 3, 3)).astype(np.float32)


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory, kernel: np.ndarray) -> Path:
    """A convolution and a ReLU from ``image`` to ``result``; its batch is open."""
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["sum"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["sum"], ["result"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *SHAPE])
        for name in ("image", "result")
    ]
    graph = helper.make_graph(
        nodes, "tiny", ends[:1], ends[1:], [numpy_helper.from_array(kernel, "kernel")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    return path


@pytest.fixture(scope="session")
def tflite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution and an activation, channels last."""
    conv = conv2d(SHAPE, 8, kernel=3, bias=True)
    nodes = (
        Node("conv", conv, ("input",)),
        Node("act", activation(SHAPE, "h_swish"), ("conv",)),
    )
    graph = Graph(SHAPE, nodes)
    path = tmp_path_factory.mktemp("models") / "tiny.tflite"
    path.write_bytes(tflite.lower(graph, random_weights(graph)))
    return path


@pytest.fixture(scope="session")
def partly_delegated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TFLite file of ROUND, which XNNPACK runs, and CUMSUM, which it does not."""
    path = tmp_path_factory.mktemp("models") / "partly.tflite"
    path.write_bytes(_round_and_cumsum())
    return path


@pytest.fixture
def device() -> Iterator[Device]:
    with load_device("local") as device:
        yield device


@pytest.fixture
def fake_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a script in the place of the measuring process; `read()` and `write(object)` are there.

    `hello` is a good answer to the first request.
    """

    def install(script: str) -> None:
        path = tmp_path / "agent.py"
        path.write_text(_FRAMES + script)
        monkeypatch.setattr("edgenas.runtimes.client.agent_path", lambda module: path)

    return install


_FRAMES = """
import json, os, struct, sys, time

def read():
    (size,) = struct.unpack(">I", sys.stdin.buffer.read(4))
    return json.loads(sys.stdin.buffer.read(size))

def write(answer):
    body = json.dumps(answer).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(body)) + body)
    sys.stdout.buffer.flush()

hello = {
    "ok": True, "protocol": 2, "python": "3", "numpy": "2", "engine": "onnxruntime",
    "distribution": "onnxruntime", "engine_version": "1", "pid": os.getpid(),
    "affinity": [0], "threads": 1,
    "timer_resolution_ns": 1, "load_average": 0.0,
}
"""


def _round_and_cumsum() -> bytes:
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(np.int32(1).tobytes(), np.uint8)
    graph = schema.SubGraphT()
    graph.tensors = []
    for name, shape, kind, buffer in (
        ("image", [1, 8], schema.TensorType.FLOAT32, 0),
        ("rounded", [1, 8], schema.TensorType.FLOAT32, 0),
        ("axis", [], schema.TensorType.INT32, 1),
        ("result", [1, 8], schema.TensorType.FLOAT32, 0),
    ):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
        graph.tensors.append(tensor)
    model.operatorCodes, graph.operators = [], []
    operators = schema.BuiltinOperator
    for code, inputs, outputs in (
        (operators.ROUND, [0], [1]),
        (operators.CUMSUM, [1, 2], [3]),
    ):
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.version = code, 1
        entry.deprecatedBuiltinCode = min(code, 127)
        model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(graph.operators)
        operator.inputs, operator.outputs = inputs, outputs
        graph.operators.append(operator)
    graph.operators[1].builtinOptionsType = schema.BuiltinOptions.CumsumOptions
    graph.operators[1].builtinOptions = schema.CumsumOptionsT()
    graph.inputs, graph.outputs = [0], [3]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
