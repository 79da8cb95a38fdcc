"""ExecuTorch's .pte, its operators delegated to XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from edgenas.core.artifact import Artifact
from edgenas.core.errors import ExportError
from edgenas.core.extras import require
from edgenas.exporters.base import Exporter, ExportRequest, Images, Signature, check_images
from edgenas.exporters.calibration import Calibrated
from edgenas.exporters.recipe import Recipe
from edgenas_executorch import SUFFIX
from edgenas_executorch.device import METHOD, executed, opened
from edgenas_executorch.lowering import lower
from edgenas_executorch.quiet import quiet, reason_without


class ExecuTorchRecipe(Recipe):
    """Takes no method of calibration but that of the observers that ExecuTorch is given."""

    @model_validator(mode="after")
    def _is_observed(self) -> Self:
        if self.calibration is not None and self.calibration.method != "min_max":
            raise ValueError("calibration.method: ExecuTorch's observers know min_max alone")
        return self


class ExecuTorchExporter(Exporter):
    """ExecuTorch, batch 1, channels first.

    A program knows its input and output by position: that is their name here.
    """

    name: ClassVar[str] = "executorch"
    suffix: ClassVar[str] = SUFFIX
    packages: ClassVar[tuple[str, ...]] = ("torch", "torchao", "executorch")
    recipe_model: ClassVar[type[Recipe]] = ExecuTorchRecipe
    recipe_folders: ClassVar[tuple[Path, ...]] = (Path(__file__).parent / "recipes",)
    distributions: ClassVar[tuple[str, ...]] = ("edgenas-executorch", "executorch", "torchao")

    def unavailable_reason(self) -> str | None:
        """Return why programs cannot be written here."""
        return reason_without("torch", "torchao", "executorch.exir")

    def unavailable_to_run_reason(self) -> str | None:
        """Return why programs cannot be run here."""
        return reason_without("torch", "executorch.runtime")

    def export(self, request: ExportRequest, path: Path) -> Artifact:
        """Write the program, without what its packages say while they are imported."""
        with quiet():
            return super().export(request, path)

    def expected(self, request: ExportRequest) -> Signature:
        """Return the shapes that the file must have, by position."""
        graph = request.graph
        return Signature("0", (1, *graph.in_shape), "0", (1, *graph.out_shape))

    def calibrated(self, request: ExportRequest) -> Calibrated | None:
        """Return how ranges are found, for the manifest; ExecuTorch's own observers find them."""
        settings = self.recipe.calibration
        if settings is None:
            return None
        return Calibrated({}, settings.method, len(self.calibration_images(request)), {})

    def serialise(self, request: ExportRequest) -> bytes:
        """Return the program."""
        coded = self.recipe.calibration is not None
        images = self.calibration_images(request) if coded else None
        return lower(request.graph, request.weights, precision=self.recipe.precision, images=images)

    def signature(self, path: Path) -> Signature:
        """Return what ExecuTorch reads from the file."""
        meta = self._opened(path).metadata(METHOD)
        if (meta.num_inputs(), meta.num_outputs()) != (1, 1):
            raise ExportError(
                f"{path} has {meta.num_inputs()} inputs, {meta.num_outputs()} outputs"
            )
        source, result = meta.input_tensor_meta(0), meta.output_tensor_meta(0)
        return Signature("0", tuple(source.sizes()), "0", tuple(result.sizes()))

    def device_program(self) -> str:
        """Return what opens such files on a device."""
        return (Path(__file__).parent / "engine.py").read_text(encoding="utf-8")

    def outside_delegate(self, path: Path) -> tuple[str, ...]:
        """Return the operators that XNNPACK did not take."""
        return tuple(str(one["kind"]) for one in executed(str(path)) if not one["inside"])

    def infer(self, path: Path, images: Images) -> npt.NDArray[np.float32]:
        """Run the file with ExecuTorch's runtime."""
        torch = require("torch")
        method = self._opened(path).load_method(METHOD)
        check_images(images, tuple(method.metadata.input_tensor_meta(0).sizes())[1:])
        rows = [method.execute([torch.from_numpy(np.array(i[np.newaxis]))])[0] for i in images]
        return np.concatenate([row.numpy() for row in rows]).astype(np.float32)

    def _opened(self, path: Path) -> Any:
        with quiet():
            runtime = require("executorch.runtime")
            try:
                return opened(runtime, str(path))
            except Exception as error:  # the engine's errors share no class
                raise ExportError(f"{path}: ExecuTorch cannot load it: {error}") from error
