"""What is in a bundle, and that it is whole or not there."""

import errno
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core.artifact import Artifact
from edgenas.core.errors import StorageError
from edgenas.core.files import sha256_of
from edgenas.exporters import get
from edgenas.exporters.bundle import (
    INDEX,
    SUMS,
    BundleRequest,
    check_files,
    make_bundle,
    read_index,
)
from edgenas.exporters.bundle import make as makes
from edgenas.exporters.bundle.card import Accuracy
from edgenas.exporters.manifest import load_manifest
from tests.exporters.bundle.bundles import (
    VARIANTS,
    exporter_of,
    tiny_bundle,
    tiny_manifest,
    tiny_request,
)

ALWAYS = {
    "MODEL_CARD.md",
    "bundle.json",
    "SHA256SUMS",
    "check/check.py",
    "check/engine.py",
    "check/inputs.npy",
    "check/outputs.npy",
    "examples/python/classify.py",
    "examples/python/engine.py",
    "labels.txt",
    "manifest.json",
    "preprocessing.json",
}
OWN = {
    "onnx": {
        "model.onnx",
        "examples/cpp/CMakeLists.txt",
        "examples/cpp/classify.cpp",
        "examples/android/Classifier.kt",
    },
    "tflite": {"model.tflite", "examples/android/Classifier.kt"},
}


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("target", "precision", "recipe"), VARIANTS)
def test_everything_is_there_and_listed(
    tmp_path: Path, target: str, precision: str, recipe: dict[str, Any]
) -> None:
    folder = tiny_bundle(tmp_path, target, precision, recipe=recipe)
    assert names(folder) == ALWAYS | OWN[target]
    index = read_index(folder)
    assert (index.target, index.precision) == (target, precision)
    assert index.budgets == ("latency_ms <= 1000",)
    assert set(index.files) == names(folder) - {INDEX, SUMS}
    assert all(finding.passed for finding in check_files(folder, index))
    manifest = load_manifest(folder / "manifest.json")
    assert manifest.file.sha256 == sha256_of(folder / index.model)
    assert (folder / "labels.txt").read_text().splitlines() == list(manifest.output.class_names)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
def test_the_sums_are_those_of_the_usual_program(bundle: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS], cwd=bundle, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(names(bundle)) - 1


def test_the_same_file_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    again = tiny_bundle(tmp_path / "again")
    assert {name: sha256_of(bundle / name) for name in names(bundle)} == {
        name: sha256_of(again / name) for name in names(again)
    }


@pytest.mark.parametrize(("target", "precision", "recipe"), VARIANTS)
def test_inputs_are_recorded_as_the_file_takes_them(
    tmp_path: Path, target: str, precision: str, recipe: dict[str, Any]
) -> None:
    request = tiny_request()
    folder = tiny_bundle(tmp_path, target, precision, recipe=recipe, request=request)
    how = json.loads((folder / "preprocessing.json").read_text())
    inputs = np.load(folder / "check/inputs.npy")
    assert inputs.dtype.name == how["input"]["dtype"]
    assert list(inputs.shape[1:]) == how["input"]["shape"][1:]
    values = inputs if target == "onnx" else inputs.transpose(0, 3, 1, 2)
    if recipe.get("quantised_io"):
        codes = how["input"]["codes"]
        values = (values.astype(np.float32) - codes["zero_point"]) * codes["scale"]
        inside = np.abs(request.reference_inputs) < 120 * codes["scale"]
        difference = np.abs(values - request.reference_inputs)[inside]
        assert difference.max() <= 0.51 * codes["scale"]
        assert how["output"]["codes"]["scale"] > 0
    else:
        np.testing.assert_array_equal(values, request.reference_inputs)
        assert how["input"]["codes"] is None
    np.testing.assert_array_equal(np.load(folder / "check/outputs.npy"), request.reference_logits)


def test_preprocessing_is_data(bundle: Path) -> None:
    how = json.loads((bundle / "preprocessing.json").read_text())
    assert how["colour"] == "rgb"
    assert how["resize"] == {
        "height": 16,
        "width": 14,
        "interpolation": "bilinear",
        "stored": [16, 14],
        "crop_share": None,
    }
    assert how["mean"] == [0.5, 0.4, 0.3]
    assert how["input"]["layout"] == "NCHW"


def test_what_is_no_picture_has_no_example_for_phones(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path, request=tiny_request(channels=2))
    assert "examples/android/Classifier.kt" not in names(folder)
    assert "examples/cpp/classify.cpp" in names(folder)


def test_labels_stay_in_their_lines(tmp_path: Path) -> None:
    odd = replace(tiny_request(), class_names=("a\nb", "c", "d\u2028e", " f ", "g"))
    folder = tiny_bundle(tmp_path, request=odd)
    assert (folder / "labels.txt").read_text() == "a b\nc\nd e\nf\ng\n"


def test_files_of_other_engines_have_no_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in's exporter may bring none."""
    monkeypatch.setattr(type(get("onnx")), "device_program", lambda self: None)
    found = names(tiny_bundle(tmp_path))
    assert "check/inputs.npy" in found
    assert not {name for name in found if name.endswith(".py")}


def request_for(folder: Path, **changes: Any) -> BundleRequest:
    exporter, request = exporter_of("onnx", "float32", {}), tiny_request()
    artifact: Artifact = exporter.export(request, folder / "model.onnx")
    values: dict[str, Any] = {
        "model": artifact.path,
        "manifest": tiny_manifest(exporter, request, artifact),
        "exporter": exporter,
        "inputs": request.reference_inputs,
        "logits": request.reference_logits,
        "accuracy": Accuracy(None, None, 0),
    }
    return BundleRequest(**{**values, **changes})


def test_an_earlier_bundle_is_replaced_as_a_whole(bundle: Path, tmp_path: Path) -> None:
    (bundle / "stray.txt").write_text("old")
    paths = make_bundle(request_for(tmp_path), bundle)
    assert "stray.txt" not in names(bundle)
    assert {path.relative_to(bundle).as_posix() for path in paths} == names(bundle)


def test_a_full_disk_leaves_the_earlier_bundle(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, before = request_for(tmp_path), names(bundle)

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(makes.shutil, "copyfile", full)
    with pytest.raises(StorageError, match="No space left"):
        make_bundle(request, bundle)
    assert names(bundle) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
