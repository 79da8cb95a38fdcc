"""How a data set is read: split, kept, changed for training, normalised."""

from __future__ import annotations

from dataclasses import dataclass

from edgenas.core.cores import n_usable_cores
from edgenas.core.errors import DataError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""What the inputs of networks with published ImageNet weights are normalised by."""
MOST_WORKERS = 4
_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Settings of a data set; those from `image_size_px` to `saturation` are for folders only.

    Attributes:
        seed: of the split.
        validation_fraction: of each class, where the source has no validation part of its own.
        test_fraction: likewise for the test part.
        horizontal_flip: whether mirrored images keep their label; default: the source decides.
        mean: by channel, on a scale of 0 to 1; default: that of the training images.
        std: likewise.
        calibration: folder of images, with or without labels, to measure batch norm statistics
            on; default: some of the training images.
        n_calibration_images: how many of them; default: 512 in memory, 2,000 in files.
        image_size_px: height and width of images in memory, and of the sample whose moments are
            taken of files.
        image_channels: 1 (grey) or 3 (RGB, the default).
        skip_broken: go on without broken files, with a warning: images in memory are left out;
            where a file is met in the middle, another image of its class takes its place.
        in_memory: decode all images at once, as squares, or each when it is needed; by default
            decided by `memory_limit_gib`.
        memory_limit_gib: most memory that decoded images may take.
        workers: processes that decode files, 0 is none beside this one; by default as many as
            there are CPUs, up to 4.
        crop_scale: least and greatest share of a file's image that is cut out for training.
        crop_ratio: least and greatest ratio of width to height of that.
        brightness: how far light is changed in training, 0 to 1.
        saturation: likewise the strength of colours.
    """

    seed: int = 0
    validation_fraction: float = 0.15
    test_fraction: float = 0.15
    horizontal_flip: bool | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    calibration: str | None = None
    n_calibration_images: int | None = None
    image_size_px: int | None = None
    image_channels: int | None = None
    skip_broken: bool = False
    in_memory: bool | None = None
    memory_limit_gib: float = 2.0
    workers: int | None = None
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] | None = None
    brightness: float | None = None
    saturation: float | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise DataError("mean and std of the data come together or not at all")
        if self.std is not None and self.mean is not None:
            sound = len(self.mean) == len(self.std) and min(self.std, default=0) > 0
            if not sound:
                raise DataError(
                    f"mean {self.mean} and std {self.std}: needed are as many of each as channels, "
                    "on a scale of 0 to 1, std above 0"
                )
        if self.image_channels not in (None, 1, 3) or (self.image_size_px or 1) < 1:
            raise DataError(
                f"images of {self.image_channels} channels, {self.image_size_px} px; "
                "allowed: 1 or 3, above 0"
            )
        if self.n_calibration_images is not None and self.n_calibration_images < 2:
            raise DataError(
                f"n_calibration_images is {self.n_calibration_images}; batch norms need 2 or more"
            )
        if self.memory_limit_gib <= 0 or (self.workers or 0) < 0:
            raise DataError(
                f"memory_limit_gib is {self.memory_limit_gib}, workers {self.workers}; "
                "allowed: above 0, 0 or more"
            )

    def normalisation(
        self, name: str, n_channels: int
    ) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Return the mean and deviation that are given, None if none are.

        Raises:
            DataError: they are of other channels than the data set `name` has.
        """
        if self.mean is None or self.std is None:
            return None
        if len(self.mean) != n_channels:
            raise DataError(f"{name} has {n_channels} channels, mean has {len(self.mean)}")
        return tuple(self.mean), tuple(self.std)

    def n_workers(self) -> int:
        """Return how many processes decode files."""
        if self.workers is not None:
            return self.workers
        return min(MOST_WORKERS, n_usable_cores())

    def fits_in_memory(self, n_bytes: int) -> bool:
        """Return whether that many bytes of decoded images are to be kept in memory."""
        if self.in_memory is not None:
            return self.in_memory
        return n_bytes <= self.memory_limit_gib * _GIB

    def of_files(self) -> dict[str, object]:
        """Return the changes of how files are augmented."""
        names = ("crop_scale", "crop_ratio", "brightness", "saturation")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
