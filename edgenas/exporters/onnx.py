"""ONNX files, run by onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

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
from edgenas.exporters.bundle.texts import program
from edgenas.exporters.recipe import Recipe
from edgenas.lowering.onnx import BATCH, OPSET, OPSETS, lower
from edgenas.lowering.onnx_session import one_core_options
from edgenas.lowering.optimised_onnx import onnx_operators

_CHUNK = 32  # images at once where any number is taken


class OnnxRecipe(Recipe):
    """Adds what onnxruntime needs to know.

    Attributes:
        opset: the operator set.
        batch: how many images the file takes at once: a number, or any.
        session: entries of the session's configuration with which the file is to be opened.
    """

    opset: int = Field(default=OPSET, ge=OPSETS[0], le=OPSETS[-1])
    batch: Annotated[int, Field(ge=1)] | Literal["any"] = 1
    session: dict[str, str] = Field(default_factory=dict)


@EXPORTERS.add("onnx")
class OnnxExporter(Exporter):
    """ONNX, channels first, one image at a time unless the recipe says otherwise."""

    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    packages: ClassVar[tuple[str, ...]] = ("onnx",)
    run_packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    recipe_model: ClassVar[type[Recipe]] = OnnxRecipe
    recipe: OnnxRecipe

    @property
    def batch(self) -> int | str:
        """How many images the file takes at once."""
        return BATCH if self.recipe.batch == "any" else self.recipe.batch

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
            batch=None if self.recipe.batch == "any" else self.recipe.batch,
        )
        checker = require("onnx.checker")
        try:
            checker.check_model(content, full_check=True)
        except checker.ValidationError as error:
            raise ExportError(f"onnx refuses the model that was written: {error}") from error
        return content

    def signature(self, path: Path) -> Signature:
        """Return what onnxruntime reads from the file."""
        session = _session(path, self.recipe.session)
        source, result = session.get_inputs()[0], session.get_outputs()[0]
        return Signature(source.name, tuple(source.shape), result.name, tuple(result.shape))

    def outside_delegate(self, path: Path) -> tuple[str, ...]:
        """Return the operators that onnxruntime's CPU kernels run in float32 in place of codes."""
        return onnx_operators(path.read_bytes()).outside

    def device_program(self) -> str:
        """Return what opens such files on a device."""
        return program("engine_onnx.py")

    def infer(self, path: Path, images: Images) -> npt.NDArray[np.float32]:
        """Run the file with onnxruntime."""
        session = _session(path, self.recipe.session)
        source, result = session.get_inputs()[0], session.get_outputs()[0]
        check_images(images, tuple(source.shape[1:]))
        size = source.shape[0] if isinstance(source.shape[0], int) else _CHUNK
        logits = np.empty((len(images), *result.shape[1:]), np.float32)
        for start in range(0, len(images), size):
            some = images[start : start + size]
            n = len(some)
            if n < size and isinstance(source.shape[0], int):  # the last ones do not fill it
                some = np.concatenate([some, np.zeros((size - n, *some.shape[1:]), some.dtype)])
            logits[start : start + n] = session.run([result.name], {source.name: some})[0][:n]
        return logits


def _session(path: Path, entries: Mapping[str, str]) -> Any:
    runtime = require("onnxruntime")
    options = one_core_options()
    try:
        for name, value in entries.items():
            options.add_session_config_entry(name, value)
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the engine's errors share no class of their own
        raise ExportError(f"{path}: onnxruntime cannot load it: {error}") from error
