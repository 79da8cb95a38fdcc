"""Recorded inputs in the form in which a file takes them, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.exporters.base import Images
from edgenas.exporters.bundle.preprocessing import InputTensor


def as_file_takes(images: Images, source: InputTensor) -> npt.NDArray[Any]:
    """Return normalised images, shape (n, channels, height, width), as the file takes them."""
    values: npt.NDArray[Any] = images
    if source.layout == "NHWC":
        values = values.transpose(0, 2, 3, 1)
    if source.codes is not None:
        limits = np.iinfo(source.dtype)
        steps = np.rint(values / np.float32(source.codes.scale)) + source.codes.zero_point
        values = np.clip(steps, limits.min, limits.max)
    return np.ascontiguousarray(values, np.dtype(source.dtype))


def as_images(recorded: npt.NDArray[Any], source: InputTensor) -> Images:
    """Return normalised images, shape (n, channels, height, width), from what the file takes."""
    values = recorded.astype(np.float32)
    if source.codes is not None:
        values = (values - source.codes.zero_point) * np.float32(source.codes.scale)
    if source.layout == "NHWC":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values)


def fits(recorded: npt.NDArray[Any], source: InputTensor) -> bool:
    """Return whether recorded inputs are what the file takes, any number of them."""
    return (
        recorded.ndim == len(source.shape)
        and tuple(recorded.shape[1:]) == tuple(source.shape[1:])
        and recorded.dtype.name == source.dtype
        and len(recorded) > 0
    )
