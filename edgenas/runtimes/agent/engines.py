"""Which engines there are, under which names they are installed, and how their models are held."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any, NamedTuple

from edgenas.runtimes.agent.frames import RefusalError
from edgenas.runtimes.agent.litert_models import LiteRtModel
from edgenas.runtimes.agent.model import Model
from edgenas.runtimes.agent.onnx_models import OnnxRuntimeModel
from edgenas.runtimes.agent.tensorrt_models import TensorRtModel


class Engine(NamedTuple):
    """An engine as it is installed: its version is that of the first distribution found."""

    module: str
    distributions: tuple[str, ...]
    model: type[Model]


ENGINES: dict[str, tuple[Engine, ...]] = {
    "onnxruntime": (
        Engine(
            "onnxruntime",
            ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "ort-nightly"),
            OnnxRuntimeModel,
        ),
    ),
    "litert": (
        Engine("ai_edge_litert.interpreter", ("ai-edge-litert",), LiteRtModel),
        Engine("tflite_runtime.interpreter", ("tflite-runtime",), LiteRtModel),
    ),
    "tensorrt": (
        Engine("tensorrt", ("tensorrt",), TensorRtModel),
        Engine("tensorrt_rtx", ("tensorrt-rtx-cu12", "tensorrt-rtx"), TensorRtModel),
    ),
}
"""Runtime to what may stand for it, the first choice first."""


class Loaded(NamedTuple):
    """An engine that was imported."""

    module: Any
    distribution: str
    version: str
    model: type[Model]


def load(name: str, plugin: str | None = None) -> Loaded:
    """Import the engine of a runtime; that of a plug-in stands in the module `plugin`.

    Raises:
        RefusalError: there is no such runtime, or nothing that stands for it is installed.
    """
    engines: tuple[Engine, ...] = ENGINES.get(name, ())
    if plugin is not None:
        engines = importlib.import_module(plugin).ENGINES
    if not engines:
        raise RefusalError("protocol", f"unknown runtime {name!r}; known: {', '.join(ENGINES)}")
    reasons = []
    for engine in engines:
        try:
            module = importlib.import_module(engine.module)
        except (ImportError, OSError) as error:
            reasons.append(f"{engine.module}: {error}")
            continue
        distribution, version = _installed(engine, module)
        return Loaded(module, distribution, version, engine.model)
    raise RefusalError("missing_engine", "; ".join(reasons))


def _installed(engine: Engine, module: Any) -> tuple[str, str]:
    for distribution in engine.distributions:
        try:
            return distribution, metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    # A build of one's own, or a Debian package of the maker, has no distribution.
    return engine.module, str(getattr(module, "__version__", "unknown"))
