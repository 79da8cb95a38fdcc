"""An image data set in memory: its parts, its classes, and how its images become inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import DataError

UInt8 = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Images, shape (n, channels, height, width), and labels, shape (n,)."""

    images: UInt8
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: npt.NDArray[np.int64]) -> Part:
        """Return the images at `index`, in that order."""
        return Part(self.images[index], self.labels[index])


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may be done to a training image of a data set without changing its label.

    Attributes:
        max_shift_px: greatest shift in each direction, in stored pixels.
        horizontal_flip: whether a mirrored image has the same label.
        cutout_px: side of a square that is blanked in half of the images; 0 is none.
    """

    max_shift_px: int
    horizontal_flip: bool
    cutout_px: int = 0


@dataclass(frozen=True, slots=True)
class RawDataset:
    """What a source reads: official parts where there are any, `train` always."""

    name: str
    class_names: tuple[str, ...]
    parts: Mapping[str, Part]
    augmentation: Augmentation
    decoding: str


class ImageDataset:
    """Train and validation parts in the open, the test part behind `open_test`.

    Attributes:
        name: what the job file called it.
        class_names: by label.
        train: images to learn from.
        validation: images to choose architectures by.
        mean: of the training images by channel, scale 0 to 1.
        std: likewise.
        fingerprint: hash of all images, labels, class names and the split.
        n_test_openings: how often the test part was taken out.
    """

    def __init__(
        self, raw: RawDataset, parts: Mapping[str, Part], *, augmentation: Augmentation
    ) -> None:
        self.name, self.class_names = raw.name, raw.class_names
        self.train, self.validation = parts["train"], parts["validation"]
        self.augmentation = augmentation
        self.decoding = raw.decoding
        self._test = parts["test"]
        self.n_test = len(self._test)
        self.n_test_openings = 0
        self.mean, self.std = _moments(self.train.images)
        self.fingerprint = _fingerprint(raw.class_names, parts)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Stored (channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def open_test(self) -> Part:
        """Return the test part, and count that it was touched."""
        self.n_test_openings += 1
        return self._test

    def preprocessing(self) -> dict[str, Any]:
        """Return, as JSON values, what turns an image file into a network's input."""
        return {
            "decoding": self.decoding,
            "stored_shape": list(self.image_shape),
            "scale": "value / 255",
            "resize": "bilinear, no antialiasing, half-pixel centres, to the network's input",
            "mean": list(self.mean),
            "std": list(self.std),
            "layout": "NCHW",
        }


def _moments(images: UInt8) -> tuple[tuple[float, ...], tuple[float, ...]]:
    counts = [np.bincount(images[:, c].ravel(), minlength=256) for c in range(images.shape[1])]
    levels = np.arange(256) / 255
    means, stds = [], []
    for count in counts:
        share = count / count.sum()
        mean = float(share @ levels)
        deviation = float(np.sqrt(share @ (levels - mean) ** 2))
        means.append(round(mean, 6))
        stds.append(round(deviation, 6))
    if min(stds) < 1e-3:
        raise DataError(
            f"a channel of the training images is constant (standard deviations {stds}); "
            "a network cannot learn from that: check the files"
        )
    return tuple(means), tuple(stds)


def _fingerprint(class_names: tuple[str, ...], parts: Mapping[str, Part]) -> str:
    digest = hashlib.sha256(repr(class_names).encode())
    for name in ("train", "validation", "test"):
        part = parts[name]
        digest.update(f"{name}{part.images.shape}".encode())
        digest.update(np.ascontiguousarray(part.images).tobytes())
        digest.update(part.labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]
