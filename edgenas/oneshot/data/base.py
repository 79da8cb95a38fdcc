"""An image data set: its parts, its classes, and how its images become inputs."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from hashlib import _Hash

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation by channel, on a scale of 0 to 1."""


class Part(ABC):
    """Labelled images, in memory or on disk.

    Attributes:
        labels: shape (n,).
    """

    labels: Int64

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images; of files, the size that the data set names."""

    @property
    def crop_share(self) -> float | None:
        """Of the short side of an image in a file, what the centre crop to evaluate on shows.

        None where images lie in memory, whole and in one size.
        """
        return None

    @abstractmethod
    def take(self, index: Int64) -> Part:
        """Return the images at `index`, in that order."""

    @abstractmethod
    def batch(self, index: Int64, size: tuple[int, int]) -> UInt8:
        """Return the images at `index`, unchanged, shape (n, channels, height, width).

        Args:
            index: positions in this part.
            size: height and width of a network's input. Files are decoded for it; images in
                memory come in their stored size, and the network's input is made of them.
        """

    @abstractmethod
    def sample(self) -> UInt8:
        """Return images that stand for all when means and deviations are computed."""

    @abstractmethod
    def add_to(self, digest: _Hash) -> None:
        """Feed everything that tells this part from another one to a hash."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPart(Part):
    """Images in memory, shape (n, channels, height, width), and their labels."""

    images: UInt8
    labels: Int64

    @property
    def shape(self) -> tuple[int, int, int]:
        """Stored (channels, height, width)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def take(self, index: Int64) -> ArrayPart:
        """Return the images at `index`, in that order."""
        return ArrayPart(self.images[index], self.labels[index])

    def batch(self, index: Int64, size: tuple[int, int]) -> UInt8:
        """Return the images at `index` as they are stored, whatever `size`."""
        del size  # scaled as part of making inputs, many images at once
        return self.images[index]

    def sample(self) -> UInt8:
        """Return all images."""
        return self.images

    def add_to(self, digest: _Hash) -> None:
        """Feed all images and labels to a hash."""
        digest.update(str(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).tobytes())
        digest.update(self.labels.astype("<i8").tobytes())


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may be done to a training image of a data set without changing its label.

    Images in memory are shifted, files are cropped; the settings of the other are not used.

    Attributes:
        max_shift_px: greatest shift in each direction, in stored pixels.
        horizontal_flip: whether a mirrored image has the same label.
        cutout_px: side of a square that is blanked in half of the images; 0 is none.
        crop_scale: least and greatest share of the image's area that a crop has.
        crop_ratio: least and greatest ratio of its width to its height, relative to the input's.
        brightness: light is multiplied by up to 1 ± this.
        saturation: likewise the strength of colours.
    """

    max_shift_px: int
    horizontal_flip: bool
    cutout_px: int = 0
    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    brightness: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        rules = {
            "max_shift_px": self.max_shift_px >= 0,
            "cutout_px": self.cutout_px >= 0,
            "crop_scale": 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1,
            "crop_ratio": 0 < self.crop_ratio[0] <= self.crop_ratio[1],
            "brightness": 0 <= self.brightness <= 1,
            "saturation": 0 <= self.saturation <= 1,
        }
        broken = [f"{name}={getattr(self, name)}" for name, kept in rules.items() if not kept]
        if broken:
            raise DataError(
                f"augmentation out of range: {', '.join(broken)}; allowed: shares in (0, 1] and "
                "ratios above 0, the lesser first; brightness and saturation 0 to 1"
            )


@dataclass(frozen=True, slots=True)
class RawDataset:
    """What a source reads: official parts where there are any, `train` always.

    Attributes:
        name: what the job file called it.
        class_names: by label.
        parts: by name.
        augmentation: what the source allows.
        decoding: how files become stored images, in words.
        resizing: how stored images become network inputs, in words.
    """

    name: str
    class_names: tuple[str, ...]
    parts: Mapping[str, Part]
    augmentation: Augmentation
    decoding: str
    resizing: str = "bilinear, no antialiasing, half-pixel centres, to the network's input"


class ImageDataset:
    """Train and validation parts in the open, the test part behind `open_test`.

    Attributes:
        name: what the job file called it.
        class_names: by label.
        train: images to learn from.
        validation: images to choose architectures by.
        calibration: images to measure batch norm statistics on; None: some of `train`.
        n_calibration_images: how many of them; None: enough for how they are kept.
        fingerprint: hash of all images (of files: name, size and time of the last change),
            labels, class names and the split, and of what was chosen in place of the source's own
            augmentation, moments and images to calibrate on.
        n_workers: processes that decode the files, where the images lie in files.
        n_test_openings: how often the test part was taken out.
    """

    def __init__(  # noqa: PLR0913
        self,
        raw: RawDataset,
        parts: Mapping[str, Part],
        *,
        augmentation: Augmentation,
        normalisation: Normalisation | None = None,
        calibration: Part | None = None,
        n_calibration_images: int | None = None,
        n_workers: int = 0,
    ) -> None:
        self.name, self.class_names = raw.name, raw.class_names
        self.train, self.validation = parts["train"], parts["validation"]
        self.calibration, self.n_calibration_images = calibration, n_calibration_images
        self.augmentation = augmentation
        self.decoding, self._resizing = raw.decoding, raw.resizing
        self.n_workers = n_workers
        self._test = parts["test"]
        self.n_test = len(self._test)
        self.n_test_openings = 0
        self._normalisation = normalisation
        digest = hashlib.sha256(repr(raw.class_names).encode())
        for name in ("train", "validation", "test"):
            digest.update(name.encode())
            parts[name].add_to(digest)
        if augmentation != raw.augmentation or normalisation:
            digest.update(repr((augmentation, normalisation)).encode())
        if calibration is not None:
            calibration.add_to(digest)
        if n_calibration_images is not None:
            digest.update(f"calibration{n_calibration_images}".encode())
        self.fingerprint = digest.hexdigest()[:16]

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the training images, or what was chosen for them.

        Of images in files, those of a sample, which is decoded when this is first asked for.

        Raises:
            DataError: a channel is constant, or a file cannot be read.
        """
        return self._normalisation or _moments(self.train.sample())

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the training images by channel, on a scale of 0 to 1."""
        return self.normalisation[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Of the training images by channel, on a scale of 0 to 1."""
        return self.normalisation[1]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def is_labelled(self) -> bool:
        """Whether it is known what the images show; else nothing can be trained or judged."""
        return bool(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) as `Part.shape` has it."""
        return self.train.shape

    def open_test(self) -> Part:
        """Return the test part, and count that it was touched."""
        self.n_test_openings += 1
        return self._test

    def with_fewer(self, n_train: int) -> ImageDataset:
        """Return the same data set with the first `n_train` training images of a fixed order.

        Raises:
            UsageError: there are not so many, or fewer than 2 are asked for.
        """
        if not 2 <= n_train <= len(self.train):
            raise UsageError(
                f"{n_train} training images asked of {self.name}; allowed: 2 to {len(self.train)}"
            )
        fewer = copy(self)
        order = np.random.default_rng(0).permutation(len(self.train))
        # Inputs are normalised as those of the whole data set are: it is a part of it.
        fewer._normalisation = self.normalisation
        fewer.__dict__.pop("normalisation", None)
        fewer.train = self.train.take(np.sort(order[:n_train]))
        name = f"{self.fingerprint} {n_train}"
        fewer.fingerprint = hashlib.sha256(name.encode()).hexdigest()[:16]
        return fewer

    def divided(self, share: float) -> tuple[ImageDataset, ImageDataset]:
        """Return the same data set twice, its training images divided between the two.

        Args:
            share: of every class that is in the second's; fixed, whatever the seed of a run.

        Raises:
            DataError: the share is out of range, or a class has too few images.
        """
        from edgenas.oneshot.data.split import complete_parts

        parts = complete_parts({"train": self.train}, fractions={"second": share}, seed=0)
        found = []
        for name in ("train", "second"):
            part = copy(self)
            part._normalisation = self.normalisation  # both as the whole is
            part.__dict__.pop("normalisation", None)
            part.train = parts[name]
            text = f"{self.fingerprint} {name} {share}"
            part.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
            found.append(part)
        return found[0], found[1]

    def preprocessing(self) -> dict[str, Any]:
        """Return, as JSON values, what turns an image file into a network's input."""
        return {
            "decoding": self.decoding,
            "stored_shape": list(self.image_shape),
            "scale": "value / 255",
            "resize": self._resizing,
            "mean": list(self.mean),
            "std": list(self.std),
            "layout": "NCHW",
        }


def _moments(images: UInt8) -> Normalisation:
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
