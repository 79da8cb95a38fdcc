"""A device as the place where engines are built, and held against the network that they are of."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import (
    AgentError,
    DeviceError,
    DeviceTimeoutError,
    ExportError,
    MissingExtraError,
    RefusedError,
    UsageError,
)
from edgenas.exporters.base import Images, Signature
from edgenas.exporters.place import BuildEntry, BuildSettings, Built, Place, TimingsEntry
from edgenas.exporters.trial import Trial
from edgenas.hardware.device import Device
from edgenas.profiling.file_faults import Blaming, Fault, run_or_blame
from edgenas.runtimes.agent_bench import AgentRuntime
from edgenas.runtimes.base import RUNTIMES, Bench, LoadInfo, Runtime, runtimes_on
from edgenas.runtimes.bench import open_bench
from edgenas.runtimes.engine_files import (
    FORMAT,
    BuildInfo,
    BuildOptions,
    EngineBuilder,
    driver_of,
    explained,
)

_START_S = 120.0
"""For the measuring process to come up: a small board takes half a minute to load TensorRT."""
_ANSWER_S = 120.0
_FEW_TESTS = 64
_KEY = "engine"


def engine_runtime(device: Device, asked: str | None, preferred: str) -> str:
    """Return the runtime by which a device builds engines: as asked, else the preferred, or any.

    Raises:
        UsageError: the device, by its description, does not have it, or has none.
    """
    there = [name for name in runtimes_on(device.description) if FORMAT in RUNTIMES.get(name).also]
    if asked is not None and asked not in there:
        raise UsageError(
            f"the device {device.id!r} is to build engines by {asked}, which its file does not "
            f"have ({', '.join(there) or 'it has no TensorRT'}); add runtimes: {{{asked}: {{}}}}"
        )
    if not there:
        raise UsageError(
            f"the device {device.id!r} is to build engines and its file names no TensorRT; add "
            "runtimes: {tensorrt: {}} for the Python package there, or {trtexec: {}} for the tool"
        )
    return asked or (preferred if preferred in there else there[0])


class DevicePlace(Place):
    """A device, by one of its runtimes that build engines."""

    def __init__(self, device: Device, runtime: str) -> None:
        self.device, self.runtime = device, runtime
        self._kind: type[Runtime] = RUNTIMES.get(runtime)
        if not issubclass(self._kind, AgentRuntime):
            self.most_test_images = _FEW_TESTS

    def unavailable_reason(self) -> str | None:
        """Return why the device has no such engine or no GPU for it, as it says itself."""
        try:
            with self._kind().open(self.device, timeout_s=_START_S) as bench:
                self._builder(bench).gpu(timeout_s=_ANSWER_S)
        except (MissingExtraError, RefusedError) as error:
            return f"engines cannot be built on the device {self.device.id!r}: {error}"
        return None

    def build(self, model: bytes, settings: BuildSettings) -> Built:  # noqa: D102
        options = BuildOptions(
            tf32=settings.tf32,
            compute_capability=settings.compute_capability,
            timings=settings.timing_cache,
        )
        with tempfile.TemporaryDirectory(prefix="edgenas-") as name:
            source, target = Path(name) / "network.onnx", Path(name) / "network.engine"
            source.write_bytes(model)
            try:
                with open_bench(
                    self.device, self.runtime, precision=settings.precision, timeout_s=_START_S
                ) as bench:
                    info = self._builder(bench).build(
                        source, target, options, timeout_s=settings.timeout_s
                    )
                    entry = self._entry(info, bench.info.engine_version)
            except DeviceError as error:
                raise self._failure(error, settings) from error
            return Built(target.read_bytes(), entry)

    def try_file(  # noqa: D102
        self, path: Path, images: Mapping[str, Images], *, precision: str, timeout_s: float
    ) -> Trial:
        def once(blaming: Blaming) -> Trial:
            with (
                open_bench(
                    self.device, self.runtime, precision=precision, timeout_s=_START_S
                ) as bench,
                blaming(),
            ):
                end = time.monotonic() + timeout_s
                loaded = bench.load(_KEY, path)
                logits = {
                    name: _answers(bench, loaded, some, path, end) for name, some in images.items()
                }
                return Trial(_signature(loaded), logits, loaded.outside)

        made = run_or_blame(self.device, once)
        if isinstance(made, Fault):
            raise ExportError(f"{path}: {explained(made.reason)}")
        return made

    def _builder(self, bench: Bench) -> EngineBuilder:
        if not isinstance(bench, EngineBuilder):
            raise UsageError(f"the runtime {self.runtime} builds no engines")
        return bench

    def _entry(self, info: BuildInfo, version: str) -> BuildEntry:
        timings = None
        if info.timings is not None:
            timings = TimingsEntry(**info.timings.model_dump())
        return BuildEntry(
            device=self.device.fingerprint.slug,
            runtime=self.runtime,
            engine_version=version,
            gpu=info.name,
            compute_capability=info.compute_capability,
            driver=driver_of(self.device.connector),
            build_s=info.build_ms / 1e3,
            timings=timings,
        )

    def _failure(self, error: DeviceError, settings: BuildSettings) -> DeviceError | ExportError:
        """Return what a build's error comes to: the engine's refusal, too little time, a loss."""
        what = f"building a {settings.precision} engine by {self.runtime} on {self.device.id!r}"
        if isinstance(error, RefusedError):
            return ExportError(f"{what} failed: {explained(str(error))}")
        if isinstance(error, DeviceTimeoutError):
            return DeviceTimeoutError(
                f"{what} took too long; {settings.timeout_s:g} s are allowed: raise "
                f"export.tensorrt.build_timeout_s ({error})"
            )
        if isinstance(error, AgentError):
            return AgentError(
                f"{what} was not finished: {explained(str(error))}; nothing was written, and the "
                "same command goes on from here"
            )
        return type(error)(
            f"{what} was not finished: {error}; nothing was written, and the same command goes on "
            "from here once the device is there"
        )


def _answers(
    bench: Bench, loaded: LoadInfo, images: Images, path: Path, end: float
) -> npt.NDArray[np.float32]:
    """Return the logits of an engine for images, shape (n, n_classes), one at a time."""
    source, result = loaded.inputs[0], loaded.outputs[0]
    if images.shape[1:] != source.shape[1:]:
        raise ExportError(
            f"{path}: images of shape {images.shape} given; the file takes (n, *{source.shape[1:]})"
        )
    logits = np.empty((len(images), *result.shape[1:]), np.float32)
    for i, image in enumerate(images):
        if time.monotonic() >= end:
            raise ExportError(
                f"{path}: {i} of {len(images)} images are answered, and the time for its checks is "
                "over; raise timeout_s in the export recipe"
            )
        given = np.ascontiguousarray(image[np.newaxis].astype(source.dtype))
        answer = bench.infer(_KEY, {source.name: given}, timeout_s=_ANSWER_S)
        logits[i] = answer[result.name][0]
    return logits


def _signature(loaded: LoadInfo) -> Signature:
    source, result = loaded.inputs[0], loaded.outputs[0]
    return Signature(source.name, source.shape, result.name, result.shape)
