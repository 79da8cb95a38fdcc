"""A file that is not the trained network does not get through."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.artifact import Artifact
from edgenas.core.errors import StorageError, ValidationError
from edgenas.exporters import ExportRequest, get
from edgenas.exporters.onnx import OnnxExporter
from edgenas.exporters.validate import Check, run_checks, set_aside, settle, validate
from edgenas.lowering.onnx import lower
from edgenas.testing.exporter import small_request

NAMES = ["content", "names", "shapes", "values", "top1", "accuracy"]


def verdicts(checks: list[Check]) -> dict[str, bool | None]:
    assert [check.name for check in checks] == NAMES
    return {check.name: check.passed for check in checks}


def test_all_recorded_before_it_fails(
    request_small: ExportRequest, onnx_artifact: Artifact
) -> None:
    """The file of one network is held against another one of the same shape."""
    other = small_request(seed=7)
    checks = run_checks(get("onnx"), other, onnx_artifact)
    found = verdicts(checks)
    assert [found[name] for name in ("content", "names", "shapes")] == [True] * 3
    assert found["values"] is False
    with pytest.raises(ValidationError) as caught:
        settle(checks, onnx_artifact)
    assert all(name in str(caught.value) for name in NAMES)
    assert onnx_artifact.path.with_name("model.onnx.failed").is_file()


def test_difference_just_above_the_tolerance(
    request_small: ExportRequest, onnx_artifact: Artifact
) -> None:
    scale = np.abs(request_small.reference_logits).max()
    for factor, passed in ((0.5, True), (2.0, False)):
        logits = request_small.reference_logits.copy()
        row, column = np.unravel_index(logits.argmin(), logits.shape)
        logits[row, column] -= np.float32(factor * 1e-5 * scale)
        moved = replace(request_small, reference_logits=logits)
        assert verdicts(run_checks(get("onnx"), moved, onnx_artifact))["values"] is passed


def test_other_accuracy_fails(request_small: ExportRequest, onnx_artifact: Artifact) -> None:
    accuracy = request_small.test_accuracy
    assert accuracy is not None
    one_image = 1 / 20
    wrong = replace(request_small, test_accuracy=accuracy + one_image)
    checks = run_checks(get("onnx"), wrong, onnx_artifact)
    assert verdicts(checks)["accuracy"] is False
    assert checks[-1].measured == pytest.approx(one_image)


def test_without_test_part_accuracy_says_why(
    request_small: ExportRequest, onnx_artifact: Artifact
) -> None:
    part = replace(request_small, test_images=None, test_labels=None, test_accuracy=None)
    checks = validate(get("onnx"), part, onnx_artifact)
    assert (checks[-1].passed, checks[-1].detail) == (None, "no test part was given")


def test_wrong_names_and_shapes(request_small: ExportRequest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(lower(request_small.graph, request_small.weights, input_name="other"))
    checks = run_checks(get("onnx"), request_small, Artifact.of(path))
    assert (checks[1].passed, checks[2].passed) == (False, True)
    assert "other" in checks[1].detail


def test_file_that_is_no_model_at_all(request_small: ExportRequest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing")
    found = verdicts(run_checks(get("onnx"), request_small, Artifact.of(path)))
    assert (found["names"], found["values"], found["accuracy"]) == (False, False, None)


def test_vanished_file(request_small: ExportRequest, onnx_artifact: Artifact) -> None:
    onnx_artifact.path.unlink()
    checks = run_checks(get("onnx"), request_small, onnx_artifact)
    assert checks[0].passed is False
    with pytest.raises(StorageError, match="do not deploy"):
        set_aside(onnx_artifact.path)


def test_nan_logits_fail(
    request_small: ExportRequest, onnx_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        OnnxExporter,
        "infer",
        lambda _self, _path, images: np.full((len(images), 5), np.nan, np.float32),
    )
    checks = run_checks(get("onnx"), request_small, onnx_artifact)
    assert (checks[3].passed, checks[3].measured) == (False, None)
