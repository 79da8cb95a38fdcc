"""Data sets: images in memory or in files, split, described and fingerprinted; one file a source.

Reading needs no torch: the processes that decode images live without it.
"""

from __future__ import annotations

from edgenas.oneshot.data.base import ArrayPart, Augmentation, ImageDataset, Part
from edgenas.oneshot.data.files import FilePart
from edgenas.oneshot.data.loading import BatchRequest, load_batches
from edgenas.oneshot.data.settings import DataSettings
from edgenas.oneshot.data.sources import load_dataset

__all__ = [
    "ArrayPart",
    "Augmentation",
    "BatchRequest",
    "DataSettings",
    "FilePart",
    "ImageDataset",
    "Part",
    "load_batches",
    "load_dataset",
]
