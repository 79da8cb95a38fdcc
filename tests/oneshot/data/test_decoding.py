"""Centre crops against the public formula, random crops, and what decoding refuses."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgenas.core.errors import DataError
from edgenas.oneshot.data import Augmentation
from edgenas.oneshot.data.decoding import (
    DecodingTask,
    centre_box,
    decode,
    draft_factor,
    random_box,
)
from tests.oneshot.data.photos import photo

PLAIN = Augmentation(max_shift_px=0, horizontal_flip=False)


def _task(path: Path, size: tuple[int, int], **changes: object) -> DecodingTask:
    n = int(changes.pop("n", 1))  # type: ignore[call-overload]
    status = path.stat()
    stamps = np.array([(status.st_size, status.st_mtime_ns)] * n)
    settings = {"channels": 3, "positions": tuple(range(n)), **changes}
    return DecodingTask((str(path),) * n, stamps, size, **settings)  # type: ignore[arg-type]


def _public_centre_crop(image: Image.Image, size: int) -> np.ndarray:
    """Short side to ceil(size / 0.875), then the middle, in two steps."""
    short = math.ceil(size / 0.875)
    if image.width <= image.height:
        new = (short, int(short * image.height / image.width))
    else:
        new = (int(short * image.width / image.height), short)
    resized = image.resize(new, Image.Resampling.BILINEAR)
    left, top = round((new[0] - size) / 2.0), round((new[1] - size) / 2.0)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("shape", [(100, 75), (75, 100), (81, 81), (300, 47), (20, 31)])
@pytest.mark.parametrize("size", [16, 33, 48])
def test_evaluation_sees_the_public_centre_crop(
    tmp_path: Path, shape: tuple[int, int], size: int
) -> None:
    image = photo(0, *shape)
    image.save(tmp_path / "a.png")
    found = decode(_task(tmp_path / "a.png", (size, size))).images[0]
    expected = _public_centre_crop(image, size)
    assert np.abs(found.astype(int) - expected).max() <= 1  # one step of rounding instead of two


def test_crops_of_inputs_that_are_not_square_keep_the_shape_of_things() -> None:
    left, top, right, bottom = centre_box(400, 300, (64, 128))
    assert (right - left) / (bottom - top) == pytest.approx(2, rel=0.01)
    assert (left + right) / 2 == pytest.approx(200, abs=2)
    assert (top + bottom) / 2 == pytest.approx(150, abs=2)
    assert right - left == pytest.approx(400 * 0.875, rel=0.01)


def test_large_jpegs_are_decoded_small_and_look_the_same(tmp_path: Path) -> None:
    image = photo(1, 1200, 900)
    image.save(tmp_path / "a.jpg", quality=95)
    image.save(tmp_path / "a.png")
    assert draft_factor(centre_box(1200, 900, (64, 64)), (64, 64), oversampling=2) == 4
    for augmentation in (None, PLAIN):
        small, whole = (
            decode(_task(tmp_path / name, (64, 64), augmentation=augmentation)).images[0]
            for name in ("a.jpg", "a.png")
        )
        assert np.abs(small.astype(int) - whole).mean() < 1.5


@pytest.mark.parametrize(
    ("side", "oversampling", "factor"), [(63, 1, 1), (64, 1, 1), (128, 1, 2), (128, 2, 1)]
)
def test_drafts_leave_enough_pixels(side: int, oversampling: float, factor: int) -> None:
    assert draft_factor((0, 0, side, 4000), (64, 64), oversampling=oversampling) == factor
    assert draft_factor((0, 0, 4000, side), (64, 64), oversampling=oversampling) == factor
    assert draft_factor((0, 0, 5000, 5000), (64, 64), oversampling=1) == 8


def test_random_crops_have_the_area_and_shape_that_were_asked_for() -> None:
    settings = Augmentation(0, horizontal_flip=False, crop_scale=(0.2, 0.5), crop_ratio=(0.8, 1.5))
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(300):
        left, top, right, bottom = random_box(120, 80, (32, 32), settings, rng)
        assert 0 <= left < right <= 120
        assert 0 <= top < bottom <= 80
        wide, high = right - left, bottom - top
        assert 0.19 < wide * high / (120 * 80) < 0.52  # sides are whole pixels
        assert 0.77 < wide / high < 1.57
        places.add((left, top))
    assert len(places) > 200


def test_images_too_long_for_any_crop_give_their_middle() -> None:
    rng = np.random.default_rng(0)
    settings = Augmentation(0, horizontal_flip=False, crop_scale=(0.9, 1.0))
    assert random_box(1000, 30, (32, 32), settings, rng) == (480, 0, 520, 30)
    assert random_box(30, 1000, (32, 32), settings, rng) == (0, 480, 30, 520)


def test_seed_and_place_decide_every_change(tmp_path: Path) -> None:
    photo(0, 80, 60).save(tmp_path / "a.jpg")
    settings = Augmentation(
        0, horizontal_flip=True, crop_scale=(0.1, 1), brightness=0.3, saturation=0.4
    )
    task = _task(tmp_path / "a.jpg", (24, 24), augmentation=settings, n=6)
    first, again = decode(task).images, decode(task).images
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in first}) == 6
    other = _task(tmp_path / "a.jpg", (24, 24), augmentation=settings, n=6, seed=1)
    assert not np.array_equal(first, decode(other).images)
    one = _task(tmp_path / "a.jpg", (24, 24), augmentation=settings, positions=(4,))
    np.testing.assert_array_equal(decode(one).images[0], first[4])


def test_half_of_the_images_are_mirrored(tmp_path: Path) -> None:
    photo(0, 64, 64).save(tmp_path / "a.png")
    settings = Augmentation(0, horizontal_flip=True, crop_ratio=(1.0, 1.0))
    images = decode(_task(tmp_path / "a.png", (16, 16), augmentation=settings, n=40)).images
    plain = decode(_task(tmp_path / "a.png", (16, 16), augmentation=PLAIN)).images
    whole = np.asarray(photo(0, 64, 64).resize((16, 16), Image.Resampling.BILINEAR))
    mirrored = [np.array_equal(image, whole[:, ::-1]) for image in images]
    kept = [np.array_equal(image, whole) for image in images]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 10 < sum(mirrored) < 30
    assert plain.shape == (1, 16, 16, 3)


def test_colours_change_no_further_than_asked(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (120, 60, 90)).save(tmp_path / "a.png")
    light = Augmentation(0, horizontal_flip=False, brightness=0.25)
    task = _task(tmp_path / "a.png", (8, 8), augmentation=light, n=50)
    red = decode(task).images[:, 0, 0, 0]
    assert red.min() >= 90
    assert red.max() <= 150
    assert red.max() - red.min() > 30
    colour = Augmentation(0, horizontal_flip=False, saturation=0.5)
    task = _task(tmp_path / "a.png", (8, 8), augmentation=colour, n=50)
    images = decode(task).images[:, 0, 0].astype(int)
    spread = images.max(1) - images.min(1)
    assert spread.min() >= 29
    assert spread.max() <= 91
    assert np.ptp(spread) > 30
    grey = _task(tmp_path / "a.png", (8, 8), augmentation=colour, n=50, channels=1)
    assert len(np.unique(decode(grey).images)) == 1


def test_files_that_changed_or_went_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    photo(0, 30, 30).save(path)
    task = _task(path, (8, 8))
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(DataError, match=r"a\.png was changed since the folder was listed"):
        decode(task)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.png is gone since the folder was listed; run again"):
        decode(task)


def test_broken_files_are_told_and_the_others_decoded(tmp_path: Path) -> None:
    photo(0, 300, 300).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(content[: len(content) // 2])
    tasks = [_task(tmp_path / name, (8, 8)) for name in ("a.jpg", "b.jpg")]
    paths = tasks[0].paths + tasks[1].paths
    stamps = np.concatenate([task.stamps for task in tasks])
    seen: list[int] = []
    decoded = decode(DecodingTask(paths, stamps, (8, 8), 3), seen.append)
    assert seen == [0, 1]
    assert list(decoded.broken) == [1]
    assert "b.jpg" in decoded.broken[1]
    assert decoded.images[0].any()
    assert not decoded.images[1].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_scale": (0.0, 1.0)}, "crop_scale"),
        ({"crop_scale": (0.5, 0.4)}, "crop_scale"),
        ({"crop_ratio": (0.0, 1.0)}, "crop_ratio"),
        ({"brightness": 1.5}, "brightness=1.5"),
        ({"saturation": -0.1}, "saturation=-0.1"),
        ({"max_shift_px": -1}, "max_shift_px=-1"),
    ],
)
def test_augmentation_out_of_range_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Augmentation(**{"max_shift_px": 0, "horizontal_flip": False, **changes})  # type: ignore[arg-type]
