"""The few calls of the CUDA runtime that a TensorRT engine needs, by ctypes."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from edgenas.runtimes.agent.frames import Json, RefusalError

_LIBRARIES = (
    "libcudart.so",
    "libcudart.so.13",
    "libcudart.so.12",
    "libcudart.so.11.0",
    "libcudart.so.10.2",
)
_TO_DEVICE, _TO_HOST = 1, 2
_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapability...
_NAME_BYTES = 256  # with which every version of cudaDeviceProp begins
_PROPERTIES_BYTES = 1 << 14  # more than any version has


def open_library() -> Any:
    """Return the CUDA runtime library.

    Raises:
        RefusalError: it is not installed, or not where the loader looks.
    """
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise RefusalError(
        "missing_engine",
        f"no CUDA runtime: none of {', '.join(_LIBRARIES)} loads; is it on LD_LIBRARY_PATH?",
    )


def gpu(library: Any) -> Json:
    """Return the name and the compute capability of the GPU that this process computes on.

    Raises:
        RefusalError: there is none that can be used.
    """
    library.cudaGetErrorString.restype = ctypes.c_char_p
    index = ctypes.c_int()
    _ask(library, library.cudaGetDevice(ctypes.byref(index)))
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        number = ctypes.c_int()
        _ask(library, library.cudaDeviceGetAttribute(ctypes.byref(number), attribute, index))
        numbers.append(number.value)
    properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
    _ask(library, library.cudaGetDeviceProperties(properties, index))
    name = properties.raw[:_NAME_BYTES].partition(b"\0")[0].decode(errors="replace").strip()
    return {"name": name, "compute_capability": "{}.{}".format(*numbers)}


def _ask(library: Any, status: int) -> None:
    if status != 0:
        message = library.cudaGetErrorString(status).decode(errors="replace")
        raise RefusalError("gpu", f"no GPU can be used: CUDA error {status}: {message}")


class Cuda:
    """A stream, and memory on the GPU until `free`."""

    def __init__(self, library: Any) -> None:
        self._library = library
        library.cudaGetErrorString.restype = ctypes.c_char_p
        self._stream = ctypes.c_void_p()
        self._check(library.cudaStreamCreate(ctypes.byref(self._stream)))
        self._held: list[ctypes.c_void_p] = []

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return self._stream.value or 0

    def allocate(self, n_bytes: int) -> int:
        """Return the address of new memory on the GPU."""
        address = ctypes.c_void_p()
        self._check(self._library.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(n_bytes)))
        self._held.append(address)
        return address.value or 0

    def upload(self, address: int, array: np.ndarray[Any, Any]) -> None:
        """Copy an array to the GPU, in the stream's order."""
        self._copy(ctypes.c_void_p(address), array.ctypes.data_as(ctypes.c_void_p), array.nbytes,
                   _TO_DEVICE)  # fmt: skip

    def download(self, array: np.ndarray[Any, Any], address: int) -> None:
        """Copy memory of the GPU into an array, in the stream's order."""
        self._copy(array.ctypes.data_as(ctypes.c_void_p), ctypes.c_void_p(address), array.nbytes,
                   _TO_HOST)  # fmt: skip

    def wait(self) -> None:
        """Return when all that the stream was given is done."""
        self._check(self._library.cudaStreamSynchronize(self._stream))

    def free(self) -> None:
        """Give all memory and the stream back."""
        for address in self._held:
            self._library.cudaFree(address)
        self._held.clear()
        self._library.cudaStreamDestroy(self._stream)

    def _copy(self, target: Any, source: Any, n_bytes: int, way: int) -> None:
        size = ctypes.c_size_t(n_bytes)
        self._check(self._library.cudaMemcpyAsync(target, source, size, way, self._stream))

    def _check(self, status: int) -> None:
        if status != 0:
            message = self._library.cudaGetErrorString(status)
            raise RuntimeError(f"CUDA error {status}: {message.decode(errors='replace')}")
