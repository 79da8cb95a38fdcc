"""What the exporters are held against: reference inputs, and no more of the test part than fits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.architecture import Architecture
from edgenas.oneshot.calibration import calibrate, calibration_of
from edgenas.oneshot.data import ImageDataset, load_dataset
from edgenas.oneshot.evaluate import accuracy
from edgenas.oneshot.supernet import Supernet, extract
from edgenas.study.steps import export
from tests.oneshot.data.photos import write_photos


@pytest.fixture
def photos(tmp_path: Path) -> ImageDataset:
    write_photos(tmp_path, n=30)
    return load_dataset(f"imagefolder:{tmp_path}", in_memory=False, workers=0)


def test_requests_of_images_in_files_take_what_fits_in_memory(
    photos: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = spaces.get("mbv3_tiny", input_channels=3, n_classes=2, resolutions=(16, 24))
    row = space.smallest()
    module = extract(Supernet(space), space, row)
    calibrate(module, calibration_of(photos))
    monkeypatch.setattr(export, "load_model", lambda run: module)
    monkeypatch.setattr(export, "picked", lambda run: Architecture(space.name, tuple(row)))
    device = SimpleNamespace(runtime="onnxruntime", precision="float32")
    run = SimpleNamespace(
        dataset=photos, space=space, exporters={}, job=SimpleNamespace(device=device)
    )
    request, whole = export._request(run)  # type: ignore[arg-type]
    test = photos.open_test()
    assert request.reference_inputs.shape == (len(photos.validation), *module.graph.in_shape)
    assert request.test_images is not None
    assert len(request.test_images) == len(test) == 8
    assert request.test_accuracy == whole == accuracy(module, photos, test)

    n_bytes = int(np.prod(module.graph.in_shape)) * 4
    monkeypatch.setattr(export, "MOST_TEST_BYTES", 3 * n_bytes + 1)
    few, still_whole = export._request(run)  # type: ignore[arg-type]
    assert few.test_images is not None
    assert few.test_labels is not None
    assert len(few.test_images) == len(few.test_labels) == 3
    assert few.test_accuracy in {0, 1 / 3, 2 / 3, 1}
    assert still_whole == whole
