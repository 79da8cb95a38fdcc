"""Models in TensorRT (8.5 or later, or TensorRT-RTX), with CUDA's memory by ctypes.

This file has not yet been run on a GPU: its tests run it against stand-ins of both libraries.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.runtimes.agent import cuda
from edgenas.runtimes.agent.frames import Arrays, Json
from edgenas.runtimes.agent.model import Model, described, noise
from edgenas.runtimes.agent.tensorrt_build import build_file, built
from edgenas.runtimes.agent.tensorrt_log import log_of, refusal

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
"""TensorRT's types; its own table of them does not work with every numpy (8.5 with 1.24)."""


class TensorRtModel(Model):
    """An engine with fixed shapes; an ONNX file is built into one here first.

    A run is the copy of the inputs to the GPU, the network, and the copy of the outputs back.
    """

    def __init__(self, engine: Any, settings: Json, path: str) -> None:
        self._trt = engine
        log = log_of(engine)
        start = time.perf_counter_ns()
        content = Path(path).read_bytes()
        if path.endswith(".onnx"):
            content = built(engine, settings, content)
            self.build_ms = (time.perf_counter_ns() - start) / 1e6
        log.lines.clear()
        self._runtime = engine.Runtime(log)  # which has to live as long as its engines
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise refusal("model", "TensorRT cannot open the engine: it is damaged, of another "
                          "version of TensorRT or of another kind of GPU", log)  # fmt: skip
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise refusal("memory", "TensorRT has opened the engine and cannot run it", log)
        self._cuda = cuda.Cuda(cuda.open_library())
        self.outside = []

    @staticmethod
    def gpu() -> Json:  # noqa: D102
        return cuda.gpu(cuda.open_library())

    @staticmethod
    def build(engine: Any, settings: Json, request: Json) -> Json:  # noqa: D102
        return build_file(engine, settings, request)

    def fill(self) -> None:  # noqa: D102
        trt, engine = self._trt, self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        arrays = {name: _array(engine, name) for name in names}
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._feeds = {name: arrays[name] for name in inputs}
        self._results = {name: arrays[name] for name in names if name not in self._feeds}
        self._addresses = {name: self._cuda.allocate(arrays[name].nbytes) for name in names}
        for name, address in self._addresses.items():
            self._context.set_tensor_address(name, address)

    def start(self) -> None:  # noqa: D102
        self.run = self._run
        self.run()

    def finish(self) -> None:  # noqa: D102
        self.inputs = [described(name, array) for name, array in self._feeds.items()]
        self.outputs = [described(name, array) for name, array in self._results.items()]

    def infer(self, feeds: Arrays) -> Arrays:  # noqa: D102
        for name, array in feeds.items():
            self._cuda.upload(self._addresses[name], array)
        self._execute()
        return {name: array.copy() for name, array in self._results.items()}

    def nodes(self) -> list[Json]:  # noqa: D102
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(self._trt.LayerInformationFormat.JSON)
        found = json.loads(text)["Layers"]
        layers: list[Json] = [{"Name": one} if isinstance(one, str) else one for one in found]
        return [
            {
                "kind": str(layer.get("LayerType", "layer")),
                "name": str(layer["Name"]),
                "in_shapes": [tensor["Dimensions"] for tensor in layer.get("Inputs", [])],
                "out_shapes": [tensor["Dimensions"] for tensor in layer.get("Outputs", [])],
                "inside": True,
            }
            for layer in layers
        ]

    def _run(self) -> None:
        for name, array in self._feeds.items():
            self._cuda.upload(self._addresses[name], array)
        self._execute()

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._cuda.stream):
            raise RuntimeError("TensorRT did not take the run; its reason is on the error output")
        for name, array in self._results.items():
            self._cuda.download(array, self._addresses[name])
        self._cuda.wait()

    def __del__(self) -> None:
        if hasattr(self, "_cuda"):
            self._cuda.free()


def _array(engine: Any, name: str) -> np.ndarray[Any, Any]:
    """Return noise of a tensor's shape and type: the fixed input, or the place of an output."""
    kind = str(engine.get_tensor_dtype(name)).rpartition(".")[2]
    return noise(name, tuple(engine.get_tensor_shape(name)), _DTYPES.get(kind))
