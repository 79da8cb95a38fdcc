"""ONNX Runtime for C++: its headers, and the library that the Python package brings."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

_HEADER = "onnxruntime_cxx_api.h"
_PLACES = (
    ".venvs/onnxruntime/include",
    "/usr/include",
    "/usr/local/include",
)
"""Where ``scripts/test.sh`` puts headers, from the root of the checkout, and where systems do."""
_BELOW = ("", "onnxruntime", "onnxruntime/core/session")


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


def lay_out_sdk(folder: Path) -> Path:
    """Lay links to headers and library in `folder` as its makers release them, and return it.

    `missing_sdk` has told that they are there.
    """
    include, library = _include(), _library()
    assert include is not None
    assert library is not None
    (folder / "lib").mkdir(parents=True)
    (folder / "include").symlink_to(include)
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / "lib" / name).symlink_to(library)
    return folder


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
