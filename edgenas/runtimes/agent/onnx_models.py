"""Models in ONNX Runtime."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any

from edgenas.runtimes.agent.frames import Arrays, Json, RefusalError
from edgenas.runtimes.agent.model import Model, described, noise

_CPU = "CPUExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
_ALLOWED = {"float16": "trt_fp16_enable", "int8": "trt_int8_enable"}
"""What TensorRT must be allowed for a file of a precision, before its version 10."""


class OnnxRuntimeModel(Model):
    """A session of ONNX Runtime with inputs and outputs bound to fixed memory of the host.

    With a provider of another processor than the host's, its time holds the copies to and fro.
    TensorRT's keeps the engines that it builds in a folder of the model's own until `finish`, so
    that each is built once.
    """

    def __init__(self, engine: Any, settings: Json, path: str) -> None:
        self._engine, self._path, self._settings = engine, path, settings
        self._nodes: list[Json] | None = None
        self._options: dict[str, dict[str, str]] = {}
        if _TENSORRT in settings["providers"]:
            folder = tempfile.mkdtemp(prefix="edgenas-")
            self._forget = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._options[_TENSORRT] = _tensorrt_options(settings["precision"], folder)
            start = time.perf_counter_ns()
            self._open(engine.SessionOptions())
            self.build_ms = (time.perf_counter_ns() - start) / 1e6
        self._session = self._open(engine.SessionOptions())
        self.outside = []

    def fill(self) -> None:  # noqa: D102
        self._feeds = {
            tensor.name: noise(tensor.name, tensor.shape, _numpy_type(tensor.type))
            for tensor in self._session.get_inputs()
        }

    def start(self) -> None:  # noqa: D102
        self._results = self.infer(self._feeds)

    def finish(self) -> None:  # noqa: D102
        self.inputs = [described(name, array) for name, array in self._feeds.items()]
        self.outputs = [described(name, array) for name, array in self._results.items()]
        binding = self._session.io_binding()
        for name, array in self._feeds.items():
            binding.bind_cpu_input(name, array)
        for name, array in self._results.items():
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        run = self._session.run_with_iobinding
        self.run = lambda: run(binding)
        if self._settings["providers"][0] != _CPU:  # else there is nothing outside
            self._nodes = self.nodes()
            self.outside = [str(node["kind"]) for node in self._nodes if not node["inside"]]
            self.delegated = any(node["inside"] for node in self._nodes)
        if self._options:
            self._forget()

    def infer(self, feeds: Arrays) -> Arrays:  # noqa: D102
        names = [tensor.name for tensor in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, feeds)))

    def nodes(self) -> list[Json]:  # noqa: D102
        if self._nodes is not None:
            return self._nodes
        options = self._engine.SessionOptions()
        with tempfile.TemporaryDirectory() as folder:
            options.enable_profiling = True
            options.profile_file_prefix = folder + "/profile"
            session = self._open(options)
            session.run(None, self._feeds)
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        # A node of the host's own provider is inside if that was asked for first.
        wanted = self._settings["providers"]
        accepted = [name for name in wanted if name != _CPU or wanted[0] == _CPU]
        end = "_kernel_time"
        return [
            {
                "kind": event["args"]["op_name"],
                "name": event["name"][: -len(end)],
                "in_shapes": _values(event["args"]["input_type_shape"]),
                "out_shapes": _values(event["args"]["output_type_shape"]),
                "inside": event["args"].get("provider", _CPU) in accepted,
            }
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith(end)
        ]

    def _open(self, options: Any) -> Any:
        threads = self._settings["threads"]
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = self._engine.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        if self._settings.get("precision") == "weight_int8":
            # Else every run decodes the weights anew; so they are decoded once, in opening.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        if threads == 1:  # there is no pool to spin, and none may appear
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = list(self._settings["providers"])
        available = self._engine.get_available_providers()
        missing = [name for name in providers if name not in available]
        if missing:
            raise RefusalError("setting", f"no provider {missing}; there are {available}")
        given = [(name, self._options[name]) if name in self._options else name
                 for name in providers]  # fmt: skip
        session = self._engine.InferenceSession(self._path, options, providers=given)
        if session.get_providers()[: len(providers)] != providers:
            raise RefusalError(
                "setting", f"asked for the providers {providers}, got {session.get_providers()}"
            )
        return session


def _tensorrt_options(precision: str, folder: str) -> dict[str, str]:
    """Return what TensorRT's provider is told: what it may compute in, and where engines stay."""
    options = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
    if precision in _ALLOWED:
        options[_ALLOWED[precision]] = "1"
    return options


def _numpy_type(text: str) -> str | None:
    """Return numpy's name of a type of ONNX Runtime, e.g. ``tensor(float)``; None for others."""
    name = text[len("tensor(") : -1] if text.startswith("tensor(") else text
    name = {"float": "float32", "double": "float64"}.get(name, name)
    return name if name.startswith(("float", "int", "uint")) else None


def _values(entries: list[dict[str, list[int]]]) -> list[list[int]]:
    return [shape for entry in entries for shape in entry.values()]
