"""What every loaded model is, and the inputs that it is timed with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from edgenas.runtimes.agent.frames import Arrays, Json, RefusalError

_LEAST_HALF = 2.0**-10
"""Below 2^-14 a float16 is denormal; products of two inputs must not be."""


class Model(ABC):
    """One loaded model. Making it loads the file; `fill`, `start` and `finish` follow once each."""

    inputs: list[Json]
    outputs: list[Json]
    delegated = True
    outside: list[str]
    build_ms = 0.0
    """Time that making it took to compile the network on the device, apart from loading."""
    run: Callable[[], object]
    """The bare engine call that is timed."""

    @abstractmethod
    def __init__(self, engine: Any, settings: Json, path: str) -> None:
        """Load the file `path` into an imported engine."""

    @staticmethod
    def gpu() -> Json:
        """Return the name and the compute capability of the GPU that the engine computes on."""
        raise RefusalError("gpu", "this engine computes on no GPU of its own")

    @staticmethod
    def build(engine: Any, settings: Json, request: Json) -> Json:
        """Build an engine file, and return what came of it."""
        raise RefusalError("build", "this engine has no files of its own")

    @abstractmethod
    def fill(self) -> None:
        """Make the inputs for timing."""

    @abstractmethod
    def start(self) -> None:
        """Run for the first time."""

    @abstractmethod
    def finish(self) -> None:
        """Describe the model; `inputs`, `outputs`, `outside` and `run` are known from here on."""

    @abstractmethod
    def infer(self, feeds: Arrays) -> Arrays:
        """Return the outputs for the given inputs; the inputs used for timing stay."""

    @abstractmethod
    def nodes(self) -> list[Json]:
        """Return the operators that run, as the engine names them."""


def noise(name: str, shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """Return the fixed input that a model is timed with; a batch left open is 1.

    Raises:
        RefusalError: the shape or the type is not fixed.
    """
    sizes = list(shape)
    if sizes and (not isinstance(sizes[0], (int, np.integer)) or sizes[0] < 0):
        sizes[0] = 1
    if dtype is None or not all(isinstance(one, (int, np.integer)) and one > 0 for one in sizes):
        raise RefusalError("model", f"input {name!r} has no fixed shape or type: {shape}, {dtype}")
    # Normal values of float32 stay above 1e-8 in magnitude: no denormal slows a run.
    values = np.random.default_rng(0).normal(size=[int(one) for one in sizes])
    kind = np.dtype(dtype)
    if kind == np.float16:
        values = np.where(np.abs(values) < _LEAST_HALF, _LEAST_HALF, values)
    elif kind in (np.int8, np.uint8):  # quantised: all of the range, around its middle
        range_ = np.iinfo(kind)
        values = np.clip(values * 40 + (range_.max + range_.min + 1) / 2, range_.min, range_.max)
    elif kind.kind != "f":
        values = np.abs(values) * 16
    return np.asarray(values, dtype=kind, order="C")


def described(name: str, array: np.ndarray[Any, Any]) -> Json:
    """Return a tensor's name, shape and type."""
    return {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
