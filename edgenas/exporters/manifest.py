"""The manifest: a JSON file beside each model file that says what it is, where from, how proven."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pydantic

from edgenas.core.artifact import Artifact
from edgenas.core.counts import n_macs, n_params, peak_activation_bytes, weight_bytes
from edgenas.core.errors import SchemaError
from edgenas.core.files import write_json
from edgenas.core.measurement import Coverage
from edgenas.core.schema import StrictModel
from edgenas.exporters.base import Exporter, ExportRequest
from edgenas.exporters.place import BuildEntry
from edgenas.exporters.validate import Check

SCHEMA_VERSION: Literal[1] = 1
_DISTRIBUTIONS = (
    "edgenas",
    "numpy",
    "torch",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "flatbuffers",
    "tensorrt-rtx-cu12",
)


class Source(StrictModel):
    """Where the network comes from."""

    run: str
    architecture_id: str
    space: str
    genes: tuple[int, ...]
    config: dict[str, Any]
    data: str
    budget: tuple[str, ...] = ()


class Resize(StrictModel):
    """How an image of another size becomes `height` x `width`.

    First, with antialiasing: the whole image becomes `stored` (height, width), in which the
    training images lay in memory; or, where they stayed in their files, the middle of it is cut
    out that is left when the short side becomes size / `crop_share`, rounded up. What is of another
    size then is scaled without antialiasing, with half-pixel centres.
    """

    height: int
    width: int
    interpolation: str
    stored: tuple[int, int] | None = None
    crop_share: float | None = None


class PredictedLatency(StrictModel):
    """What the cost model said before anything was built; the interval holds with `confidence`.

    There is no interval where the table was never held against whole networks. `mismatch` says in
    what the table is of something else than this device and engine.
    """

    device: str
    runtime: str
    latency_ms: float
    low_ms: float | None
    high_ms: float | None
    confidence: float
    coverage: Coverage
    provenance: str = "measured"
    mismatch: tuple[str, ...] = ()


class MeasuredLatency(StrictModel):
    """The exported file, timed on the device; `latency_ms` as `Measurement.latency_ms` defines.

    `process_ms` is the same of each measuring process alone.
    """

    device: str
    runtime: str
    runtime_version: str
    n_threads: int
    n_samples: int
    latency_ms: float
    median_ms: float
    p90_ms: float
    process_ms: tuple[float, ...] = ()


class PredictedCost(StrictModel):
    """What was predicted beside the latency, in `unit`; the fields are those of the latency's."""

    objective: str
    unit: str
    device: str
    runtime: str
    value: float
    low: float | None
    high: float | None
    confidence: float
    coverage: Coverage
    provenance: str
    mismatch: tuple[str, ...] = ()


class MeasuredCost(StrictModel):
    """What was measured of the exported file beside its latency, in `unit`.

    A measured energy has an interval and names its meter; `provenance` is ``modelled`` where it
    was not measured but follows from powers in the device's description.
    """

    objective: str
    unit: str
    device: str
    runtime: str
    value: float
    low: float | None = None
    high: float | None = None
    provenance: str = "measured"
    meter: str | None = None


class FileEntry(StrictModel):
    """The model file."""

    name: str
    sha256: str
    n_bytes: int


class Counts(StrictModel):
    """What the network costs on paper."""

    n_macs: int
    n_params: int
    weights_kib: float
    peak_activation_kib: float


class InputEntry(StrictModel):
    """What the model reads: ``(pixel / 255 - mean) / std`` for every channel.

    A `dtype` of integers means codes, whose scale and zero point are in the file.
    """

    name: str
    shape: tuple[int | str, ...]
    layout: str
    dtype: str
    pixel_range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize


class OutputEntry(StrictModel):
    """What the model answers: one logit a class, no softmax."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    class_names: tuple[str, ...]


class CalibrationEntry(StrictModel):
    """How the ranges of 8-bit values were found.

    `sqnr_db` is what each method gave where several were tried: the ratio of signal and noise of
    the logits.
    """

    method: str
    n_images: int
    sqnr_db: dict[str, float]


class CheckEntry(StrictModel):
    """A check that was made; see `edgenas.exporters.validate.Check`."""

    name: str
    passed: bool
    measured: float | None
    tolerance: float | None
    detail: str
    value: float | None = None


class Manifest(StrictModel):
    """The whole document; `not_run` maps what could not be done here to the reason.

    `built` is how an engine came to be that was built on a device.
    A file whose `status` is ``failed`` did not pass all checks and is called ``<name>.failed``.
    """

    schema_version: Literal[1]
    status: Literal["passed", "failed"] = "passed"
    target: str
    precision: str
    file: FileEntry
    source: Source
    counts: Counts
    input: InputEntry
    output: OutputEntry
    options: dict[str, Any]
    calibration: CalibrationEntry | None = None
    built: BuildEntry | None = None
    checks: tuple[CheckEntry, ...]
    predicted_latency: PredictedLatency | None
    measured_latency: MeasuredLatency | None
    predicted_costs: tuple[PredictedCost, ...] = ()
    measured_costs: tuple[MeasuredCost, ...] = ()
    not_run: dict[str, str]
    versions: dict[str, str]


def make_manifest(  # noqa: PLR0913
    exporter: Exporter,
    request: ExportRequest,
    artifact: Artifact,
    *,
    checks: Sequence[Check],
    source: Source,
    stored: tuple[int, int] | None = None,
    crop_share: float | None = None,
    predicted_latency: PredictedLatency | None = None,
    measured_latency: MeasuredLatency | None = None,
    predicted_costs: Sequence[PredictedCost] = (),
    not_run: dict[str, str] | None = None,
) -> Manifest:
    """Return the manifest of an exported file.

    `stored` and `crop_share` say how images become inputs (see `Resize`).
    Checks that were not made go to `not_run` with their reason, and so does a latency that is
    None, unless `not_run` already gives one under ``predicted_latency`` or ``measured_latency``.
    """
    reasons = {check.name: check.detail for check in checks if check.passed is None}
    if predicted_latency is None:
        reasons["predicted_latency"] = "no latency table of the target was given"
    if measured_latency is None:
        reason = exporter.unavailable_to_run_reason()
        reasons["measured_latency"] = reason or "the file was not timed in this run"
    expected = exporter.expected(request)
    recipe = exporter.recipe.model_dump(mode="json")
    return Manifest(
        schema_version=SCHEMA_VERSION,
        status=_status(checks),
        target=exporter.name,
        precision=exporter.recipe.precision,
        file=_file(artifact),
        source=source,
        counts=_counts(request),
        input=_input(exporter, request, stored, crop_share),
        output=OutputEntry(
            name=expected.output_name,
            shape=expected.output_shape,
            dtype=exporter.dtype,
            class_names=request.class_names,
        ),
        calibration=_calibration(request),
        built=exporter.built,
        options={k: v for k, v in recipe.items() if k not in ("schema_version", "target")},
        checks=tuple(CheckEntry(**asdict(check)) for check in checks if check.passed is not None),
        predicted_latency=predicted_latency,
        measured_latency=measured_latency,
        predicted_costs=tuple(predicted_costs),
        not_run=reasons | (not_run or {}),
        versions=tool_versions(exporter.distributions),
    )


def _calibration(request: ExportRequest) -> CalibrationEntry | None:
    found = request.calibrated
    if found is None:
        return None
    return CalibrationEntry(
        method=found.method, n_images=found.n_images, sqnr_db=dict(found.sqnr_db)
    )


def _file(artifact: Artifact) -> FileEntry:
    n_bytes = artifact.path.stat().st_size
    return FileEntry(name=artifact.path.name, sha256=artifact.sha256, n_bytes=n_bytes)


def with_checks(manifest: Manifest, more: Sequence[Check]) -> Manifest:
    """Return a manifest with more checks of the same file; what was not made goes to `not_run`."""
    made = tuple(CheckEntry(**asdict(check)) for check in more if check.passed is not None)
    reasons = {check.name: check.detail for check in more if check.passed is None}
    every = (*manifest.checks, *made)
    return manifest.model_copy(
        update={
            "status": _status(every),
            "checks": every,
            "not_run": {**manifest.not_run, **reasons},
        }
    )


def untimed(manifest: Manifest, reason: str) -> Manifest:
    """Return a manifest that says why the file's latency was not measured."""
    return manifest.model_copy(update={"not_run": {**manifest.not_run, "measured_latency": reason}})


def _status(checks: Sequence[Check | CheckEntry]) -> Literal["passed", "failed"]:
    return "failed" if any(check.passed is False for check in checks) else "passed"


def manifest_path(path: Path) -> Path:
    """Return where the manifest of the model file at `path` lies: ``model.onnx.json``."""
    return path.with_name(f"{path.name}.json")


def write_manifest(manifest: Manifest, path: Path) -> Path:
    """Write the manifest of the model file at `path` beside it; return the manifest's path."""
    target = manifest_path(path)
    write_json(target, manifest.model_dump(mode="json"))
    return target


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of the model file at `path`.

    Raises:
        SchemaError: it is missing, or not a manifest of this version.
    """
    return load_manifest(manifest_path(path))


def load_manifest(source: Path) -> Manifest:
    """Return the manifest in the file `source` (errors as `read_manifest`)."""
    try:
        return Manifest.model_validate_json(source.read_bytes())
    except OSError as error:
        raise SchemaError(f"{source}: cannot be read ({error}); export the model again") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "document"
        raise SchemaError(f"{source}: {place}: {first['msg']}; export the model again") from error


def tool_versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of Python and of each installed package that has a part in a file.

    `more` are the packages of exporters that plug-ins bring.
    """
    versions = {"python": platform.python_version()}
    for name in dict.fromkeys((*_DISTRIBUTIONS, *more)):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _input(
    exporter: Exporter,
    request: ExportRequest,
    stored: tuple[int, int] | None,
    crop_share: float | None,
) -> InputEntry:
    expected = exporter.expected(request)
    _, height, width = request.graph.in_shape
    return InputEntry(
        name=expected.input_name,
        shape=expected.input_shape,
        layout=exporter.input_layout,
        dtype=exporter.dtype,
        pixel_range=(0.0, 1.0),
        mean=request.mean,
        std=request.std,
        resize=Resize(
            height=height,
            width=width,
            interpolation="bilinear",
            stored=stored,
            crop_share=crop_share,
        ),
    )


def _counts(request: ExportRequest) -> Counts:
    graph = request.graph
    return Counts(
        n_macs=n_macs(graph),
        n_params=n_params(graph),
        weights_kib=weight_bytes(graph) / 1024,
        peak_activation_kib=peak_activation_bytes(graph) / 1024,
    )
