"""Data sets: images in memory, split, described and fingerprinted; one file a source."""

from __future__ import annotations

from edgenas.oneshot.data.base import Augmentation, ImageDataset, Part
from edgenas.oneshot.data.sources import load_dataset

__all__ = ["Augmentation", "ImageDataset", "Part", "load_dataset"]
