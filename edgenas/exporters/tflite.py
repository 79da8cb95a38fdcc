"""TFLite files, run by LiteRT with XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.core.native_output import native_stderr_logged
from edgenas.exporters.base import (
    EXPORTERS,
    INPUT_NAME,
    OUTPUT_NAME,
    Codes,
    Exporter,
    ExportRequest,
    Images,
    Signature,
    check_images,
)
from edgenas.exporters.bundle.texts import program
from edgenas.exporters.recipe import Recipe
from edgenas.lowering.optimised_tflite import tflite_operators
from edgenas.lowering.tflite import lower


class TfliteRecipe(Recipe):
    """Adds whether an int8 file takes and returns codes, whose scales it carries, or float32."""

    quantised_io: bool = False

    @model_validator(mode="after")
    def _has_codes(self) -> Self:
        if self.quantised_io and self.precision != "int8":
            raise ValueError(f"quantised_io asks for int8; {self.precision} has no codes to take")
        return self


@EXPORTERS.add("tflite")
class TfliteExporter(Exporter):
    """TFLite, batch 1, channels last."""

    name: ClassVar[str] = "tflite"
    suffix: ClassVar[str] = ".tflite"
    input_layout: ClassVar[str] = "NHWC"
    packages: ClassVar[tuple[str, ...]] = ("ai_edge_litert.schema_py_generated", "flatbuffers")
    run_packages: ClassVar[tuple[str, ...]] = ("ai_edge_litert.interpreter",)
    recipe_model: ClassVar[type[Recipe]] = TfliteRecipe
    recipe: TfliteRecipe

    @property
    def dtype(self) -> str:
        """The type of what the file takes and returns."""
        return "int8" if self.recipe.quantised_io else "float32"

    def serialise(self, request: ExportRequest) -> bytes:
        """Return the flatbuffer."""
        calibrated = self.calibrated(request)
        return lower(
            request.graph,
            request.weights,
            precision=self.recipe.precision,
            ranges=None if calibrated is None else calibrated.ranges,
            quantised_io=self.recipe.quantised_io,
            input_name=INPUT_NAME,
            output_name=OUTPUT_NAME,
        )

    def signature(self, path: Path) -> Signature:
        """Return the names and shapes of the file's one signature."""
        runner = _interpreter(path).get_signature_runner()
        ((source, detail),) = runner.get_input_details().items()
        ((result, result_detail),) = runner.get_output_details().items()
        return Signature(source, _shape(detail), result, _shape(result_detail))

    def codes(self, path: Path) -> tuple[Codes | None, Codes | None]:
        """Return the scales and zero points of the file's input and output."""
        interpreter = _interpreter(path)
        return (
            _codes(interpreter.get_input_details()[0]),
            _codes(interpreter.get_output_details()[0]),
        )

    def outside_delegate(self, path: Path) -> tuple[str, ...]:
        """Return the kinds of operators that XNNPACK does not take over."""
        return tflite_operators(path.read_bytes()).outside

    def device_program(self) -> str:
        """Return what opens such files on a device."""
        return program("engine_tflite.py")

    def infer(self, path: Path, images: Images) -> npt.NDArray[np.float32]:
        """Run the file with LiteRT; `images` are channels first here, too."""
        interpreter = _interpreter(path)
        source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        _, height, width, channels = _shape(source)
        check_images(images, (channels, height, width))
        logits = np.empty((len(images), *_shape(result)[1:]), np.float32)
        for i, image in enumerate(images):
            given = _encoded(image.transpose(1, 2, 0)[np.newaxis], source)
            interpreter.set_tensor(source["index"], given)
            interpreter.invoke()
            logits[i] = _decoded(interpreter.get_tensor(result["index"])[0], result)
        return logits

    def encode(self, path: Path, images: Images) -> npt.NDArray[Any]:
        """Return `images` channels last, in codes where the file asks for them."""
        given = super().encode(path, images)
        return _encoded(given, _details(path)[0]) if self.recipe.quantised_io else given

    def decode(self, path: Path, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the logits that the file's output, codes or numbers, stands for."""
        if self.recipe.quantised_io:
            return _decoded(values, _details(path)[1])
        return super().decode(path, values)


def _details(path: Path) -> tuple[Any, Any]:
    """Return what LiteRT tells of the file's input and of its output."""
    interpreter = _interpreter(path)
    return interpreter.get_input_details()[0], interpreter.get_output_details()[0]


def _codes(detail: Any) -> Codes | None:
    if detail["dtype"] == np.float32:
        return None
    step, zero_point = detail["quantization"]
    return Codes(np.dtype(detail["dtype"]).name, float(step), int(zero_point))


def _encoded(images: npt.NDArray[np.float32], detail: Any) -> npt.NDArray[Any]:
    """Return images as a tensor takes them: in codes where it asks for them."""
    if detail["dtype"] == np.float32:
        return images
    step, zero_point = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    codes = np.clip(np.rint(images / step) + zero_point, limits.min, limits.max)
    return np.asarray(codes, detail["dtype"])


def _decoded(values: npt.NDArray[Any], detail: Any) -> npt.NDArray[np.float32]:
    if detail["dtype"] == np.float32:
        return values
    step, zero_point = detail["quantization"]
    return np.asarray((values.astype(np.int32) - zero_point) * np.float32(step), np.float32)


def _shape(detail: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in detail["shape"])


def _interpreter(path: Path) -> Any:
    module = require("ai_edge_litert.interpreter")
    try:
        with native_stderr_logged():
            interpreter = module.Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"{path}: LiteRT cannot load it: {error}") from error
    return interpreter
