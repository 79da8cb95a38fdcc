"""OpenVINO's IR in one file, run by its CPU plugin."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.exporters.base import Exporter, ExportRequest, Images, Signature, check_images
from edgenas_openvino import SUFFIX
from edgenas_openvino.device import executed, opened
from edgenas_openvino.lowering import lower

_COMPUTES = ("Convolution", "FullyConnected", "Eltwise", "Pooling", "MatMul")
"""Layers that OpenVINO has integer kernels for."""


class OpenVinoExporter(Exporter):
    """OpenVINO, batch 1, channels first."""

    name: ClassVar[str] = "openvino"
    suffix: ClassVar[str] = SUFFIX
    packages: ClassVar[tuple[str, ...]] = ("onnx", "openvino")
    run_packages: ClassVar[tuple[str, ...]] = ("openvino",)
    recipe_folders: ClassVar[tuple[Path, ...]] = (Path(__file__).parent / "recipes",)
    distributions: ClassVar[tuple[str, ...]] = ("edgenas-openvino", "openvino")

    def serialise(self, request: ExportRequest) -> bytes:
        """Return the archive with both files of the IR."""
        calibrated = self.calibrated(request)
        return lower(
            request.graph,
            request.weights,
            precision=self.recipe.precision,
            ranges=None if calibrated is None else calibrated.ranges,
        )

    def signature(self, path: Path) -> Signature:
        """Return what OpenVINO reads from the file."""
        compiled = self._opened(path)
        (source,), (result,) = compiled.inputs, compiled.outputs
        return Signature(
            source.get_any_name(),
            tuple(source.get_shape()),
            result.get_any_name(),
            tuple(result.get_shape()),
        )

    def device_program(self) -> str:
        """Return what opens such files on a device."""
        return (Path(__file__).parent / "engine.py").read_text(encoding="utf-8")

    def outside_delegate(self, path: Path) -> tuple[str, ...] | None:
        """Return the layers of an int8 file that run in float32 for lack of an integer kernel."""
        if self.recipe.precision != "int8":
            return None
        layers = executed(self._opened(path))
        return tuple(
            str(layer["kind"])
            for layer, precision in layers
            if layer["kind"] in _COMPUTES and precision == "f32"
        )

    def infer(self, path: Path, images: Images) -> npt.NDArray[np.float32]:
        """Run the file with OpenVINO on the CPU."""
        compiled = self._opened(path)
        check_images(images, tuple(compiled.inputs[0].get_shape())[1:])
        request = compiled.create_infer_request()
        rows = [request.infer(image[np.newaxis])[0][0] for image in images]
        return np.stack(rows).astype(np.float32)

    def _opened(self, path: Path) -> Any:
        core = require("openvino").Core()
        try:
            return opened(core, str(path), precision=self.recipe.precision)
        except (RuntimeError, OSError, KeyError, zipfile.BadZipFile) as error:
            raise ExportError(f"{path}: OpenVINO cannot load it: {error}") from error
