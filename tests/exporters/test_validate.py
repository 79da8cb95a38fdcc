"""A file that is not the trained network does not get through."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core.artifact import Artifact
from edgenas.core.errors import StorageError, ValidationError
from edgenas.exporters import Exporter, ExportRequest, base, get
from edgenas.exporters.onnx import OnnxExporter
from edgenas.exporters.trial import Trial
from edgenas.exporters.validate import (
    IN_TRIAL,
    Check,
    run_checks,
    set_aside,
    settle,
    top1_check,
    validate,
    values_check,
)
from edgenas.lowering.onnx import lower
from edgenas.testing.exporter import small_request

NAMES = ["content", *IN_TRIAL, "size"]


def verdicts(checks: list[Check]) -> dict[str, bool | None]:
    assert [check.name for check in checks] == NAMES
    return {check.name: check.passed for check in checks}


def one(checks: list[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found


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


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_another_number_of_classes_is_another_network(precision: str) -> None:
    recipe = get("onnx", precision).recipe
    logits = np.ones((6, 5), np.float32)
    for check in (values_check, top1_check):
        found = check(recipe, logits, logits[:, :4])
        assert found.passed is False
        assert found.detail == "logits of shape (6, 4), not (6, 5): another network"


def test_what_was_not_written_as_asked_is_found(
    request_small: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash is that of the content, not of what came to lie on the disk."""
    monkeypatch.setattr(base, "write_bytes", lambda path, content: path.write_bytes(content[:-1]))
    artifact = get("onnx").export(request_small, tmp_path / "model.onnx")
    checks = run_checks(get("onnx"), request_small, artifact)
    assert "truncated or changed" in one(checks, "content").detail
    assert verdicts(checks)["opens"] is None


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
    assert one(checks, "accuracy").measured == pytest.approx(one_image)


def test_without_test_part_accuracy_says_why(
    request_small: ExportRequest, onnx_artifact: Artifact
) -> None:
    part = replace(request_small, test_images=None, test_labels=None, test_accuracy=None)
    checks = validate(get("onnx"), part, onnx_artifact)
    found = one(checks, "accuracy")
    assert (found.passed, found.detail) == (None, "no test part was given")


def test_wrong_names_and_shapes(request_small: ExportRequest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(lower(request_small.graph, request_small.weights, input_name="other"))
    checks = run_checks(get("onnx"), request_small, Artifact.of(path))
    assert (one(checks, "names").passed, one(checks, "shapes").passed) == (False, True)
    assert "other" in one(checks, "names").detail


def test_file_that_is_no_model_at_all(request_small: ExportRequest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing")
    found = verdicts(run_checks(get("onnx"), request_small, Artifact.of(path)))
    assert (found["opens"], found["values"], found["accuracy"]) == (False, None, None)


def test_vanished_file(request_small: ExportRequest, onnx_artifact: Artifact) -> None:
    onnx_artifact.path.unlink()
    checks = run_checks(get("onnx"), request_small, onnx_artifact)
    assert checks[0].passed is False
    with pytest.raises(StorageError, match="do not deploy"):
        set_aside(onnx_artifact.path)


def answering(monkeypatch: pytest.MonkeyPatch, trial: Callable[..., Trial]) -> None:
    monkeypatch.setattr("edgenas.exporters.validate.try_file", trial)


def test_nan_logits_fail(
    request_small: ExportRequest, onnx_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = get("onnx")

    def trial(*_: Any, **__: Any) -> Trial:
        nan = np.full((8, 5), np.nan, np.float32)
        return Trial(exporter.expected(request_small), {"reference": nan}, ())

    answering(monkeypatch, trial)
    found = one(run_checks(exporter, request_small, onnx_artifact), "values")
    assert (found.passed, found.measured) == (False, None)


@pytest.mark.parametrize("precision", ["int8", "weight_int8"])
def test_codes_are_held_to_signal_over_noise(
    request_small: ExportRequest, tmp_path: Path, precision: str
) -> None:
    exporter = get("onnx", precision)
    artifact = exporter.export(request_small, tmp_path / "model.onnx")
    found = one(run_checks(exporter, request_small, artifact), "values")
    assert found.passed
    assert found.tolerance == exporter.recipe.least_sqnr_db
    noise = np.random.default_rng(0).normal(size=request_small.reference_logits.shape)
    other = replace(
        request_small,
        reference_logits=(request_small.reference_logits + noise).astype(np.float32),
    )
    assert one(run_checks(exporter, other, artifact), "values").passed is False


def test_operators_outside_the_engine_are_named_and_counted(
    request_small: ExportRequest, onnx_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trial(exporter: Exporter, *_: Any, **__: Any) -> Trial:
        logits = {"reference": request_small.reference_logits}
        return Trial(exporter.expected(request_small), logits, ("PAD", "MEAN", "PAD"))

    answering(monkeypatch, trial)
    for most, passed in ((None, True), (3, True), (2, False)):
        recipe = get("onnx").recipe.model_copy(update={"most_outside": most})
        found = one(run_checks(OnnxExporter(recipe), request_small, onnx_artifact), "delegate")
        assert found.passed is passed
        assert "1 MEAN, 2 PAD" in found.detail


def test_size_above_the_recipe_fails(request_small: ExportRequest, onnx_artifact: Artifact) -> None:
    kib = onnx_artifact.path.stat().st_size / 1024
    for most, passed in ((kib + 1, True), (kib - 1, False)):
        recipe = get("onnx").recipe.model_copy(update={"most_file_kib": most})
        found = one(run_checks(OnnxExporter(recipe), request_small, onnx_artifact), "size")
        assert (found.passed, found.measured) == (passed, kib)
