"""Image files to arrays: centre crops to evaluate on, random crops to train on.

Decoding runs in processes of its own (`edgenas.oneshot.data.processes`): nothing here needs torch.

Centre crops are those that the once-for-all networks were evaluated on: the short side becomes
``ceil(size / 0.875)``, the middle is cut out. Random crops: Szegedy et al. 2015, arXiv:1409.4842,
section 6.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.core.errors import DataError
from edgenas.core.extras import require
from edgenas.oneshot.data.base import Augmentation, Int64, UInt8

CENTRE_SHARE = 0.875
_N_TRIES = 10
_EVALUATION_OVERSAMPLING = 2

Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge, in pixels."""
OnImage = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class DecodingTask:
    """Files that become one batch.

    Attributes:
        paths: of the files.
        stamps: size in bytes and time of the last change in ns that each must have, shape (n, 2).
        size: height and width of the result.
        channels: 1 (grey) or 3 (RGB).
        augmentation: random changes; None is the centre crop.
        seed: of the changes.
        positions: of the files in the batch, which with the seed decide each one's changes.
    """

    paths: tuple[str, ...]
    stamps: Int64
    size: tuple[int, int]
    channels: int
    augmentation: Augmentation | None = None
    seed: int = 0
    positions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A decoded batch.

    Attributes:
        images: shape (n, height, width, channels); black where there is none.
        broken: what is wrong with a file, by its place in the task.
    """

    images: UInt8
    broken: dict[int, str]


def decode(task: DecodingTask, on_image: OnImage | None = None) -> Decoded:
    """Decode all files of `task`; `on_image` is told of each before it begins.

    Raises:
        DataError: a file is not there any more or was changed since it was listed.
    """
    images = np.zeros((len(task.paths), *task.size, task.channels), np.uint8)
    broken: dict[int, str] = {}
    for i, path in enumerate(task.paths):
        if on_image is not None:
            on_image(i)
        try:
            images[i] = _decode_file(task, i)
        except damage() as error:
            broken[i] = f"{path} ({error})"
    return Decoded(images, broken)


def damage() -> tuple[type[Exception], ...]:
    """Return what Pillow raises on damaged files: all sorts."""
    bomb: type[Exception] = require("PIL.Image").DecompressionBombError
    return OSError, ValueError, SyntaxError, EOFError, bomb


def open_image(opened: Any, channels: int, draft: int = 1) -> Any:
    """Return an image of Pillow's, decoded as grey or RGB.

    Args:
        opened: what ``PIL.Image.open`` gave.
        channels: 1 or 3.
        draft: JPEGs are decoded that many times smaller (1, 2, 4 or 8), which is faster.
    """
    if draft > 1:
        opened.draft(opened.mode, (opened.width // draft, opened.height // draft))
    mode = "L" if channels == 1 else "RGB"
    if opened.mode == mode:
        opened.load()
        return opened
    return opened.convert(mode)


def centre_box(width: int, height: int, size: tuple[int, int]) -> Box:
    """Return the part of an image that the centre crop to `size` (height, width) shows."""
    covered_height, covered_width = (math.ceil(side / CENTRE_SHARE) for side in size)
    # Whole pixels, rounded as the public code does, so that the same ones are seen.
    if covered_width * height >= covered_height * width:
        new_width, new_height = covered_width, int(covered_width * height / width)
    else:
        new_width, new_height = int(covered_height * width / height), covered_height
    left, top = round((new_width - size[1]) / 2), round((new_height - size[0]) / 2)
    across, down = width / new_width, height / new_height
    return left * across, top * down, (left + size[1]) * across, (top + size[0]) * down


def random_box(
    width: int,
    height: int,
    size: tuple[int, int],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Box:
    """Return a random part of an image, of the area and shape that `augmentation` allows."""
    aspect = size[1] / size[0]
    least, most = (math.log(ratio * aspect) for ratio in augmentation.crop_ratio)
    for _ in range(_N_TRIES):
        area = width * height * rng.uniform(*augmentation.crop_scale)
        ratio = math.exp(rng.uniform(least, most))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = rng.integers(width - wide + 1), rng.integers(height - high + 1)
            return float(left), float(top), float(left + wide), float(top + high)
    # An image longer than any crop may be: its middle, as much as the shape allows.
    ratio = min(max(width / height, math.exp(least)), math.exp(most))
    middle_width, middle_height = min(width, height * ratio), min(height, width / ratio)
    left_edge, top_edge = (width - middle_width) / 2, (height - middle_height) / 2
    return left_edge, top_edge, left_edge + middle_width, top_edge + middle_height


def draft_factor(box: Box, size: tuple[int, int], *, oversampling: float) -> int:
    """Return how many times smaller a JPEG may be decoded: 1, 2, 4 or 8.

    The box then still has `oversampling` times the pixels of `size` in each direction.
    """
    left, top, right, bottom = box
    most = min((right - left) / size[1], (bottom - top) / size[0]) / oversampling
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or factor <= most)


def _decode_file(task: DecodingTask, i: int) -> UInt8:
    image_module = require("PIL.Image")
    with _open_unchanged(task.paths[i], task.stamps[i]) as stream:
        opened = image_module.open(stream)
        width, height = opened.size
        augmentation = task.augmentation
        if augmentation is None:
            box = centre_box(width, height, task.size)
            draft = draft_factor(box, task.size, oversampling=_EVALUATION_OVERSAMPLING)
            return _cut(open_image(opened, task.channels, draft), box, (width, height), task.size)
        rng = np.random.default_rng((task.seed, task.positions[i]))
        box = random_box(width, height, task.size, augmentation, rng)
        draft = draft_factor(box, task.size, oversampling=1)
        image = open_image(opened, task.channels, draft)
        return _cut(image, box, (width, height), task.size, augmentation, rng)


def _open_unchanged(path: str, stamp: Int64) -> Any:
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError as error:
        raise DataError(f"{path} is gone since the folder was listed; run again") from error
    found = os.fstat(stream.fileno())
    if (found.st_size, found.st_mtime_ns) != (stamp[0], stamp[1]):
        stream.close()
        raise DataError(
            f"{path} was changed since the folder was listed: it had {stamp[0]} bytes, now "
            f"{found.st_size}, and another time of change; run again with the data as it is now"
        )
    return stream


def _cut(  # noqa: PLR0913
    image: Any,
    box: Box,
    full: tuple[int, int],
    size: tuple[int, int],
    augmentation: Augmentation | None = None,
    rng: np.random.Generator | None = None,
) -> UInt8:
    """Return the part of `image` in `box`, shape (height, width, channels).

    Args:
        image: maybe smaller than the file's own.
        box: in pixels of the file's own size.
        full: that size, width first.
        size: height and width of the result.
        augmentation: mirroring and colours; None is none.
        rng: decides them.
    """
    bilinear = require("PIL.Image").Resampling.BILINEAR
    across, down = image.width / full[0], image.height / full[1]
    scaled = (
        box[0] * across,
        box[1] * down,
        min(box[2] * across, image.width),
        min(box[3] * down, image.height),
    )
    result = image.resize((size[1], size[0]), bilinear, box=scaled)
    mirrored = False
    if augmentation is not None and rng is not None:
        mirrored = augmentation.horizontal_flip and bool(rng.random() < 0.5)
        result = _recolour(result, augmentation, rng)
    pixels: UInt8 = np.asarray(result, np.uint8).reshape(*size, -1)
    return pixels[:, ::-1] if mirrored else pixels


def _recolour(image: Any, augmentation: Augmentation, rng: np.random.Generator) -> Any:
    enhance = require("PIL.ImageEnhance")
    changes = [
        (enhance.Brightness, augmentation.brightness),
        (enhance.Color, augmentation.saturation if image.mode == "RGB" else 0.0),
    ]
    for kind, most in changes:
        if most:
            image = kind(image).enhance(rng.uniform(1 - most, 1 + most))
    return image
