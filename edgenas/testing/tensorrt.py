"""A device with TensorRT that is this machine: its Python finds a stand-in of the package.

The stand-in (`edgenas.testing.tensorrt_module`) builds and runs with ONNX Runtime, plays a version
and a GPU, and can fail as TensorRT does.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Fault = Literal["", "missing", "no_gpu", "not_fast", "operator", "memory", "timings", "killed"]

_MODULE = Path(__file__).with_name("tensorrt_module.py")
_MISSING = 'raise ImportError("no such package")\n'


@dataclass(frozen=True, slots=True)
class FakeTensorRt:
    """The package in `folder`/site, and a Python that finds it."""

    folder: Path

    @classmethod
    def install(cls, folder: Path, **played: Any) -> FakeTensorRt:
        """Write the package and the Python; see `play`."""
        fake = cls(folder)
        (folder / "site").mkdir(parents=True, exist_ok=True)
        script = f'PYTHONPATH={shlex.quote(str(folder / "site"))} exec {sys.executable} "$@"\n'
        fake.python.write_text(f"#!/bin/sh\n{script}", "utf-8")
        fake.python.chmod(0o755)
        fake.play(**played)
        return fake

    @property
    def python(self) -> Path:
        """The interpreter for the device file."""
        return self.folder / "python"

    def play(
        self,
        *,
        version: str = "10.3.0",
        gpu: str = "Orin",
        compute_capability: str = "8.7",
        build_s: float = 0.0,
        fault: Fault = "",
    ) -> None:
        """Be this version on this GPU from now on, with one thing wrong with it.

        A build takes `build_s`, unless there are timings of the network. ``missing``: no such
        package; ``no_gpu``: CUDA finds none; ``not_fast``: no precision but float32;
        ``operator``: one that the parser does not take; ``memory``: not enough of it; ``timings``:
        it fails with any; ``killed``: the process, by the system.
        """
        played = {
            "version": version,
            "gpu": gpu,
            "compute_capability": compute_capability,
            "build_s": build_s,
            "fault": fault,
        }
        site = self.folder / "site"
        part = site / "tensorrt.json.part"
        part.write_text(json.dumps(played), "utf-8")
        part.replace(site / "tensorrt.json")
        other = site / "tensorrt_rtx.py"  # this machine's own would take its place
        other.write_text(_MISSING, "utf-8")
        if fault == "missing":
            (site / "tensorrt.py").write_text(_MISSING, "utf-8")
        else:
            shutil.copyfile(_MODULE, site / "tensorrt.py")
