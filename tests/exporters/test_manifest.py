"""The manifest says what a file is, and what was not done."""

import json
from pathlib import Path

import pytest

from edgenas.core.artifact import Artifact
from edgenas.core.errors import SchemaError
from edgenas.core.files import sha256_of
from edgenas.exporters import ExportRequest, get
from edgenas.exporters.manifest import (
    MeasuredLatency,
    PredictedLatency,
    Source,
    make_manifest,
    manifest_path,
    read_manifest,
    write_manifest,
)
from edgenas.exporters.validate import IN_TRIAL, run_checks

SOURCE = Source(
    run="runs/one",
    architecture_id="0123456789",
    space="mbv3_tiny",
    genes=(0, 1),
    config={"resolution": 32},
    data="digits",
    budget=("latency_ms <= 2 @ 90%",),
)
PREDICTED = PredictedLatency(
    device="cpu",
    runtime="onnxruntime",
    latency_ms=1.0,
    low_ms=0.9,
    high_ms=1.1,
    confidence=0.9,
    coverage="measured",
)
MEASURED = MeasuredLatency(
    device="cpu",
    runtime="onnxruntime",
    runtime_version="1.0",
    n_threads=1,
    n_samples=36,
    latency_ms=1.02,
    median_ms=1.05,
    p90_ms=1.2,
)


def test_round_trip(request_small: ExportRequest, onnx_artifact: Artifact) -> None:
    exporter = get("onnx")
    checks = run_checks(exporter, request_small, onnx_artifact)
    manifest = make_manifest(
        exporter,
        request_small,
        onnx_artifact,
        checks=checks,
        source=SOURCE,
        predicted_latency=PREDICTED,
        measured_latency=MEASURED,
    )
    path = write_manifest(manifest, onnx_artifact.path)
    assert path == manifest_path(onnx_artifact.path)
    assert path.name == "model.onnx.json"
    assert read_manifest(onnx_artifact.path) == manifest
    document = json.loads(path.read_text())
    assert document["file"]["sha256"] == sha256_of(onnx_artifact.path)
    assert document["file"]["n_bytes"] == onnx_artifact.path.stat().st_size
    assert document["input"]["shape"] == [1, 2, 15, 14]
    assert document["input"]["layout"] == "NCHW"
    assert document["input"]["resize"] == {
        "height": 15,
        "width": 14,
        "interpolation": "bilinear",
        "stored": None,
        "crop_share": None,
    }
    assert document["output"]["class_names"] == ["a", "b", "c", "d", "e"]
    assert [check["name"] for check in document["checks"]] == ["content", *IN_TRIAL, "size"]
    assert all(check["passed"] for check in document["checks"])
    assert document["status"] == "passed"
    assert document["predicted_latency"]["coverage"] == "measured"
    assert document["not_run"] == {}
    assert {"python", "numpy", "onnx"} <= set(document["versions"])
    assert document["options"]["opset"] == 17


def test_what_was_not_run_has_its_reason(
    request_small: ExportRequest, tmp_path: Path, onnx_artifact: Artifact
) -> None:
    exporter = get("tensorrt")
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"engine")
    artifact = Artifact.of(engine)
    checks = run_checks(exporter, request_small, artifact)
    manifest = make_manifest(exporter, request_small, artifact, checks=checks, source=SOURCE)
    assert [check.name for check in manifest.checks] == ["content", "size"]
    assert set(manifest.not_run) == {*IN_TRIAL, "predicted_latency", "measured_latency"}
    assert manifest.not_run["values"] == manifest.not_run["measured_latency"]
    assert manifest.predicted_latency is None


def test_reason_given_by_the_caller_wins(
    request_small: ExportRequest, onnx_artifact: Artifact
) -> None:
    manifest = make_manifest(
        get("onnx"),
        request_small,
        onnx_artifact,
        checks=[],
        source=SOURCE,
        not_run={"measured_latency": "the device is busy"},
    )
    assert manifest.not_run["measured_latency"] == "the device is busy"


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "document"), ('{"schema_version": 2}', "schema_version"), (None, "cannot be read")],
)
def test_unreadable(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        manifest_path(path).write_text(content)
    with pytest.raises(SchemaError, match=message):
        read_manifest(path)
