"""Opens the engine file with TensorRT or TensorRT-RTX; the GPU's memory by CUDA's own library.

The file opens only with the version that built it, on the kind of GPU that it was built for. Which
of the two packages that was follows from the manifest: ahead of time it is TensorRT-RTX. On a
device it may be either, and both are tried.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from typing import Any

import numpy as np

BUILDERS = {"ahead": ("tensorrt_rtx",), "device": ("tensorrt", "tensorrt_rtx")}
"""Packages that may have built an engine, by where that was; the likelier one first."""

if not any(name in sys.modules or importlib.util.find_spec(name) for name in BUILDERS["device"]):
    raise ImportError("there is neither the package tensorrt nor tensorrt_rtx")

_LIBRARIES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
_TO_GPU, _TO_HOST = 1, 2
_TYPES = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32"}


class Model:
    """An opened engine with one input and one output of fixed shapes.

    Attributes:
        engine: name and version of what runs it.
        inputs: name, shape and type of the input.
        outputs: the same of the output.
        batch: how many images it takes at once.
    """

    def __init__(self, path: str, threads: int, options: dict[str, Any]) -> None:
        """Open the file; its manifest's `options` say by what, and threads change nothing here."""
        del threads
        with open(path, "rb") as stream:  # noqa: PTH123
            content = stream.read()
        # A runtime has to live as long as its engines.
        trt, self._runtime, engine = _opened(content, BUILDERS[options.get("build", "device")])
        self._engine, self._context = engine, engine.create_execution_context()
        self._cuda = _library()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [one for one in names if engine.get_tensor_mode(one) == trt.TensorIOMode.INPUT]
        (source,), (result,) = inputs, [one for one in names if one not in inputs]
        self.engine = trt.__name__ + " " + trt.__version__
        self.inputs, self.outputs = _described(engine, source), _described(engine, result)
        self.batch = self.inputs["shape"][0]
        self._answer = np.empty(self.outputs["shape"], self.outputs["dtype"])
        n_bytes = int(np.prod(self.inputs["shape"])) * np.dtype(self.inputs["dtype"]).itemsize
        self._places = {
            source: self._allocated(n_bytes),
            result: self._allocated(self._answer.nbytes),
        }
        for name, place in self._places.items():
            self._context.set_tensor_address(name, place)
        stream_handle = ctypes.c_void_p()
        self._check(self._cuda.cudaStreamCreate(ctypes.byref(stream_handle)))
        self._stream = stream_handle

    def run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return what the engine answers to one batch, copied to the GPU and back."""
        images = np.ascontiguousarray(images)
        self._copy(self._places[self.inputs["name"]], images.ctypes.data, images.nbytes, _TO_GPU)
        if not self._context.execute_async_v3(self._stream.value or 0):
            raise RuntimeError("TensorRT did not take the run; its reason is on the error output")
        answer, place = self._answer, self._places[self.outputs["name"]]
        self._copy(answer.ctypes.data, place, answer.nbytes, _TO_HOST)
        self._check(self._cuda.cudaStreamSynchronize(self._stream))
        return answer.copy()

    def _allocated(self, n_bytes: int) -> int:
        address = ctypes.c_void_p()
        self._check(self._cuda.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(n_bytes)))
        return address.value or 0

    def _copy(self, target: int, source: int, n_bytes: int, way: int) -> None:
        self._check(
            self._cuda.cudaMemcpyAsync(
                ctypes.c_void_p(target),
                ctypes.c_void_p(source),
                ctypes.c_size_t(n_bytes),
                way,
                self._stream,
            )
        )

    def _check(self, status: int) -> None:
        if status != 0:
            self._cuda.cudaGetErrorString.restype = ctypes.c_char_p
            reason = self._cuda.cudaGetErrorString(status).decode(errors="replace")
            raise RuntimeError(f"CUDA error {status}: {reason}")


def _opened(content: bytes, names: tuple[str, ...]) -> tuple[Any, Any, Any]:
    """Return the package that opens an engine, its runtime and the engine.

    Raises:
        ImportError: none of the packages is there.
        RuntimeError: those that are there do not open it.
    """
    missing, reasons = [], []
    for name in names:
        try:
            trt = importlib.import_module(name)
        except (ImportError, OSError) as error:
            missing.append(f"{name} cannot be imported ({error})")
            continue
        engine = runtime = None
        said = ""
        try:
            runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
            engine = runtime.deserialize_cuda_engine(content)
        except Exception as error:  # noqa: BLE001 - the bindings' own
            said = f" ({error})"
        if engine is not None:
            return trt, runtime, engine
        reasons.append(f"{name} {trt.__version__} does not open it{said}")
    if not reasons:
        raise ImportError("; ".join(missing))
    raise RuntimeError(
        "; ".join([*reasons, *missing]) + ". It says why on the error output: there is no GPU that "
        "it can use, or the file is of another version of TensorRT, or for another kind of GPU"
    )


def _library() -> Any:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise RuntimeError("no CUDA runtime: none of " + ", ".join(_LIBRARIES) + " loads")


def _described(engine: Any, name: str) -> dict[str, Any]:
    kind = str(engine.get_tensor_dtype(name)).rpartition(".")[2]
    shape = [int(size) for size in engine.get_tensor_shape(name)]
    return {"name": name, "shape": shape, "dtype": _TYPES.get(kind, kind.lower())}
