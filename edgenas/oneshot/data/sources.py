"""From the name of a data set in a job file to a split `ImageDataset`."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.core.errors import DataError, choices
from edgenas.oneshot.data.base import Augmentation, ImageDataset, RawDataset
from edgenas.oneshot.data.digits import read_digits
from edgenas.oneshot.data.fashion_mnist import DEFAULT_FOLDER, read_fashion_mnist
from edgenas.oneshot.data.files import FilePart
from edgenas.oneshot.data.imagefolder import read_imagefolder, read_unlabelled
from edgenas.oneshot.data.npz import read_npz
from edgenas.oneshot.data.settings import DataSettings
from edgenas.oneshot.data.split import complete_parts
from edgenas.oneshot.data.unlabelled import unlabelled_dataset

SOURCES = ("digits", "fashion-mnist[:FOLDER]", "imagefolder:PATH", "npz:PATH", "unlabelled:PATH")
_FOLDER_ONLY = (
    "image_size_px",
    "image_channels",
    "skip_broken",
    "in_memory",
    "memory_limit_gib",
    "workers",
)


def load_dataset(name: str, **changes: Any) -> ImageDataset:
    """Return the data set called `name` (one of `SOURCES`), split and described.

    Args:
        name: the source and, after a colon, where it lies.
        **changes: of the settings; see `DataSettings`.

    Raises:
        DataError: an unknown name or setting, or data that cannot be read or used.
    """
    settings = _settings(changes)
    source, _, place = name.partition(":")
    _check_folder_only(name, source, settings)
    if source == "unlabelled" and place:
        return unlabelled_dataset(name, Path(place), settings)
    if source == "imagefolder" and place:
        raw = read_imagefolder(Path(place), settings)
    else:
        raw = _read(name, source, place)
    train = raw.parts["train"]
    in_files = isinstance(train, FilePart)
    augmentation = _augmentation(raw, settings, in_files=in_files)
    fractions = {"validation": settings.validation_fraction, "test": settings.test_fraction}
    parts = complete_parts(raw.parts, fractions=fractions, seed=settings.seed)
    _check_classes(raw)
    n_channels = train.shape[0]
    calibration = None
    if settings.calibration is not None:
        calibration = read_unlabelled(Path(settings.calibration), n_channels, settings.skip_broken)
    dataset = ImageDataset(
        raw,
        parts,
        augmentation=augmentation,
        normalisation=settings.normalisation(name, n_channels),
        calibration=calibration,
        n_calibration_images=settings.n_calibration_images,
        n_workers=settings.n_workers() if in_files or calibration is not None else 0,
    )
    if not in_files:
        _ = dataset.normalisation  # where it costs little, a constant channel is found at once
    return dataset


def _settings(changes: dict[str, Any]) -> DataSettings:
    known = [field.name for field in fields(DataSettings)]
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise DataError(f"no setting of data is called {unknown[0]}; {choices(unknown[0], known)}")
    return DataSettings(**changes)


def _check_folder_only(name: str, source: str, settings: DataSettings) -> None:
    if source == "imagefolder":
        return
    if source == "unlabelled":
        given = [key for key in ("in_memory", "calibration") if getattr(settings, key) is not None]
        if given:
            raise DataError(
                f"{name}: {', '.join(given)} is not for images without labels, which are all for "
                "calibration and stay in their files; leave it out"
            )
        return
    usual = DataSettings()
    given = [key for key in _FOLDER_ONLY if getattr(settings, key) != getattr(usual, key)]
    if settings.calibration is not None:  # a folder as well
        given = [key for key in given if key not in ("workers", "skip_broken")]
    if given:
        raise DataError(f"{name}: {', '.join(given)} is for imagefolder only; leave it out")


def _augmentation(raw: RawDataset, settings: DataSettings, *, in_files: bool) -> Augmentation:
    changes = settings.of_files()
    if changes and not in_files:
        raise DataError(
            f"{raw.name} lies in memory, where images are shifted; {', '.join(changes)} is for "
            "folders of images that stay in their files: set in_memory: false"
        )
    if settings.horizontal_flip is not None:
        changes["horizontal_flip"] = settings.horizontal_flip
    return replace(raw.augmentation, **changes)  # type: ignore[arg-type]


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
