"""Optional packages: imported late, and missed by the name of the extra that brings them."""

from __future__ import annotations

import importlib
from types import ModuleType

from edgenas.core.errors import MissingExtraError

EXTRAS = {
    "torch": "torch",
    "lightning_fabric": "torch",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "ai_edge_litert": "litert",
    "flatbuffers": "litert",
    "tensorrt_rtx": "tensorrt",
    "asyncssh": "ssh",
    "PIL": "image",
    "cmaes": "samplers",
    "optunahub": "samplers",
    "psycopg": "postgresql",
}
"""Import name of each optional package to the extra of edgenas that installs it."""


def requirement_of(module: str) -> str:
    """Return what pip installs for `module`: an extra of edgenas, else the package of its name."""
    package = module.partition(".")[0]
    return f"edgenas[{EXTRAS[package]}]" if package in EXTRAS else package


def require(module: str) -> ModuleType:
    """Import and return `module`.

    Raises:
        MissingExtraError: it is not installed or cannot be loaded.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # a shared library that is missing is an OSError
        raise MissingExtraError(
            f"{module} is needed for this and cannot be imported ({error}); "
            f"run: pip install '{requirement_of(module)}'"
        ) from error


def unavailable_reason(module: str) -> str | None:
    """Return why `module` cannot be imported, or None if it can."""
    try:
        require(module)
    except MissingExtraError as error:
        return str(error)
    return None
