"""Devices with TensorRT that are this machine: its Python package, or its tool, played."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from edgenas.core.schema import dump_yaml
from edgenas.testing.tensorrt import FakeTensorRt

PROGRAM = Path(__file__).with_name("trtexec_program.py")
LOCAL = {"kind": "local"}


def write_trtexec(folder: Path, version: int = 8401, fault: str = "none") -> Path:
    """Write a `trtexec` that plays a version and has a fault; its calls go to ``calls``."""
    tool = folder / "trtexec"
    arguments = f"{sys.executable} -IS {PROGRAM} {version} {fault}"
    tool.write_text(f'#!/bin/sh\necho "$@" >>"{folder}/calls"\nexec {arguments} "$@"\n')
    tool.chmod(0o755)
    return tool


def trtexec_board(
    folder: Path,
    version: int = 8401,
    fault: str = "none",
    *,
    connector: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Return the file of a device with that tool."""
    tool = write_trtexec(folder, version, fault)
    runtimes = {"trtexec": {"program": str(tool), **settings}}
    return _device_file(folder, {"connector": connector or LOCAL, "runtimes": runtimes})


def tensorrt_board(
    folder: Path, fake: FakeTensorRt, *, connector: dict[str, Any] | None = None
) -> Path:
    """Return the file of a device whose Python finds the stand-in of TensorRT."""
    document = {
        "connector": connector or LOCAL,
        "python": str(fake.python),
        "runtimes": {"tensorrt": {}},
    }
    return _device_file(folder, document)


def _device_file(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "board.yaml"
    whole = {
        "schema_version": 1,
        "id": "board",
        "description": "a board",
        "lock": {"folder": str(folder)},
        **document,
    }
    path.write_text(dump_yaml(whole))
    return path
