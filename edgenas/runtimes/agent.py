"""The measuring process: loads models into one engine, runs them and reports raw times.

This file is copied to devices and started there by itself: it needs Python, numpy and the engine,
and nothing of edgenas. It speaks frames over its standard streams: four bytes of length, most
significant first, then a JSON object. Each request `{"id", "command", "timeout_s", ...}` gets one
reply `{"id", "ok", ...}`; a refused one carries `{"error": {"kind", "message"}}` and the process
lives on. It ends when its input closes, and is ended by its own alarm if a request overruns.
"""

from __future__ import annotations

import base64
import gc
import importlib
import io
import json
import os
import platform
import signal
import struct
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

# A script's own folder comes first on the path; here it holds modules named like the engines.
if __name__ == "__main__":
    _HERE = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _HERE]

import numpy as np

PROTOCOL = 1
GRACE_S = 5.0
"""The host gives up at a request's timeout; this much later the process ends by itself."""

Json = dict[str, Any]
Arrays = dict[str, "np.ndarray[Any, Any]"]
_STARTED_NS = time.perf_counter_ns()
_CPU_SET = hasattr(os, "sched_setaffinity")


class RefusalError(Exception):
    """A request that cannot be served; `kind` tells the host what to make of it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Model(ABC):
    """One loaded model: its tensors are allocated and its inputs filled."""

    inputs: list[Json]
    outputs: list[Json]
    delegated = True
    outside: list[str]
    run: Callable[[], object]
    """The bare engine call that is timed."""

    @abstractmethod
    def infer(self, feeds: Arrays) -> Arrays:
        """Return the outputs for the given inputs; the inputs used for timing stay."""

    @abstractmethod
    def nodes(self) -> list[Json]:
        """Return the operators that run, as the engine names them."""


class OnnxRuntimeModel(Model):
    """A session of ONNX Runtime with inputs and outputs bound to fixed memory."""

    def __init__(self, engine: Any, settings: Json, path: str) -> None:
        self._engine, self._path, self._settings = engine, path, settings
        self._session = self._open(engine.SessionOptions())
        self.outside = []
        self._feeds = {
            tensor.name: _noise(tensor.name, tensor.shape, _numpy_type(tensor.type))
            for tensor in self._session.get_inputs()
        }
        self._results = self.infer(self._feeds)
        self.inputs = [_described(name, array) for name, array in self._feeds.items()]
        self.outputs = [_described(name, array) for name, array in self._results.items()]
        binding = self._session.io_binding()
        for name, array in self._feeds.items():
            binding.bind_cpu_input(name, array)
        for name, array in self._results.items():
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        run = self._session.run_with_iobinding
        self.run = lambda: run(binding)

    def infer(self, feeds: Arrays) -> Arrays:  # noqa: D102
        names = [tensor.name for tensor in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, feeds), strict=True))

    def nodes(self) -> list[Json]:  # noqa: D102
        options = self._engine.SessionOptions()
        with tempfile.TemporaryDirectory() as folder:
            options.enable_profiling = True
            options.profile_file_prefix = folder + "/profile"
            session = self._open(options)
            session.run(None, self._feeds)
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        return [
            {
                "kind": event["args"]["op_name"],
                "name": event["name"].removesuffix("_kernel_time"),
                "in_shapes": _values(event["args"]["input_type_shape"]),
                "out_shapes": _values(event["args"]["output_type_shape"]),
                "inside": True,
            }
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        ]

    def _open(self, options: Any) -> Any:
        threads = self._settings["threads"]
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = self._engine.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        if threads == 1:  # there is no pool to spin, and none may appear
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = list(self._settings["providers"])
        session = self._engine.InferenceSession(self._path, options, providers=providers)
        if session.get_providers()[: len(providers)] != providers:
            raise RefusalError(
                "setting", f"asked for the providers {providers}, got {session.get_providers()}"
            )
        return session


class LiteRtModel(Model):
    """An interpreter of LiteRT, with XNNPACK unless the delegate is "none"."""

    xnnpack_seen = False
    """XNNPACK reports itself once a process; nothing else in the interface names the delegate."""

    def __init__(self, engine: Any, settings: Json, path: str) -> None:
        resolver = engine.OpResolverType
        wanted = settings["delegate"] != "none"
        with _Stderr() as printed:
            self._interpreter = engine.Interpreter(
                model_path=path,
                num_threads=settings["threads"],
                experimental_op_resolver_type=resolver.BUILTIN
                if wanted
                else resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._interpreter.allocate_tensors()
        LiteRtModel.xnnpack_seen |= "XNNPACK delegate" in printed.text
        details = self._interpreter.get_input_details()
        self._feeds = {
            one["name"]: _noise(one["name"], one["shape"], one["dtype"]) for one in details
        }
        self._index = {one["name"]: one["index"] for one in details}
        self.inputs = [_described(name, array) for name, array in self._feeds.items()]
        self.outputs = [_described(name, array) for name, array in self._results().items()]
        self._fill(self._feeds)
        self.run = self._interpreter.invoke
        self.outside = [str(node["kind"]) for node in self.nodes() if not node["inside"]]
        self.delegated = any(node["inside"] for node in self.nodes())
        if wanted and self.delegated and not LiteRtModel.xnnpack_seen:
            raise RefusalError("setting", "a delegate took the model, and it is not XNNPACK")

    def infer(self, feeds: Arrays) -> Arrays:  # noqa: D102
        self._fill(feeds)
        self._interpreter.invoke()
        results = self._results()
        self._fill(self._feeds)
        return results

    def nodes(self) -> list[Json]:  # noqa: D102
        every = self._interpreter._get_ops_details()
        own = [node for node in every if node["op_name"] != "DELEGATE"]
        inside: set[int] = set()
        for node in every[len(own) :]:  # a delegate's node is appended to those it replaces
            inside |= _between(own, node["inputs"], node["outputs"])
        return [
            {
                "kind": node["op_name"],
                "name": self._tensor(node["outputs"][0])["name"],
                "in_shapes": [
                    self._tensor(index)["shape"] for index in node["inputs"] if index >= 0
                ],
                "out_shapes": [self._tensor(one)["shape"] for one in node["outputs"]],
                "inside": node["index"] in inside,
            }
            for node in own
        ]

    def _results(self) -> Arrays:
        return {
            one["name"]: self._interpreter.get_tensor(one["index"])
            for one in self._interpreter.get_output_details()
        }

    def _fill(self, feeds: Arrays) -> None:
        for name, array in feeds.items():
            self._interpreter.set_tensor(self._index[name], array)

    def _tensor(self, index: Any) -> Json:
        return dict(self._interpreter._get_tensor_details(int(index), subgraph_index=0))


ENGINES: dict[str, tuple[str, str, Callable[[Any, Json, str], Model]]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime", OnnxRuntimeModel),
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert", LiteRtModel),
}
"""Runtime to its module, its distribution and how its models are held."""


class Agent:
    """The state of the process: the engine and the loaded models."""

    def __init__(self) -> None:
        self._greeted = False
        self._models: dict[str, Model] = {}

    def answer(self, request: Json) -> Json:
        """Return the reply to one request, without its `id`.

        Raises:
            RefusalError: the request is wrong or the engine refuses.
        """
        commands: dict[str, Callable[[Json], Json]] = {
            "hello": self._hello,
            "load": self._load,
            "unload": self._unload,
            "visit": self._visit,
            "infer": self._infer,
            "nodes": lambda request: {"nodes": self._model(request["key"]).nodes()},
            "memory": lambda request: {"rss_kib": _rss_kib()},
        }
        command = request["command"]
        if command not in commands or (command != "hello" and not self._greeted):
            raise RefusalError("protocol", f"{command!r} is no command, or came before 'hello'")
        return commands[command](request)

    def _hello(self, request: Json) -> Json:
        if request["protocol"] != PROTOCOL:
            raise RefusalError("protocol", f"protocol {PROTOCOL} here, {request['protocol']} asked")
        name, settings = request["runtime"], request["settings"]
        if name not in ENGINES:
            raise RefusalError("protocol", f"unknown runtime {name!r}; known: {', '.join(ENGINES)}")
        # The engine may size its pools when it is imported.
        affinity = _pin(settings["affinity"], settings["threads"])
        module, distribution, held = ENGINES[name]
        try:
            engine = importlib.import_module(module)
            engine_version = metadata.version(distribution)
        except (ImportError, OSError) as error:
            raise RefusalError("missing_engine", f"{module}: {error}") from error
        self._open: Callable[[str], Model] = partial(held, engine, settings)
        self._greeted = True
        gc.freeze()  # what was imported stays; collecting must not walk over it
        return {
            "protocol": PROTOCOL,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "engine": name,
            "engine_version": engine_version,
            "pid": os.getpid(),
            "affinity": affinity,
            "threads": settings["threads"],
            "timer_resolution_ns": _timer_resolution_ns(),
            "load_average": os.getloadavg()[0],
        }

    def _load(self, request: Json) -> Json:
        key, path = request["key"], request["path"]
        if key in self._models:
            raise RefusalError("key", f"the key {key!r} is loaded already")
        if not Path(path).is_file():
            raise RefusalError("model", f"no such file on the device: {path}")
        start = time.perf_counter_ns()
        try:
            model = self._open(path)
        except RefusalError:
            raise
        except Exception as error:
            raise RefusalError("model", f"{type(error).__name__}: {error}") from error
        load_ms = (time.perf_counter_ns() - start) / 1e6
        self._models[key] = model
        return {
            "load_ms": load_ms,
            "rss_kib": _rss_kib(),
            "inputs": model.inputs,
            "outputs": model.outputs,
            "delegated": model.delegated,
            "outside": model.outside,
        }

    def _unload(self, request: Json) -> Json:
        self._model(request["key"])
        del self._models[request["key"]]
        gc.collect()
        return {"rss_kib": _rss_kib()}

    def _visit(self, request: Json) -> Json:
        n_warmup, n_runs = request["n_warmup"], request["n_runs"]
        deadline_s = request.get("deadline_s")
        models = [(key, self._model(key)) for key in request["sequence"]]
        visits: list[Json] = []
        start_ns = time.perf_counter_ns()
        for key, model in models:
            now_ns = time.perf_counter_ns()
            if deadline_s is not None and now_ns - start_ns >= deadline_s * 1e9:
                break
            samples = _time(model.run, n_warmup, n_runs)
            visits.append({"key": key, "at_ns": now_ns - _STARTED_NS, "samples_ns": samples})
        return {"visits": visits}

    def _infer(self, request: Json) -> Json:
        model = self._model(request["key"])
        feeds = {name: _decoded(text) for name, text in request["inputs"].items()}
        given = [_described(name, array) for name, array in feeds.items()]
        if sorted(map(str, given)) != sorted(map(str, model.inputs)):
            raise RefusalError("input", f"the inputs are {model.inputs}, not {given}")
        results = model.infer(feeds)
        return {"outputs": {name: _encoded(array) for name, array in results.items()}}

    def _model(self, key: str) -> Model:
        if key not in self._models:
            raise RefusalError("key", f"no model is loaded under the key {key!r}")
        return self._models[key]


class _Stderr:
    """Collects what C++ code prints to the standard error, and passes it on afterwards."""

    text = ""

    def __enter__(self) -> _Stderr:
        self._saved = os.dup(2)
        self._file = tempfile.TemporaryFile()
        os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(self, *error: object) -> None:
        os.dup2(self._saved, 2)
        os.close(self._saved)
        self._file.seek(0)
        content = self._file.read()
        self._file.close()
        self.text = content.decode(errors="replace")
        os.write(2, content)


def _time(run: Callable[[], object], n_warmup: int, n_runs: int) -> list[int]:
    clock = time.perf_counter_ns
    for _ in range(n_warmup):
        run()
    samples = [0] * n_runs
    for index in range(n_runs):
        start = clock()
        run()
        samples[index] = clock() - start
    return samples


def _pin(affinity: list[int] | None, threads: int) -> list[int]:
    """Bind the process to `affinity`, or to the last `threads` CPUs that it may use."""
    if not _CPU_SET:
        return []
    allowed = sorted(os.sched_getaffinity(0))
    wanted = allowed[-threads:] if affinity is None else sorted(affinity)
    if len(wanted) < threads or not set(wanted) <= set(allowed):
        raise RefusalError(
            "setting", f"{threads} thread(s) on the CPUs {wanted} asked; allowed CPUs: {allowed}"
        )
    os.sched_setaffinity(0, wanted)
    return sorted(os.sched_getaffinity(0))


def _noise(name: str, shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """Return the fixed input that a model is timed with; a batch left open is 1."""
    sizes = list(shape)
    if sizes and (not isinstance(sizes[0], (int, np.integer)) or sizes[0] < 0):
        sizes[0] = 1
    if dtype is None or not all(isinstance(one, (int, np.integer)) and one > 0 for one in sizes):
        raise RefusalError("model", f"input {name!r} has no fixed shape or type: {shape}, {dtype}")
    # Normal values of float32 stay above 1e-8 in magnitude: no denormal slows a run.
    values = np.random.default_rng(0).normal(size=[int(one) for one in sizes])
    array: np.ndarray[Any, Any] = values if np.dtype(dtype).kind == "f" else np.abs(values) * 16
    return np.asarray(array, dtype=dtype, order="C")


def _numpy_type(text: str) -> str | None:
    """Return numpy's name of a type of ONNX Runtime, e.g. ``tensor(float)``; None for others."""
    name = text.removeprefix("tensor(").removesuffix(")")
    name = {"float": "float32", "double": "float64"}.get(name, name)
    return name if name.startswith(("float", "int", "uint")) else None


def _described(name: str, array: np.ndarray[Any, Any]) -> Json:
    return {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}


def _values(entries: list[dict[str, list[int]]]) -> list[list[int]]:
    return [shape for entry in entries for shape in entry.values()]


def _between(nodes: list[Json], inputs: Any, outputs: Any) -> set[int]:
    """Return the indices of the nodes on the way from `inputs` to `outputs` (tensor indices)."""
    makers = {int(tensor): node for node in nodes for tensor in node["outputs"]}
    known = {int(tensor) for tensor in inputs}
    found: set[int] = set()
    pending = [int(tensor) for tensor in outputs]
    while pending:
        tensor = pending.pop()
        node = makers.get(tensor)
        if tensor not in known and node is not None:
            known.add(tensor)
            found.add(int(node["index"]))
            pending.extend(int(one) for one in node["inputs"])
    return found


def _encoded(array: np.ndarray[Any, Any]) -> str:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _decoded(text: str) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
    return np.asarray(array, order="C")


def _timer_resolution_ns() -> int:
    ticks = [time.perf_counter_ns() for _ in range(2000)]
    return min(after - before for before, after in pairwise(ticks) if after > before)


def _rss_kib() -> int:
    """Return the memory that the process holds now, or its peak where only that is told."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024
    except OSError:
        resource = importlib.import_module("resource")
        peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // (1024 if sys.platform == "darwin" else 1)


def _read(stream: BinaryIO) -> Json | None:
    """Return the next request, or None at the end of the input."""
    head = stream.read(4)
    size = struct.unpack(">I", head)[0] if len(head) == 4 else 1  # more than is left
    body = stream.read(size)
    request: Json | None = json.loads(body) if len(body) == size else None
    return request


def _write(stream: BinaryIO, reply: Json) -> None:
    body = json.dumps(reply, default=lambda array: array.tolist()).encode()
    stream.write(struct.pack(">I", len(body)) + body)
    stream.flush()


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until there are no more."""
    agent = Agent()
    gc.disable()
    while (request := _read(requests)) is not None:
        if request["command"] == "quit":
            _write(replies, {"id": request["id"], "ok": True})
            return
        # The default action of the alarm ends the process even inside a hung engine.
        signal.setitimer(signal.ITIMER_REAL, request["timeout_s"] + GRACE_S)
        try:
            reply = {"ok": True, **agent.answer(request)}
        except RefusalError as error:
            reply = {"ok": False, "error": {"kind": error.kind, "message": str(error)}}
        except Exception as error:  # noqa: BLE001 - the host decides what an engine's error means
            message = f"{type(error).__name__}: {error}"
            reply = {"ok": False, "error": {"kind": "engine", "message": message}}
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(replies, {"id": request["id"], **reply})


def main() -> None:
    """Keep the standard streams for frames; whatever else is printed goes to the error stream."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    serve(requests, replies)


if __name__ == "__main__":
    main()
