"""TensorRT engines: built ahead of time for a named kind of GPU, or on the device that has it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field, model_validator

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
from edgenas.exporters.place import BuildSettings, Place
from edgenas.exporters.recipe import Recipe
from edgenas.exporters.trial import Trial
from edgenas.lowering.onnx import OPSET, lower

_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]")


def _named(value: object) -> object:
    """Return compute capabilities as they are asked for: one name, or several without doubles."""
    names = list(value) if isinstance(value, list | tuple) else [value]
    sound = all(isinstance(name, str) and _CAPABILITY.fullmatch(name) for name in names)
    if not names or not sound or len(set(names)) < len(names):
        raise ValueError(
            'wanted is NVIDIA\'s name of a kind of GPU in quotes, "8.9", or a list of them, each '
            'once: ["8.6", "8.9"]'
        )
    return value if isinstance(value, str) else tuple(names)


ComputeCapability = Annotated[str | tuple[str, ...], BeforeValidator(_named)]
"""As NVIDIA names it, e.g. "8.9"; or several."""
DeviceFolder = Annotated[str, Field(pattern=r"^/")]
"""An absolute path on the device."""

_NO_PLACE = (
    "the engine is to be built and run on a device, and none was given: export it with a job, or "
    "give the exporter a place"
)
ONE_GPU = (
    "an engine that is built on the device is for the GPU that it has: name one "
    "compute_capability, or none"
)
_DRIVER = Path("/proc/driver/nvidia/version")
_LOG_LINES = 12  # of an error message; the first errors are the telling ones


class TensorRTRecipe(Recipe):
    """Adds the ONNX operator set on the way, and where and how the engine is built.

    Attributes:
        opset: of the ONNX model that the engine is built from.
        build: ``ahead`` by TensorRT-RTX, here, for a named kind of GPU; ``device`` by the device's
            own TensorRT, for the GPU that it has.
        runtime: what builds and runs it on the device; by default what the device has.
        compute_capability: NVIDIA's name of a kind of GPU, e.g. ``"8.6"``: the one to build for, or
            the one that the device must have. An engine that is built ahead may be for several.
        tf32: whether TF32 may be used, which keeps 10 bits of the mantissa and is not float32.
        timing_cache: whether timings of kernels are kept on the device between builds; a folder
            there instead of the usual one.
        build_timeout_s: how long building on the device may take.
    """

    opset: int = OPSET
    build: Literal["ahead", "device"] = "ahead"
    runtime: Literal["tensorrt", "trtexec"] | None = None
    compute_capability: ComputeCapability | None = None
    tf32: bool = False
    timing_cache: bool | DeviceFolder = True
    build_timeout_s: float = Field(default=1800.0, gt=0)

    @model_validator(mode="after")
    def _names_its_gpu(self) -> Self:
        if self.build == "ahead" and self.compute_capability is None:
            raise ValueError("an engine that is built ahead needs compute_capability")
        if self.build == "device" and len(self.compute_capabilities) > 1:
            raise ValueError(ONE_GPU)
        return self

    @property
    def compute_capabilities(self) -> tuple[str, ...]:
        """The kinds of GPUs that are named."""
        named = self.compute_capability
        if named is None:
            return ()
        return (named,) if isinstance(named, str) else named


@EXPORTERS.add("tensorrt")
class TensorRTExporter(Exporter):
    """TensorRT, batch 1, channels first, weights inside the engine.

    With a `place` its engines are built and run there; without one they are built ahead of time.
    """

    name: ClassVar[str] = "tensorrt"
    suffix: ClassVar[str] = ".engine"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "tensorrt_rtx")
    run_packages: ClassVar[tuple[str, ...]] = ("tensorrt_rtx",)
    recipe_model: ClassVar[type[Recipe]] = TensorRTRecipe
    recipe: TensorRTRecipe

    def __init__(self, recipe: Recipe, place: Place | None = None) -> None:
        super().__init__(recipe)
        if place is not None and self.recipe.build != "device":
            raise ExportError("an engine that is built ahead of time is built here, in no place")
        self.place = place

    @property
    def needed_packages(self) -> tuple[str, ...]:
        """Built on the device it needs no TensorRT here."""
        return ("onnx",) if self.recipe.build == "device" else self.packages

    def unavailable_reason(self) -> str | None:
        """Return why engines cannot be built, here or in their place."""
        missing = super().unavailable_reason()
        if missing or self.recipe.build == "ahead":
            return missing
        return _NO_PLACE if self.place is None else self.place.unavailable_reason()

    def unavailable_to_run_reason(self) -> str | None:
        """Return why engines cannot run, here or in their place."""
        if self.recipe.build == "device":
            return _NO_PLACE if self.place is None else None
        missing = super().unavailable_to_run_reason()
        if missing:
            return missing
        capability = " or ".join(self.recipe.compute_capabilities)
        needs = f"the engine needs an NVIDIA GPU of compute capability {capability}"
        if not _DRIVER.exists():
            return f"{needs}, and this machine has no NVIDIA driver"
        return f"{needs}; engines run where they are built, export.tensorrt.build: device"

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
        self.built = None
        if self.recipe.build == "device":
            made = self._place().build(model, self._settings())
            self.built = made.entry
            return made.content
        return build_engine(
            model,
            compute_capabilities=self.recipe.compute_capabilities,
            tf32=self.recipe.tf32,
            expected=self.expected(request),
        )

    def signature(self, path: Path) -> Signature:
        """Return what the engine declares in its place; ahead of time `build_engine` checked it."""
        return self._tried(path, {}).signature

    def outside_delegate(self, path: Path) -> tuple[str, ...] | None:
        """Return nothing where engines run: all of an engine runs on the GPU."""
        return None if self.place is None else ()

    def device_program(self) -> str:
        """Return what opens such files on a device."""
        return program("engine_tensorrt.py")

    def infer(self, path: Path, images: Images) -> npt.NDArray[np.float32]:
        """Run the engine in its place."""
        return self._tried(path, {"images": images}).logits["images"]

    def _tried(self, path: Path, images: dict[str, Images]) -> Trial:
        if self.place is None:
            raise ExportError(f"{path} cannot run: {self.unavailable_to_run_reason()}")
        recipe = self.recipe
        return self.place.try_file(
            path, images, precision=recipe.precision, timeout_s=recipe.timeout_s
        )

    def _place(self) -> Place:
        if self.place is None:
            raise ExportError(_NO_PLACE)
        return self.place

    def _settings(self) -> BuildSettings:
        return BuildSettings(
            precision=self.recipe.precision,
            tf32=self.recipe.tf32,
            compute_capability=next(iter(self.recipe.compute_capabilities), None),
            timing_cache=self.recipe.timing_cache,
            timeout_s=self.recipe.build_timeout_s,
        )


def known_capabilities() -> dict[str, Any]:
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


def check_capabilities(asked: Sequence[str]) -> None:
    """Refuse kinds of GPUs that the installed TensorRT-RTX builds no engines for.

    Raises:
        ExportError: there is one; the message has those that it knows.
        MissingExtraError: TensorRT-RTX is not installed.
    """
    known = known_capabilities()
    for name in asked:
        if name not in known:
            version = require("tensorrt_rtx").__version__
            raise ExportError(
                f"TensorRT-RTX {version} builds no engines for compute capability {name!r}; "
                f"{choices(name, known)}; other GPUs build their own: "
                "export: {tensorrt: {build: device}}"
            )


def build_engine(
    model: bytes,
    *,
    compute_capabilities: Sequence[str],
    tf32: bool,
    expected: Signature | None = None,
) -> bytes:
    """Return one engine of an ONNX model for all GPUs of these kinds; needs no GPU.

    Raises:
        ExportError: TensorRT-RTX does not know the GPUs, or cannot parse or build the network;
            the message carries its log. Also if the parsed network is not as `expected`.
        MissingExtraError: TensorRT-RTX is not installed.
    """
    trt = require("tensorrt_rtx")
    check_capabilities(compute_capabilities)
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
    config.num_compute_capabilities = len(compute_capabilities)
    for i, name in enumerate(compute_capabilities):
        config.set_compute_capability(known_capabilities()[name], i)
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
