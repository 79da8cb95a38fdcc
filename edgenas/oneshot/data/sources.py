"""From the name of a data set in a job file to a split `ImageDataset`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edgenas.core.errors import DataError, choices
from edgenas.oneshot.data.base import ImageDataset, RawDataset
from edgenas.oneshot.data.digits import read_digits
from edgenas.oneshot.data.fashion_mnist import DEFAULT_FOLDER, read_fashion_mnist
from edgenas.oneshot.data.imagefolder import read_imagefolder
from edgenas.oneshot.data.npz import read_npz
from edgenas.oneshot.data.split import complete_parts

SOURCES = ("digits", "fashion-mnist[:FOLDER]", "imagefolder:PATH", "npz:PATH")


def load_dataset(  # noqa: PLR0913
    name: str,
    *,
    seed: int = 0,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    image_size_px: int | None = None,
    image_channels: int | None = None,
    horizontal_flip: bool | None = None,
    skip_broken: bool = False,
) -> ImageDataset:
    """Return the data set called `name` (one of `SOURCES`), split and described.

    Args:
        name: the source and, after a colon, where it lies.
        seed: of the split.
        validation_fraction: of each class, where the source has no validation part of its own.
        test_fraction: likewise for the test part.
        image_size_px: stored size of ``imagefolder`` images; for no other source.
        image_channels: 1 or 3, for ``imagefolder`` only.
        horizontal_flip: whether mirrored images keep their label; default: the source decides.
        skip_broken: leave out broken files of ``imagefolder``, with a warning.

    Raises:
        DataError: an unknown name, or data that cannot be read or used.
    """
    source, _, place = name.partition(":")
    if (image_size_px or image_channels or skip_broken) and source != "imagefolder":
        raise DataError(f"{name}: image size, channels and skipping are for imagefolder only")
    if source == "imagefolder" and place:
        raw = read_imagefolder(
            Path(place), size_px=image_size_px, channels=image_channels, skip_broken=skip_broken
        )
    else:
        raw = _read(name, source, place)
    fractions = {"validation": validation_fraction, "test": test_fraction}
    parts = complete_parts(raw.parts, fractions=fractions, seed=seed)
    _check_classes(raw)
    augmentation = raw.augmentation
    if horizontal_flip is not None:
        augmentation = replace(augmentation, horizontal_flip=horizontal_flip)
    return ImageDataset(raw, parts, augmentation=augmentation)


def _read(name: str, source: str, place: str) -> RawDataset:
    if name == "digits":
        return read_digits()
    if source == "fashion-mnist":
        return read_fashion_mnist(Path(place) if place else DEFAULT_FOLDER)
    if source == "npz" and place:
        return read_npz(Path(place))
    raise DataError(f"unknown data set {name!r}; {choices(name, SOURCES)}")


def _check_classes(raw: RawDataset) -> None:
    present = np.unique(raw.parts["train"].labels)
    if len(present) < 2 or len(present) != len(raw.class_names):
        raise DataError(
            f"{raw.name}: training images of {len(present)} classes for "
            f"{len(raw.class_names)} names; needed: at least 2 classes, images of each"
        )
