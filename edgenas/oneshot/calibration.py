"""Batch norm statistics of one network, measured on images batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgenas.core.errors import DataError
from edgenas.lowering.torch import NORM_MOMENTUM, GraphModule
from edgenas.oneshot.data.base import ImageDataset, Part
from edgenas.oneshot.data.batches import network_input
from edgenas.oneshot.data.files import FilePart
from edgenas.oneshot.data.imagefolder import read_unlabelled
from edgenas.oneshot.data.loading import BatchRequest, batches_of
from edgenas.oneshot.data.settings import IMAGENET_MEAN, IMAGENET_STD
from edgenas.spaces.base import SearchSpace

N_IN_MEMORY, BATCH_IN_MEMORY = 512, 64
"""Of small images: enough, and affordable for every network that a search looks at."""
N_IN_FILES, BATCH_IN_FILES = 2000, 200
"""What Cai et al. 2020 (arXiv:1908.09791) measure the statistics of a subnet on."""


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationImages:
    """Images to measure batch norm statistics on; labels are not looked at.

    Attributes:
        part: the images, all of which are used.
        mean: by channel, what network inputs are normalised by.
        std: likewise.
        batch_size: images at once; the statistics are means over batches.
        n_workers: processes that decode, where the images lie in files.
    """

    part: Part
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batch_size: int
    n_workers: int = 0

    def inputs(self, size: tuple[int, int]) -> Iterator[Tensor]:
        """Yield the network inputs of each batch, of `size` (height and width), without changes.

        A last batch of fewer images joins the one before it.
        """
        n = len(self.part)
        starts = batch_starts(n, self.batch_size)
        stops = [*starts[1:], n]
        requests = (
            BatchRequest(np.arange(start, stop), size)
            for start, stop in zip(starts, stops, strict=True)
        )
        for images, _ in batches_of(self.part, requests, n_workers=self.n_workers, prefetch=2):
            yield network_input(images, self.mean, self.std, size)


def batch_starts(n: int, batch_size: int) -> list[int]:
    """Return where batches begin if a last one of fewer images joins the one before it."""
    return [i * batch_size for i in range(max(1, n // batch_size))]


def calibration_of(
    dataset: ImageDataset,
    *,
    n_images: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> CalibrationImages:
    """Return the images that `dataset` is calibrated on: its own for that, or some of `train`.

    Args:
        dataset: gives images, mean and deviation.
        n_images: default: what the data set says, or 512 of images in memory, 2,000 of files.
        batch_size: default: 64 or 200.
        seed: of the choice among more images than that; it is the same for every network.
    """
    part = dataset.train if dataset.calibration is None else dataset.calibration
    n_images = n_images or dataset.n_calibration_images
    return _chosen(part, (dataset.mean, dataset.std), n_images, batch_size, seed, dataset.n_workers)


def calibration_folder(  # noqa: PLR0913
    folder: Path,
    space: SearchSpace,
    *,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    n_images: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    n_workers: int = 0,
    skip_broken: bool = False,
) -> CalibrationImages:
    """Return images of a folder, in whatever subfolders, for networks of `space`.

    No labels are needed: this is how a network with weights that were trained elsewhere gets
    statistics of the images that it will see.

    Args:
        folder: of the images.
        space: says how many channels.
        mean: what inputs were normalised by when the weights were trained; by default what
            published networks for ImageNet use.
        std: likewise.
        n_images: default: 2,000, or all if there are fewer.
        batch_size: default: 200.
        seed: of the choice among more images than that.
        n_workers: processes that decode.
        skip_broken: leave broken files out, with a warning.

    Raises:
        DataError: no images there, or a mean of other channels than the space takes.
    """
    channels = space.input_shape(space.largest())[0]
    if not channels == len(mean) == len(std):
        raise DataError(
            f"{space.name} takes {channels} channels, mean has {len(mean)} and std {len(std)}; "
            "give as many as channels, on a scale of 0 to 1, as the weights were trained with"
        )
    part = read_unlabelled(folder, channels, skip_broken)
    return _chosen(part, (mean, std), n_images, batch_size, seed, n_workers)


def calibrate(module: GraphModule, images: CalibrationImages) -> GraphModule:
    """Measure the batch norm statistics of `module` on `images`, in place, and return it.

    They are decoded for the resolution of the network; one batch at a time is in memory.
    """
    _, height, width = module.graph.in_shape
    return measure_statistics(module, images.inputs((height, width)))


def measure_statistics(module: GraphModule, batches: Iterable[Tensor]) -> GraphModule:
    """Set the statistics of `module` to their means over `batches` of network inputs.

    Each batch norm sees what those before it make of the batch with the batch's own statistics.
    The means over batches are taken in double precision. The module is left in evaluation mode.

    Raises:
        DataError: there is no batch.
    """
    buffers = {
        name: value
        for name, value in module.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    }
    sums = {name: torch.zeros(value.shape, dtype=torch.float64) for name, value in buffers.items()}
    device = next(module.parameters()).device
    n_batches = 0
    module.train()
    with torch.no_grad():
        for inputs in batches:
            for value in buffers.values():
                value.zero_()
            module(inputs.to(device))
            # From zero, one update leaves momentum times the batch's statistic.
            for name, value in buffers.items():
                sums[name] += value.cpu().double()
            n_batches += 1
        if not n_batches:
            raise DataError("there are no images to measure batch norm statistics on")
        for name, value in buffers.items():
            value.copy_(sums[name] / (n_batches * NORM_MOMENTUM))
    module.eval()
    return module


def _chosen(  # noqa: PLR0913
    part: Part,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]],
    n_images: int | None,
    batch_size: int | None,
    seed: int,
    n_workers: int,
) -> CalibrationImages:
    in_files = isinstance(part, FilePart)
    n_images = n_images or (N_IN_FILES if in_files else N_IN_MEMORY)
    batch_size = batch_size or (BATCH_IN_FILES if in_files else BATCH_IN_MEMORY)
    if n_images < len(part):
        order = np.random.default_rng(seed).permutation(len(part))
        part = part.take(np.sort(order[:n_images]))
    return CalibrationImages(part, *normalisation, batch_size, n_workers)
