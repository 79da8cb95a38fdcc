"""Batches by request."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from edgenas.oneshot.data import BatchRequest, ImageDataset, load_batches, load_dataset
from edgenas.oneshot.data.batches import augment


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return load_dataset("digits")


def _requests(n: int = 3) -> list[BatchRequest]:
    rng = np.random.default_rng(0)
    return [BatchRequest(rng.permutation(100)[:8], (16, 16), seed) for seed in range(n)]


def test_images_in_memory_come_as_they_are_stored(digits: ImageDataset) -> None:
    requests = _requests()
    batches = list(load_batches(digits, digits.validation, requests, augment=False))
    assert len(batches) == 3
    for request, (images, labels) in zip(requests, batches, strict=True):
        assert images.dtype == torch.uint8
        np.testing.assert_array_equal(images, digits.validation.images[request.index])
        np.testing.assert_array_equal(labels, digits.validation.labels[request.index])


def test_seeds_decide_what_augmentation_does(digits: ImageDataset) -> None:
    first, second, _ = _requests()
    same_images = BatchRequest(first.index, first.size, second.seed)
    batches = load_batches(
        digits, digits.train, [first, second, first, same_images], augment=True, n_workers=2
    )
    images = [images for images, _ in batches]
    assert torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[3])
    stored = torch.from_numpy(digits.train.images[first.index])
    generator = torch.Generator().manual_seed(first.seed)
    assert torch.equal(images[0], augment(stored, digits.augmentation, generator))


def test_requests_are_taken_as_batches_are_needed(digits: ImageDataset) -> None:
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield _requests(1)[0]

    batches = load_batches(digits, digits.train, endless(), augment=True)
    next(batches)
    next(batches)
    assert len(taken) == 2


def test_data_sets_are_read_without_torch() -> None:
    program = "import sys, edgenas.oneshot.data as data; data.load_dataset('digits'); "
    program += "sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
