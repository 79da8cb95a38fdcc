"""Batch norm statistics measured batch by batch, on labelled and on unlabelled images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgenas import spaces
from edgenas.core.errors import DataError
from edgenas.evaluators.accuracy import SharedWeightsAccuracy
from edgenas.lowering.torch import NORM_MOMENTUM, GraphModule
from edgenas.oneshot import evaluate
from edgenas.oneshot.calibration import (
    CalibrationImages,
    calibrate,
    calibration_folder,
    calibration_of,
    measure_statistics,
)
from edgenas.oneshot.data import ImageDataset, load_dataset
from edgenas.oneshot.data.batches import network_input
from edgenas.oneshot.settings import TrainingSettings
from edgenas.oneshot.supernet import Supernet, extract
from edgenas.oneshot.training import train_supernet
from edgenas.spaces.base import SearchSpace
from tests.oneshot.data.photos import write_photos


def _colour_space() -> SearchSpace:
    return spaces.get("mbv3_tiny", input_channels=3, n_classes=2, resolutions=(16, 24))


def _statistics(module: GraphModule) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.named_buffers() if "running_" in name}


@pytest.fixture
def photos(tmp_path: Path) -> ImageDataset:
    write_photos(tmp_path / "photos", n=16)
    return load_dataset(f"imagefolder:{tmp_path / 'photos'}", in_memory=False, workers=0)


def test_batches_one_by_one_give_what_all_at_once_give(
    trained: Supernet, space: SearchSpace, dataset: ImageDataset
) -> None:
    images = calibration_of(dataset, n_images=150, batch_size=40)
    first, again = (extract(trained, space, space.largest()) for _ in range(2))
    calibrate(first, images)
    size = evaluate.input_size(first)
    everything = network_input(
        torch.from_numpy(images.part.batch(np.arange(150), size)), images.mean, images.std, size
    )
    evaluate.recalibrate(again, everything, batch_size=40)
    assert not first.training
    for name, value in _statistics(first).items():
        assert torch.equal(value, _statistics(again)[name])


def test_one_batch_of_all_images_is_one_big_pass_in_double_precision(
    trained: Supernet, space: SearchSpace, dataset: ImageDataset
) -> None:
    module = extract(trained, space, space.largest())
    calibrate(module, calibration_of(dataset, n_images=200, batch_size=200))
    measured = _statistics(module)
    reference = extract(trained, space, space.largest()).double().train()
    size = evaluate.input_size(module)
    stored = torch.from_numpy(dataset.train.batch(np.arange(200), size))
    inputs = network_input(stored, dataset.mean, dataset.std, size).double()
    for name, buffer in reference.named_buffers():
        if "running_" in name:
            buffer.zero_()
    with torch.no_grad():
        reference(inputs)
    for name, value in _statistics(reference).items():
        statistic = value / NORM_MOMENTUM
        torch.testing.assert_close(measured[name].double(), statistic, rtol=1e-4, atol=1e-5)


def test_means_over_many_batches_lose_no_digits(
    trained: Supernet, space: SearchSpace, dataset: ImageDataset
) -> None:
    module = extract(trained, space, space.largest())
    size = evaluate.input_size(module)
    stored = torch.from_numpy(dataset.train.batch(np.arange(8), size))
    inputs = network_input(stored, dataset.mean, dataset.std, size)

    def batches(n: int) -> Iterator[Tensor]:
        yield from (inputs * (1 + i / 7) for i in range(n))

    singles = []
    for batch in batches(60):
        measure_statistics(module, [batch])
        singles.append({k: v.double().numpy() for k, v in _statistics(module).items()})
    measure_statistics(module, batches(60))
    for name, value in _statistics(module).items():
        mean = np.mean([single[name] for single in singles], axis=0)
        np.testing.assert_allclose(value.numpy(), mean, rtol=3e-7, atol=1e-9)


def test_data_sets_say_how_many_images_are_enough(
    dataset: ImageDataset, photos: ImageDataset, tmp_path: Path
) -> None:
    few = calibration_of(dataset)
    assert (len(few.part), few.batch_size) == (200, 64)
    many = load_dataset("digits")
    assert len(calibration_of(many).part) == 512
    asked = load_dataset("digits", n_calibration_images=90)
    assert len(calibration_of(asked).part) == 90
    chosen = calibration_of(many, n_images=32).part
    again = calibration_of(many, n_images=32).part
    other = calibration_of(many, n_images=32, seed=1).part
    np.testing.assert_array_equal(chosen.sample(), again.sample())
    assert not np.array_equal(chosen.sample(), other.sample())
    files = calibration_of(photos)
    assert (len(files.part), files.batch_size) == (len(photos.train), 200)
    write_photos(tmp_path / "own", ("any",), n=5)
    own = load_dataset(
        f"imagefolder:{tmp_path / 'photos'}",
        in_memory=False,
        calibration=str(tmp_path / "own"),
        workers=0,
    )
    assert len(calibration_of(own).part) == 5
    assert calibration_of(own, n_images=2).part.labels.tolist() == [-1, -1]


def test_a_last_batch_of_fewer_images_joins_the_one_before(dataset: ImageDataset) -> None:
    images = CalibrationImages(dataset.train, dataset.mean, dataset.std, 64)
    assert [len(batch) for batch in images.inputs((16, 16))] == [64, 64, 72]
    few = CalibrationImages(dataset.train.take(np.arange(5)), dataset.mean, dataset.std, 64)
    assert [len(batch) for batch in few.inputs((16, 16))] == [5]


def test_a_folder_without_labels_calibrates_networks_of_each_resolution(tmp_path: Path) -> None:
    write_photos(tmp_path, ("holiday", "work", "rest"), n=4)
    space = _colour_space()
    images = calibration_folder(tmp_path, space, batch_size=5)
    assert len(images.part) == 12
    supernet = Supernet(space)
    rows = np.stack([space.largest(), space.smallest()])
    assert {space.input_shape(row)[1] for row in rows} == {16, 24}
    for row in rows:
        module = extract(supernet, space, row)
        before = _statistics(module)
        calibrate(module, images)
        after = _statistics(module)
        assert all(torch.isfinite(value).all() for value in after.values())
        assert not any(torch.equal(value, before[name]) for name, value in after.items())
        size = space.input_shape(row)[1]
        sizes = {tuple(batch.shape[2:]) for batch in images.inputs((size, size))}
        assert sizes == {(size, size)}
    assert len(calibration_folder(tmp_path, space, n_images=7).part) == 7


def test_folders_that_do_not_fit_are_refused(tmp_path: Path, space: SearchSpace) -> None:
    write_photos(tmp_path, ("any",), n=2)
    with pytest.raises(DataError, match="takes 1 channels, mean has 3 and std 3; give as many"):
        calibration_folder(tmp_path, space)
    grey = calibration_folder(tmp_path, space, mean=(0.5,), std=(0.2,))
    assert next(grey.inputs((16, 16))).shape == (2, 1, 16, 16)
    with pytest.raises(DataError, match="is not a folder"):
        calibration_folder(tmp_path / "absent", _colour_space())
    with pytest.raises(DataError, match="no images to measure"):
        measure_statistics(extract(Supernet(space), space, space.largest()), [])


def test_training_and_evaluation_read_files_as_they_go(photos: ImageDataset) -> None:
    space = _colour_space()
    supernet = Supernet(space)
    settings = TrainingSettings(epochs=2, batch_size=8, lr=0.05)
    first = train_supernet(supernet, space, photos, settings)
    photos.n_workers = 2
    again = train_supernet(Supernet(space), space, photos, settings)
    assert first == again
    assert len(first) == 2
    module = extract(supernet, space, space.largest())
    calibrate(module, calibration_of(photos))
    size = evaluate.input_size(module)
    part = photos.validation
    inputs = evaluate.network_inputs(module, photos, part.batch(np.arange(len(part)), size))
    torch.testing.assert_close(evaluate.part_inputs(module, photos, part), inputs)
    answers = evaluate.logits(module, inputs).argmax(1).numpy()
    expected = float((answers == part.labels).mean())
    assert evaluate.accuracy(module, photos, part) == expected
    evaluator = SharedWeightsAccuracy(supernet, space, photos, n_validation_images=len(part))
    (found,) = evaluator.evaluate(space.architectures(space.largest()[None]))
    assert found.values == {"accuracy": expected}
