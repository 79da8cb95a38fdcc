"""What the exporters are held against: reference inputs, and no more of the test part than fits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.architecture import Architecture
from edgenas.exporters import get
from edgenas.exporters.manifest import Source, make_manifest
from edgenas.exporters.trial import Trial, try_file
from edgenas.exporters.validate import run_checks
from edgenas.oneshot.calibration import calibrate, calibration_of
from edgenas.oneshot.data import ImageDataset, load_dataset
from edgenas.oneshot.evaluate import accuracy
from edgenas.oneshot.supernet import Supernet, extract
from edgenas.study.steps import export, quantise, written
from tests.oneshot.data.photos import write_photos

SOURCE = Source(run="r", architecture_id="a", space="s", genes=(), config={}, data="photos")


@pytest.fixture
def photos(tmp_path: Path) -> ImageDataset:
    write_photos(tmp_path, n=30)
    return load_dataset(f"imagefolder:{tmp_path}", in_memory=False, workers=0)


@pytest.fixture
def run(photos: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    space = spaces.get("mbv3_tiny", input_channels=3, n_classes=2, resolutions=(16, 24))
    row = space.smallest()
    module = extract(Supernet(space), space, row)
    calibrate(module, calibration_of(photos))
    monkeypatch.setattr(export, "load_model", lambda run: module)
    monkeypatch.setattr(export, "picked", lambda run: Architecture(space.name, tuple(row)))
    device = SimpleNamespace(runtime="onnxruntime", precision="float32")
    return SimpleNamespace(
        dataset=photos, space=space, exporters={}, job=SimpleNamespace(device=device)
    )


def test_requests_of_images_in_files_take_what_fits_in_memory(
    run: SimpleNamespace, photos: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = export.load_model(run)  # type: ignore[arg-type]
    request, whole = export._request(run)  # type: ignore[arg-type]
    test = photos.open_test()
    assert request.reference_inputs.shape == (len(photos.validation), *module.graph.in_shape)
    assert request.test_images is not None
    assert len(request.test_images) == len(test) == 8
    assert request.test_accuracy == whole == accuracy(module, photos, test)

    n_bytes = int(np.prod(module.graph.in_shape)) * 4
    monkeypatch.setattr(written, "MOST_BYTES", 3 * n_bytes + 1)
    few, still_whole = export._request(run)  # type: ignore[arg-type]
    assert few.test_images is not None
    assert few.test_labels is not None
    assert len(few.test_images) == len(few.test_labels) == 3
    assert few.test_accuracy in {0, 1 / 3, 2 / 3, 1}
    assert still_whole == whole


def test_a_place_that_answers_slowly_reports_no_accuracy(
    run: SimpleNamespace, tmp_path: Path
) -> None:
    request, _ = export._request(run)  # type: ignore[arg-type]
    exporter, plain = get("onnx"), get("onnx")
    artifact = exporter.export(request, tmp_path / "model.onnx")
    asked: list[set[str]] = []

    def try_there(path: Path, images: Any, *, precision: str, timeout_s: float) -> Trial:
        asked.append(set(images))
        return try_file(plain, path, images, timeout_s=timeout_s)

    for most in (3, 8, None):
        exporter.place = SimpleNamespace(  # type: ignore[assignment]
            runtime="trtexec", most_test_images=most, try_file=try_there
        )
        checks = run_checks(exporter, request, artifact)
        manifest = make_manifest(exporter, request, artifact, checks=checks, source=SOURCE)
        assert manifest.status == "passed"
        made = {check.name: check for check in manifest.checks}
        assert made["values"].passed
        assert made["top1"].passed
        if most == 3:
            assert "accuracy" not in made
            assert "trtexec starts anew for each image" in manifest.not_run["accuracy"]
            assert "8 test images (at most 3)" in manifest.not_run["accuracy"]
            assert asked == [{"reference"}]
        else:
            assert "on 8 test images" in made["accuracy"].detail
            assert made["accuracy"].value == request.test_accuracy
            assert asked[-1] == {"reference", "test"}


def test_a_pick_in_8_bits_is_held_against_what_it_gets_right_of_the_same_images(
    run: SimpleNamespace, photos: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = export.load_model(run)  # type: ignore[arg-type]
    run.read = lambda name: {"validation_accuracy": 0.123}
    assert quantise._known(run, module) == 0.123  # type: ignore[arg-type]
    monkeypatch.setattr(written, "MOST_BYTES", 1)
    (shown,) = {len(written.what_fits(module, photos.validation))}
    assert shown == 1
    assert quantise._known(run, module) in {0.0, 1.0}  # type: ignore[arg-type]
