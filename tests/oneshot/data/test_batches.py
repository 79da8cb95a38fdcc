"""Augmentation and preprocessing of whole batches."""

from __future__ import annotations

import pytest
import torch

from edgenas.oneshot.data import Augmentation
from edgenas.oneshot.data.batches import augment, network_input


def _images(n: int = 64, size: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (n, 2, size, size), generator=generator, dtype=torch.uint8)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_shifts_are_whole_translations_with_black_borders() -> None:
    images = _images()
    shifted = augment(images, Augmentation(2, horizontal_flip=False), _generator())
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    moves = set()
    for before, after in zip(padded, shifted, strict=True):
        fits = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(before[:, y : y + 9, x : x + 9], after)
        ]
        assert len(fits) == 1
        moves.add(fits[0])
    assert len(moves) > 15


def test_about_half_of_the_images_are_mirrored_and_no_other_thing_happens() -> None:
    images = _images()
    result = augment(images, Augmentation(0, horizontal_flip=True), _generator())
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(result, images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(result, images, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 20 < sum(mirrored) < 44


def test_cutout_blanks_one_square_in_half_of_the_images() -> None:
    images = _images()
    settings = Augmentation(0, horizontal_flip=False, cutout_px=4)
    blanks = (augment(images, settings, _generator()) == 0).any(1)
    sizes = blanks.sum((1, 2))
    assert 20 < int((sizes > 0).sum()) < 44
    assert int(sizes.max()) == 16


def test_generators_decide() -> None:
    settings = Augmentation(2, horizontal_flip=True, cutout_px=3)
    first, again = (augment(_images(), settings, _generator()) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(
        augment(_images(), Augmentation(0, horizontal_flip=False), _generator()), _images()
    )


@pytest.mark.parametrize("size", [(9, 9), (12, 6)])
def test_network_inputs_are_scaled_resized_and_normalised(size: tuple[int, int]) -> None:
    images = _images(3)
    result = network_input(images, (0.5, 0.25), (0.5, 0.2), size)
    resized = torch.nn.functional.interpolate(images.double() / 255, size, mode="bilinear")
    mean = torch.tensor([0.5, 0.25], dtype=torch.float64).view(1, 2, 1, 1)
    std = torch.tensor([0.5, 0.2], dtype=torch.float64).view(1, 2, 1, 1)
    torch.testing.assert_close(result.double(), (resized - mean) / std, rtol=1e-5, atol=1e-5)
    assert result.is_contiguous(memory_format=torch.channels_last)
