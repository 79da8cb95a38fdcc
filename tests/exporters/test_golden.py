"""Golden exports: the files of then still open and answer, and are written the same way today."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgenas.core.artifact import Artifact
from edgenas.core.errors import ExportError
from edgenas.core.extras import unavailable_reason
from edgenas.core.files import sha256_of
from edgenas.exporters import Exporter, get
from edgenas.exporters.calibration import sqnr
from edgenas.exporters.manifest import Manifest, tool_versions
from edgenas.testing.golden import (
    MOST_KEPT_BYTES,
    NETWORK,
    combinations,
    golden_artifact,
    golden_folder,
    golden_manifest,
    golden_request,
    read_golden,
)

LEAST_SAME_DB = 30.0
"""Of an 8-bit file against that of another machine: a code may fall on the other side."""

SAME = 1e-5


@pytest.fixture(params=combinations(), ids="-".join)
def exporter(request: pytest.FixtureRequest) -> Exporter:
    target, precision = request.param
    found = get(target, precision)
    reason = found.unavailable_reason()
    assert reason is None
    return found


@pytest.fixture
def golden(exporter: Exporter) -> Path:
    return golden_folder() / f"{exporter.name}-{exporter.recipe.precision}"


def same(exporter: Exporter, found: np.ndarray, answers: np.ndarray) -> bool:
    if exporter.recipe.precision == "int8":
        return sqnr(answers, found) > LEAST_SAME_DB
    scale = np.abs(answers).max()
    return bool(np.abs(found - answers).max() <= SAME * scale)


def test_every_recipe_has_one() -> None:
    known = {path.name for path in golden_folder().iterdir() if path.is_dir()}
    assert known == {"-".join(pair) for pair in combinations()}


def test_the_network_is_still_the_same() -> None:
    request = golden_request()
    with np.load(golden_folder() / NETWORK) as content:
        np.testing.assert_array_equal(content["inputs"], request.reference_inputs)
        np.testing.assert_allclose(content["logits"], request.reference_logits, rtol=1e-6)


def test_the_kept_file_answers_as_it_did(exporter: Exporter, golden: Path) -> None:
    manifest, answers = read_golden(golden)
    path = golden / manifest.file.name
    if not path.exists():
        assert manifest.file.n_bytes > MOST_KEPT_BYTES
        return
    assert sha256_of(path) == manifest.file.sha256
    if exporter.unavailable_to_run_reason() is None:
        assert answers is not None
        found = exporter.infer(path, golden_request().reference_inputs)
        assert same(exporter, found, answers)


def test_it_is_written_the_same_way_today(exporter: Exporter, golden: Path, tmp_path: Path) -> None:
    manifest, answers = read_golden(golden)
    request = exporter.with_calibration(golden_request())
    artifact = golden_artifact(exporter, request, tmp_path / manifest.file.name)
    again = golden_manifest(exporter, request, artifact)
    assert again.status == manifest.status == "passed"
    assert (again.input, again.output, again.counts) == (
        manifest.input,
        manifest.output,
        manifest.counts,
    )
    assert set(again.not_run) == set(manifest.not_run)
    assert (again.calibration is None) == (exporter.recipe.calibration is None)
    # Ranges for 8 bits are seen by an engine, whose last bits differ between processors.
    if _same_tools(manifest) and exporter.recipe.precision != "int8":
        assert artifact.sha256 == manifest.file.sha256
    if answers is not None and exporter.unavailable_to_run_reason() is None:
        assert same(exporter, exporter.infer(artifact.path, request.reference_inputs), answers)


@pytest.mark.skipif(
    unavailable_reason("tensorrt_rtx") is not None, reason="TensorRT-RTX is not installed"
)
def test_what_a_process_has_built_before_does_not_matter(tmp_path: Path) -> None:
    """After a build that failed, TensorRT-RTX writes another engine of the same network."""
    exporter, request = get("tensorrt"), golden_request()
    refused = exporter.recipe.model_copy(update={"compute_capability": "7.5"})
    with pytest.raises(ExportError, match="cannot build"):
        type(exporter)(refused).export(request, tmp_path / "none.engine")
    found = [
        golden_artifact(exporter, request, tmp_path / f"{name}.engine").sha256 for name in "ab"
    ]
    manifest, _ = read_golden(golden_folder() / "tensorrt-float32")
    assert found[0] == found[1]
    assert found[0] == manifest.file.sha256 or not _same_tools(manifest)


def _same_tools(manifest: Manifest) -> bool:
    now = tool_versions()
    names = ("onnx", "onnxruntime", "ai-edge-litert", "flatbuffers", "tensorrt-rtx-cu12", "numpy")
    return all(now.get(name) == manifest.versions.get(name) for name in names)


def test_another_network_is_seen(tmp_path: Path) -> None:
    """The comparison can fail."""
    exporter = get("onnx")
    _, answers = read_golden(golden_folder() / "onnx-float32")
    assert answers is not None
    request = golden_request()
    weights = {name: 1.01 * value for name, value in request.weights.items()}
    from dataclasses import replace

    path = tmp_path / "model.onnx"
    exporter.export(replace(request, weights=weights), path)
    assert Artifact.of(path).format == "onnx"
    assert not same(exporter, exporter.infer(path, request.reference_inputs), answers)
