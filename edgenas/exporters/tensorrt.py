"""TensorRT-RTX engines, built ahead of time on the CPU for a named GPU generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgenas.core.errors import ExportError, choices
from edgenas.core.extras import require
from edgenas.exporters.base import (
    EXPORTERS,
    INPUT_NAME,
    OUTPUT_NAME,
    Exporter,
    ExportRequest,
    Images,
    Signature,
)
from edgenas.exporters.bundle.texts import program
from edgenas.exporters.recipe import Recipe
from edgenas.lowering.onnx import OPSET, lower

_DRIVER = Path("/proc/driver/nvidia/version")
_LOG_LINES = 12  # of an error message; the first errors are the telling ones


class TensorRTRecipe(Recipe):
    """Adds the ONNX operator set on the way, the GPU generation, and whether TF32 may be used.

    `compute_capability` is NVIDIA's name of a GPU generation, e.g. ``"8.6"``. TF32 keeps 10 bits
    of the mantissa, which is not float32.
    """

    opset: int = OPSET
    compute_capability: str = Field(pattern=r"^[0-9]+\.[0-9]$")
    tf32: bool = False


@EXPORTERS.add("tensorrt")
class TensorRTExporter(Exporter):
    """TensorRT-RTX, batch 1, channels first, weights inside the engine."""

    name: ClassVar[str] = "tensorrt"
    suffix: ClassVar[str] = ".engine"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "tensorrt_rtx")
    run_packages: ClassVar[tuple[str, ...]] = ("tensorrt_rtx",)
    recipe_model: ClassVar[type[Recipe]] = TensorRTRecipe
    recipe: TensorRTRecipe

    def unavailable_to_run_reason(self) -> str | None:
        """Return why engines cannot run here."""
        missing = super().unavailable_to_run_reason()
        if missing:
            return missing
        needs = f"the engine needs an NVIDIA GPU of compute capability {self._capability}"
        if not _DRIVER.exists():
            return f"{needs}, and this machine has no NVIDIA driver"
        return f"{needs}, and this version of edgenas does not run engines"

    def serialise(self, request: ExportRequest) -> bytes:
        """Return the engine, built from the ONNX model of the same network."""
        calibrated = self.calibrated(request)
        model = lower(
            request.graph,
            request.weights,
            precision=self.recipe.precision,
            ranges=None if calibrated is None else calibrated.ranges,
            symmetric=self.recipe.precision == "int8",
            input_name=INPUT_NAME,
            output_name=OUTPUT_NAME,
            opset=self.recipe.opset,
        )
        return build_engine(
            model,
            compute_capability=self._capability,
            tf32=self.recipe.tf32,
            expected=self.expected(request),
        )

    def signature(self, path: Path) -> Signature:
        """Refuse: an engine opens on its GPU only. `build_engine` checked its network."""
        raise ExportError(f"{path} cannot be opened: {self.unavailable_to_run_reason()}")

    def device_program(self) -> str:
        """Return what opens such files on a device."""
        return program("engine_tensorrt.py")

    def infer(self, path: Path, images: Images) -> npt.NDArray[np.float32]:
        """Refuse: an engine runs on its GPU only."""
        raise ExportError(f"{path} cannot run: {self.unavailable_to_run_reason()}")

    @property
    def _capability(self) -> str:
        return self.recipe.compute_capability


def compute_capabilities() -> dict[str, Any]:
    """Return TensorRT-RTX's target GPU generations by NVIDIA's names, e.g. ``"8.6"``.

    Raises:
        MissingExtraError: TensorRT-RTX is not installed.
    """
    targets = require("tensorrt_rtx").ComputeCapability.__members__
    return {
        f"{name[2:-1]}.{name[-1]}": target
        for name, target in targets.items()
        if name.startswith("SM")
    }


def build_engine(
    model: bytes, *, compute_capability: str, tf32: bool, expected: Signature | None = None
) -> bytes:
    """Return the engine of an ONNX model for GPUs of `compute_capability`; needs no GPU.

    Raises:
        ExportError: TensorRT-RTX does not know the GPUs, or cannot parse or build the network;
            the message carries its log. Also if the parsed network is not as `expected`.
        MissingExtraError: TensorRT-RTX is not installed.
    """
    trt = require("tensorrt_rtx")
    targets = compute_capabilities()
    if compute_capability not in targets:
        raise ExportError(
            f"TensorRT-RTX {trt.__version__} builds no engines for compute capability "
            f"{compute_capability!r}; {choices(compute_capability, targets)}"
        )
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(
        1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)  # the file's types, no others
    )
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise ExportError(_failure("cannot parse the ONNX model", [*errors, *logger.lines]))
    found = _network_signature(network)
    if expected is not None and found != expected:
        raise ExportError(f"TensorRT-RTX parsed a network with {found}, not {expected}")
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(targets[compute_capability], 0)
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(_failure("cannot build the engine", logger.lines))
    return bytes(engine)


def _network_signature(network: Any) -> Signature:
    source, result = network.get_input(0), network.get_output(0)
    return Signature(source.name, tuple(source.shape), result.name, tuple(result.shape))


def _logger(trt: Any) -> Any:
    """Return a logger that keeps TensorRT's errors and warnings and prints nothing."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
                self.lines.append(message)

    return Logger()


def _failure(what: str, lines: list[str]) -> str:
    log = "\n  ".join(list(dict.fromkeys(lines))[:_LOG_LINES]) or "it logged no reason"
    return f"TensorRT-RTX {what}:\n  {log}"
