"""Images without labels: enough to recalibrate, compare and export a network trained elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgenas.core.errors import DataError
from edgenas.oneshot.data.base import Augmentation, ImageDataset, RawDataset
from edgenas.oneshot.data.imagefolder import DECODING, RESIZING, read_unlabelled
from edgenas.oneshot.data.settings import IMAGENET_MEAN, IMAGENET_STD, DataSettings

N_REFERENCE = 64
"""Images at most that are kept from calibration, to hold exported files against the network."""
_LEAST = 10


def unlabelled_dataset(name: str, folder: Path, settings: DataSettings) -> ImageDataset:
    """Return the images under `folder`, in whatever subfolders, as a data set without classes.

    A sixth of them, at most `N_REFERENCE`, are its validation part, the rest its train part. The
    test part is empty. Nothing can be trained on it. Inputs are normalised as those of published
    ImageNet networks are, unless the settings say how else the weights were trained.

    Args:
        name: as the job file calls it.
        folder: of the images.
        settings: of the data set.

    Raises:
        DataError: fewer than ten images, or files that are not images.
    """
    channels = settings.image_channels or 3
    whole = read_unlabelled(folder, channels, settings.skip_broken)
    n = len(whole)
    if n < _LEAST:
        raise DataError(f"{folder} holds {n} images; needed: at least {_LEAST}")
    order = np.random.default_rng(settings.seed).permutation(n)
    n_kept = min(N_REFERENCE, n // 6 or 1)
    parts = {
        "train": whole.take(np.sort(order[n_kept:])),
        "validation": whole.take(np.sort(order[:n_kept])),
        "test": whole.take(np.zeros(0, dtype=np.int64)),
    }
    raw = RawDataset(
        name,
        (),
        parts,
        Augmentation(max_shift_px=0, horizontal_flip=False),
        DECODING.format(channels=channels),
        RESIZING,
    )
    usual = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else None
    return ImageDataset(
        raw,
        parts,
        augmentation=raw.augmentation,
        normalisation=settings.normalisation(name, channels) or usual,
        n_calibration_images=settings.n_calibration_images,
        n_workers=settings.n_workers(),
    )
