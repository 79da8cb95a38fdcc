"""ONNX Runtime for C++: its headers, and the library that the Python package brings."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

_HEADER = "onnxruntime_cxx_api.h"
_PLACES = (
    ".venvs/onnxruntime/include",
    "/usr/include",
    "/usr/local/include",
)
"""Where ``scripts/test.sh`` puts headers, from the root of the checkout, and where systems do."""
_BELOW = ("", "onnxruntime", "onnxruntime/core/session")


@dataclass(frozen=True, slots=True)
class OnnxRuntimeSdk:
    """The folder of the headers, and the library."""

    include: Path
    library: Path

    @property
    def cmake_options(self) -> tuple[str, ...]:
        """What a bundle's CMakeLists.txt is told."""
        return (
            f"-DONNXRUNTIME_INCLUDE_DIR={self.include}",
            f"-DONNXRUNTIME_LIBRARY={self.library}",
        )


def missing_sdk() -> str | None:
    """Return what is missing to compile and run a bundle's C++ example here, None if nothing is."""
    programs = [name for name in ("cmake", "c++") if shutil.which(name) is None]
    if programs:
        return f"{' and '.join(programs)} not installed (Debian: cmake, g++)"
    if _library() is None:
        return "the Python package onnxruntime brings no libonnxruntime.so"
    if _include() is None:
        return f"no {_HEADER}: run scripts/test.sh, or set ONNXRUNTIME_INCLUDE_DIR to its folder"
    return None


def find_sdk() -> OnnxRuntimeSdk:
    """Return headers and library; `missing_sdk` has told that they are there."""
    include, library = _include(), _library()
    assert include is not None
    assert library is not None
    return OnnxRuntimeSdk(include, library)


def _include() -> Path | None:
    root = Path(__file__).resolve().parents[2]
    given = os.environ.get("ONNXRUNTIME_INCLUDE_DIR")
    places = ([Path(given)] if given else []) + [root / place for place in _PLACES]
    folders = (place / below for place in places for below in _BELOW)
    return next((folder for folder in folders if (folder / _HEADER).is_file()), None)


def _library() -> Path | None:
    found = importlib.util.find_spec("onnxruntime")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "capi"
    return next(iter(sorted(folder.glob("libonnxruntime.so.*"))), None)
