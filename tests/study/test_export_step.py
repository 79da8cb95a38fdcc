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
from edgenas.exporters.trial import Trial, try_file
from edgenas.oneshot.calibration import calibrate, calibration_of
from edgenas.oneshot.data import ImageDataset, load_dataset
from edgenas.oneshot.evaluate import accuracy
from edgenas.oneshot.supernet import Supernet, extract
from edgenas.study.steps import export, quantise, written
from tests.oneshot.data.photos import write_photos


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


def test_a_place_that_answers_slowly_is_asked_for_fewer_tests(
    run: SimpleNamespace,
) -> None:
    request, _ = export._request(run)  # type: ignore[arg-type]
    exporter = get("onnx")
    assert export._with_fewer_tests(run, exporter, request) is request  # type: ignore[arg-type]
    exporter.place = SimpleNamespace(most_test_images=3)  # type: ignore[assignment]
    few = export._with_fewer_tests(run, exporter, request)  # type: ignore[arg-type]
    assert few.test_images is not None
    assert few.test_labels is not None
    assert request.test_images is not None
    assert len(few.test_images) == len(few.test_labels) == 3
    assert few.test_accuracy in {0, 1 / 3, 2 / 3, 1}
    assert {image.tobytes() for image in few.test_images} <= {
        image.tobytes() for image in request.test_images
    }
    assert few.reference_inputs is request.reference_inputs
    exporter.place = SimpleNamespace(most_test_images=100)  # type: ignore[assignment]
    assert export._with_fewer_tests(run, exporter, request) is request  # type: ignore[arg-type]


def test_the_accuracy_on_a_few_tests_is_compared_and_not_told(
    run: SimpleNamespace, tmp_path: Path
) -> None:
    request, _ = export._request(run)  # type: ignore[arg-type]
    exporter, plain = get("onnx"), get("onnx")
    artifact = exporter.export(request, tmp_path / "model.onnx")

    def try_there(path: Path, images: Any, *, precision: str, timeout_s: float) -> Trial:
        return try_file(plain, path, images, timeout_s=timeout_s)

    for most, n_tests in ((3, 3), (None, 8)):
        exporter.place = SimpleNamespace(  # type: ignore[assignment]
            most_test_images=most, try_file=try_there
        )
        found = export._checks(run, exporter, request, artifact)  # type: ignore[arg-type]
        (accuracy,) = [check for check in found if check.name == "accuracy"]
        assert accuracy.passed
        assert f"on {n_tests} test images" in accuracy.detail
        assert (accuracy.value is None) == (most is not None)


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
