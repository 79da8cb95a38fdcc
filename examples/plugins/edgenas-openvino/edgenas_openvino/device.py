"""OpenVINO's part of the measuring process, for devices: Python 3.8, numpy and openvino."""

from __future__ import annotations

import zipfile
from functools import partial
from typing import Any

import numpy as np

from edgenas.runtimes.agent.engines import Engine
from edgenas.runtimes.agent.frames import Arrays, Json
from edgenas.runtimes.agent.model import Model, described, noise

_NOT_RUN = ("Const", "Input", "Output")
"""Layers of the executed graph that hold values and compute nothing."""


class OpenVinoModel(Model):
    """A model compiled for the CPU, with inputs and outputs in fixed memory."""

    core: Any = None
    """One a process, as OpenVINO asks."""

    def __init__(self, engine: Any, settings: Json, path: str) -> None:
        self._engine = engine
        if OpenVinoModel.core is None:
            OpenVinoModel.core = engine.Core()
        self._compiled = opened(
            self.core,
            path,
            threads=settings["threads"],
            precision=settings["precision"],
            bf16=settings["bf16"],
        )
        self._request = self._compiled.create_infer_request()
        self.outside = []

    def fill(self) -> None:  # noqa: D102
        self._feeds = {
            port.get_any_name(): noise(
                port.get_any_name(),
                [size.get_length() if size.is_static else -1 for size in port.partial_shape],
                port.element_type.to_dtype(),
            )
            for port in self._compiled.inputs
        }
        for name, array in self._feeds.items():
            self._request.set_tensor(name, self._engine.Tensor(array, shared_memory=True))

    def start(self) -> None:  # noqa: D102
        self.run = partial(self._request.infer, None, share_outputs=True)
        self.run()

    def finish(self) -> None:  # noqa: D102
        self.inputs = [described(name, array) for name, array in self._feeds.items()]
        results = _results(self._compiled, self._request)
        self.outputs = [described(name, array) for name, array in results.items()]

    def infer(self, feeds: Arrays) -> Arrays:  # noqa: D102
        request = self._compiled.create_infer_request()
        request.infer(feeds)
        return _results(self._compiled, request)

    def nodes(self) -> list[Json]:  # noqa: D102
        return [layer for layer, _ in executed(self._compiled)]


ENGINES = (Engine("openvino", ("openvino", "openvino-dev"), OpenVinoModel),)


def opened(
    core: Any, path: str, *, threads: int = 1, precision: str = "float32", bf16: bool = False
) -> Any:
    """Return the model in an archive, compiled for the CPU.

    Left alone, OpenVINO computes float32 in bfloat16 where the processor can, with 8 bits of
    mantissa: it is told not to. Threads stay where the process is bound.
    """
    with zipfile.ZipFile(path) as archive:
        model = core.read_model(archive.read("model.xml"), archive.read("model.bin"))
    hint = "bf16" if bf16 else "f32"
    if precision == "float16" and "FP16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hint = "f16"
    config = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(model, "CPU", config)


def executed(compiled: Any) -> list[tuple[Json, str]]:
    """Return the layers that a compiled model runs, fused as they are, each with its precision."""
    layers = []
    for op in compiled.get_runtime_model().get_ordered_ops():
        told = op.get_rt_info()
        kind = str(told["layerType"].value)
        if kind not in _NOT_RUN:
            layer = {
                "kind": kind,
                "name": op.get_friendly_name(),
                "in_shapes": [list(one.get_shape()) for one in op.inputs()],
                "out_shapes": [list(one.get_shape()) for one in op.outputs()],
                "inside": True,
            }
            layers.append((layer, str(told["runtimePrecision"].value)))
    return layers


def _results(compiled: Any, request: Any) -> Arrays:
    return {
        port.get_any_name(): np.array(request.get_tensor(port).data) for port in compiled.outputs
    }
