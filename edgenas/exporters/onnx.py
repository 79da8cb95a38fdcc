"""ONNX files, run by onnxruntime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.exporters.base import (
    EXPORTERS,
    INPUT_NAME,
    OUTPUT_NAME,
    Exporter,
    ExportRequest,
    Images,
    Signature,
    check_images,
)
from edgenas.exporters.recipe import Recipe
from edgenas.lowering.onnx import OPSET, lower


class OnnxRecipe(Recipe):
    """Adds the operator set."""

    opset: int = OPSET


@EXPORTERS.add("onnx")
class OnnxExporter(Exporter):
    """ONNX, batch 1, channels first."""

    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    packages: ClassVar[tuple[str, ...]] = ("onnx",)
    run_packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    recipe_model: ClassVar[type[Recipe]] = OnnxRecipe
    recipe: OnnxRecipe

    def serialise(self, request: ExportRequest) -> bytes:
        """Return the ONNX model, checked by onnx itself."""
        calibrated = self.calibrated(request)
        content = lower(
            request.graph,
            request.weights,
            precision=self.recipe.precision,
            ranges=None if calibrated is None else calibrated.ranges,
            input_name=INPUT_NAME,
            output_name=OUTPUT_NAME,
            opset=self.recipe.opset,
        )
        checker = require("onnx.checker")
        try:
            checker.check_model(content, full_check=True)
        except checker.ValidationError as error:
            raise ExportError(f"onnx refuses the model that was written: {error}") from error
        return content

    def signature(self, path: Path) -> Signature:
        """Return what onnxruntime reads from the file."""
        session = _session(path)
        source, result = session.get_inputs()[0], session.get_outputs()[0]
        return Signature(source.name, tuple(source.shape), result.name, tuple(result.shape))

    def infer(self, path: Path, images: Images) -> npt.NDArray[np.float32]:
        """Run the file with onnxruntime."""
        session = _session(path)
        source, result = session.get_inputs()[0], session.get_outputs()[0]
        check_images(images, tuple(source.shape[1:]))
        logits = np.empty((len(images), *result.shape[1:]), np.float32)
        for i, image in enumerate(images):
            logits[i] = session.run([result.name], {source.name: image[np.newaxis]})[0][0]
        return logits


def _session(path: Path) -> Any:
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the engine's errors share no class of their own
        raise ExportError(f"{path}: onnxruntime cannot load it: {error}") from error
