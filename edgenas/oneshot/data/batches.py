"""Batches of network inputs: augmentation of whole batches, scaling, resizing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from edgenas.lowering.torch import channels_last
from edgenas.oneshot.data.base import Augmentation


def augment(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Return randomly changed copies of `images`, uint8, shape (n, channels, height, width).

    What moves in from outside is black.
    """
    n = len(images)
    if augmentation.max_shift_px:
        images = _shift(images, augmentation.max_shift_px, generator)
    if augmentation.horizontal_flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    if augmentation.cutout_px:
        images = _cut_out(images, augmentation.cutout_px, generator)
    return images


def network_input(
    images: Tensor, mean: Sequence[float], std: Sequence[float], size: tuple[int, int]
) -> Tensor:
    """Return `images` (uint8) as a network takes them: scaled, resized, normalised, channels last.

    Args:
        images: shape (n, channels, height, width).
        mean: by channel, on a scale of 0 to 1.
        std: likewise.
        size: height and width of the result.
    """
    scaled = images.to(torch.float32) / 255
    if tuple(scaled.shape[2:]) != size:
        scaled = functional.interpolate(scaled, size, mode="bilinear", align_corners=False)
    shape, device = (1, -1, 1, 1), images.device
    centred = scaled - torch.tensor(mean, device=device).view(shape)
    return channels_last(centred / torch.tensor(std, device=device).view(shape))


def _shift(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    n, channels, height, width = images.shape
    padded = functional.pad(images, (most, most, most, most))
    moves = torch.randint(0, 2 * most + 1, (2, n, 1), generator=generator)
    rows = (moves[0] + torch.arange(height)).view(n, 1, height, 1)
    columns = (moves[1] + torch.arange(width)).view(n, 1, 1, width)
    image = torch.arange(n).view(n, 1, 1, 1)
    channel = torch.arange(channels).view(1, channels, 1, 1)
    return padded[image, channel, rows, columns]


def _cut_out(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Blank a square in half of the images (DeVries and Taylor 2017, arXiv:1708.04552)."""
    n, _, height, width = images.shape
    top = torch.randint(-(side // 2), height - side // 2, (n, 1), generator=generator)
    left = torch.randint(-(side // 2), width - side // 2, (n, 1), generator=generator)
    rows, columns = torch.arange(height), torch.arange(width)
    in_rows = (rows >= top) & (rows < top + side)
    in_columns = (columns >= left) & (columns < left + side)
    chosen = torch.rand(n, generator=generator) < 0.5
    blank = in_rows[:, None, :, None] & in_columns[:, None, None, :] & chosen[:, None, None, None]
    return images.masked_fill(blank, 0)
