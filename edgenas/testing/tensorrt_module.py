"""In the place of the Python package `tensorrt`: builds and runs engines with ONNX Runtime.

It is copied under that name to where a device's Python finds it (`edgenas.testing.tensorrt`).
``tensorrt.json`` beside it says which version and GPU it plays, and what is wrong with them; it is
read anew by every call. The GPU's memory is the host's. What it logs is what TensorRT logs.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.runtimes.agent import cuda

_ENGINE, _TIMINGS = b"ENGINE\n", b"TIMINGS\n"
_NO_DEVICE = 100
_MAGIC = (
    "Error Code 1: Serialization (Serialization assertion magicTagRead == kMAGIC_TAG failed."
    "Magic tag does not match)"
)
_CUT = "Error Code 1: Serialization (Serialization assertion size == 0 failed.)"
_VERSION = (
    "Error Code 6: API Usage Error (The engine plan file is not compatible with this version of "
    "TensorRT, expecting library version {} got {}, please rebuild.)"
)
_GPU = (
    "Error Code 6: API Usage Error (The engine plan file is generated on an incompatible device, "
    "expecting compute {} got compute {}, please rebuild.)"
)
_MEMORY = (
    "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
    "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any "
    "implementation for node {ForeignNode[conv...Gemm]}.)",
)


def _played() -> dict[str, Any]:
    text = Path(__file__).with_name("tensorrt.json").read_text("utf-8")
    played: dict[str, Any] = json.loads(text)
    return played


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _played()["version"]
    raise AttributeError(name)


# -- what the bindings have ------------------------------------------------------------------


class Severity(IntEnum):
    """How bad a message is."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class ILogger:
    """The base of loggers."""

    INTERNAL_ERROR, ERROR, WARNING, INFO = Severity

    def log(self, severity: Severity, message: str) -> None:
        """Take in a message."""


class NetworkDefinitionCreationFlag(IntEnum):
    """Flags of `Builder.create_network`."""

    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class BuilderFlag(Enum):
    """Flags of a configuration."""

    FP16 = 0
    INT8 = 1
    TF32 = 2


class ProfilingVerbosity(Enum):
    """What an engine keeps of its layers."""

    DETAILED = 2


class TensorIOMode(Enum):
    """Which end of the network a tensor is."""

    INPUT = 1
    OUTPUT = 2


class DataType(Enum):
    """The types of tensors; those that networks have here."""

    FLOAT = "float32"
    HALF = "float16"


class LayerInformationFormat(Enum):
    """How an inspector tells layers."""

    JSON = 1


class TimingCache:
    """Timings of networks that were built, by the hash of each."""

    def __init__(self, content: bytes) -> None:
        played = _played()
        self.version, self.gpu = played["version"], played["gpu"]
        self.known: list[str] = []
        if content:
            kept = json.loads(content[len(_TIMINGS) :])
            self.version, self.gpu, self.known = kept["version"], kept["gpu"], kept["known"]

    def serialize(self) -> bytes:
        """Return the content of a file of them."""
        kept = {"version": self.version, "gpu": self.gpu, "known": sorted(self.known)}
        return _TIMINGS + json.dumps(kept).encode()


class BuilderConfig:
    """How an engine is built."""

    profiling_verbosity: Any = None

    def __init__(self, log: ILogger) -> None:
        self._log = log
        self.flags: set[BuilderFlag] = {BuilderFlag.TF32}
        self._cache: TimingCache | None = None

    def set_flag(self, flag: BuilderFlag) -> None:
        """Allow something."""
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        """Allow it no more."""
        self.flags.discard(flag)

    def create_timing_cache(self, content: bytes) -> TimingCache:
        """Return timings; over damaged ones none, and a warning."""
        if content and not content.startswith(_TIMINGS):
            self._log.log(Severity.ERROR, _MAGIC)
            self._log.log(Severity.WARNING, "The timing cache will not be used!")
            return TimingCache(b"")
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        """Attach timings, if they are of this version and GPU."""
        played = _played()
        if cache.version != played["version"]:
            return False
        if cache.gpu != played["gpu"] and not ignore_mismatch:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        """Return what is attached."""
        return self._cache


class Builder:
    """Builds engines; what takes it time is what no timings are of."""

    def __init__(self, log: ILogger) -> None:
        self._log = log
        fast = _played()["fault"] != "not_fast"
        self.platform_has_fast_fp16 = self.platform_has_fast_int8 = fast

    def create_network(self, flags: int) -> dict[str, bytes]:
        """Return an empty network."""
        return {}

    def create_builder_config(self) -> BuilderConfig:
        """Return a configuration."""
        return BuilderConfig(self._log)

    def build_serialized_network(
        self, network: dict[str, bytes], config: BuilderConfig
    ) -> bytes | None:
        """Return an engine, or None, with the reason in the log."""
        played, model = _played(), network["model"]
        name, cache = hashlib.sha256(model).hexdigest(), config.get_timing_cache()
        if cache is None or name not in cache.known:
            time.sleep(played["build_s"])
        if played["fault"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if played["fault"] == "timings" and cache is not None and cache.known:
            self._log.log(Severity.ERROR, "Error Code 2: Internal Error (Assertion !isGroupConv)")
            return None
        if played["fault"] == "memory":
            for message in _MEMORY:
                self._log.log(Severity.ERROR, message)
            return None
        if cache is not None and name not in cache.known:
            cache.known.append(name)
        head = {key: played[key] for key in ("version", "gpu", "compute_capability")}
        return _ENGINE + json.dumps(head).encode() + b"\n" + model


class _ParserError:
    def desc(self) -> str:
        return (
            "In node 1 with name: act and operator: HardSwish (parseNode): UNSUPPORTED_NODE: "
            "No importer registered for op: HardSwish"
        )


class OnnxParser:
    """Reads ONNX files."""

    num_errors = 0

    def __init__(self, network: dict[str, bytes], log: ILogger) -> None:
        self._network, self._log = network, log

    def parse(self, model: bytes) -> bool:
        """Put the network of an ONNX file into the one given; return whether it could."""
        if _played()["fault"] == "operator":
            self.num_errors = 1
            return False
        try:
            _session(model)
        except Exception as error:  # noqa: BLE001 - as ONNX Runtime's errors have no class
            self._log.log(Severity.ERROR, f"Failed to parse the ONNX model: {error}")
            return False
        self._network["model"] = model
        return True

    def get_error(self, index: int) -> _ParserError:
        """Return what kept it from that."""
        return _ParserError()


class Runtime:
    """Opens engines of its own version and GPU."""

    def __init__(self, log: ILogger) -> None:
        self._log = log

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        """Return an engine, or None, with the reason in the log."""
        played, head, model = _played(), {}, b""
        if content.startswith(_ENGINE) and content.count(b"\n") > 1:
            line, _, model = content[len(_ENGINE) :].partition(b"\n")
            head = json.loads(line)
        problem = _MAGIC if not head else ""
        for key, text in (("compute_capability", _GPU), ("version", _VERSION)):
            if head and head[key] != played[key]:
                problem = text.format(played[key], head[key])
        try:
            if not problem:
                return Engine(model)
        except Exception:  # noqa: BLE001 - as ONNX Runtime's errors have no class
            problem = _CUT
        self._log.log(Severity.ERROR, f"IRuntime::deserializeCudaEngine: {problem}")
        return None


class Engine:
    """A network, opened."""

    def __init__(self, model: bytes) -> None:
        self._session = _session(model)
        sources, results = self._session.get_inputs(), self._session.get_outputs()
        self._tensors = {one.name: one for one in (*sources, *results)}
        self._inputs = [one.name for one in sources]
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        """Return a tensor's name."""
        return str(list(self._tensors)[index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        """Return which end of the network it is."""
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Return its shape; what is open is 1."""
        return tuple(n if isinstance(n, int) else 1 for n in self._tensors[name].shape)

    def get_tensor_dtype(self, name: str) -> DataType:
        """Return its type."""
        return DataType.HALF if self._tensors[name].type == "tensor(float16)" else DataType.FLOAT

    def create_execution_context(self) -> Context:
        """Return what runs it."""
        return Context(self)

    def create_engine_inspector(self) -> Inspector:
        """Return what tells its layers."""
        return Inspector()

    def run(self, read: Callable[[str], Any]) -> dict[str, Any]:
        """Return the outputs by name, for inputs that `read` returns by theirs."""
        names = [one.name for one in self._session.get_outputs()]
        found = self._session.run(names, {name: read(name) for name in self._inputs})
        return dict(zip(names, found, strict=True))


class Inspector:
    """Tells that an engine has one layer."""

    def get_engine_information(self, form: LayerInformationFormat) -> str:
        """Return the layers, by name alone."""
        return json.dumps({"Layers": ["{ForeignNode[everything]}"]})


class Context:
    """Runs an engine on memory that it is told of."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, address: int) -> None:
        """Say where a tensor is."""
        self._addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        """Run it."""
        for name, array in self._engine.run(self._array).items():
            self._array(name)[...] = array
        return True

    def _array(self, name: str) -> Any:
        engine = self._engine
        dtype = np.dtype(engine.get_tensor_dtype(name).value)
        shape = engine.get_tensor_shape(name)
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        memory: Any = (ctypes.c_char * n_bytes).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


# -- in the place of CUDA's runtime ----------------------------------------------------------


class HostMemory:
    """In the place of libcudart: the GPU's memory is the host's."""

    def __init__(self) -> None:
        self._held: dict[int, Any] = {}
        self.cudaGetErrorString = lambda status: b"no CUDA-capable device is detected"

    def cudaGetDevice(self, index: Any) -> int:  # noqa: D102, N802 - CUDA's names
        index._obj.value = 0
        return _NO_DEVICE if _played()["fault"] == "no_gpu" else 0

    def cudaDeviceGetAttribute(self, number: Any, attribute: int, index: Any) -> int:  # noqa: D102, N802
        major, _, minor = _played()["compute_capability"].partition(".")
        number._obj.value = int({75: major, 76: minor}[attribute])
        return 0

    def cudaGetDeviceProperties(self, properties: Any, index: Any) -> int:  # noqa: D102, N802
        name = _played()["gpu"].encode() + b"\0"
        ctypes.memmove(properties, name, len(name))
        return 0

    def cudaStreamCreate(self, stream: Any) -> int:  # noqa: D102, N802
        stream._obj.value = 1
        return 0

    def cudaMalloc(self, address: Any, size: Any) -> int:  # noqa: D102, N802
        memory = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(memory)
        self._held[address._obj.value] = memory
        return 0

    def cudaMemcpyAsync(self, target: Any, source: Any, size: Any, way: int, stream: Any) -> int:  # noqa: D102, N802
        ctypes.memmove(target, source, size)
        return 0

    def cudaStreamSynchronize(self, stream: Any) -> int:  # noqa: D102, N802
        return 0

    def cudaFree(self, address: Any) -> int:  # noqa: D102, N802
        del self._held[address.value]
        return 0

    def cudaStreamDestroy(self, stream: Any) -> int:  # noqa: D102, N802
        return 0


if __name__ != "edgenas.testing.tensorrt_module":  # under a name of the package's
    setattr(cuda, "open_library", HostMemory)  # noqa: B010 - mypy takes no function's place
