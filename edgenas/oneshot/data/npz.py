"""Images from an .npz file: arrays ``x`` and ``y``, or ``images`` and ``labels``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import DataError
from edgenas.oneshot.data.base import ArrayPart, Augmentation, RawDataset, UInt8

_PAIRS = (("x", "y"), ("images", "labels"))
_PARTS = {"train": "", "validation": "_val", "test": "_test"}


def read_npz(path: Path) -> RawDataset:
    """Return the images of an .npz file.

    ``x`` (or ``images``) is uint8, shape (n, height, width), (n, height, width, 1 or 3) or
    (n, 1 or 3, height, width); ``y`` (or ``labels``) has integers from 0 without gaps. ``x_val``,
    ``y_val``, ``x_test``, ``y_test`` are optional official parts; ``class_names`` may name classes.

    Raises:
        DataError: the file cannot be read or an array is not as described.
    """
    arrays = _load(path)
    found = [pair for pair in _PAIRS if pair[0] in arrays and pair[1] in arrays]
    if not found:
        raise DataError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}; needed: x and y, or "
            "images and labels"
        )
    x, y = found[0]
    parts = {
        part: _part(path, part, arrays[x + suffix], arrays[y + suffix])
        for part, suffix in _PARTS.items()
        if x + suffix in arrays and y + suffix in arrays
    }
    n_classes = len(np.unique(parts["train"].labels))
    for name, part in parts.items():
        if part.images.shape[1:] != parts["train"].images.shape[1:]:
            raise DataError(f"{path}: images of {name} have another shape than those of train")
        if part.labels.min() < 0 or part.labels.max() >= n_classes:
            raise DataError(
                f"{path}: labels of {name} go from {part.labels.min()} to {part.labels.max()}; "
                f"allowed: 0 to {n_classes - 1}, as train has {n_classes} classes"
            )
    names = _names(path, arrays, n_classes)
    height = parts["train"].images.shape[2]
    augmentation = Augmentation(max_shift_px=max(1, height // 14), horizontal_flip=False)
    return RawDataset(f"npz:{path}", names, parts, augmentation, "8-bit array, as stored")


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        if not zipfile.is_zipfile(path):
            found = f"a file of {path.stat().st_size} bytes that is no zip archive"
            raise DataError(f"{path} is no .npz file but {found}; write it with numpy.savez")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _part(path: Path, name: str, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> ArrayPart:
    if x.dtype != np.uint8:
        raise DataError(f"{path}: images of {name} are {x.dtype}; allowed: uint8, 0 to 255")
    if not np.issubdtype(y.dtype, np.integer) or y.ndim != 1 or len(y) != len(x) or len(y) == 0:
        raise DataError(
            f"{path}: labels of {name} are {y.dtype} of shape {y.shape}; needed: {len(x)} integers"
        )
    return ArrayPart(_channels_first(path, x), y.astype(np.int64))


def _channels_first(path: Path, x: npt.NDArray[Any]) -> UInt8:
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[3] in (1, 3):
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    if x.ndim == 4 and x.shape[1] in (1, 3):
        return x
    raise DataError(
        f"{path}: images have shape {x.shape}; allowed: (n, height, width), "
        "(n, height, width, 1 or 3), (n, 1 or 3, height, width)"
    )


def _names(path: Path, arrays: dict[str, npt.NDArray[Any]], n_classes: int) -> tuple[str, ...]:
    names = tuple(map(str, arrays.get("class_names", np.arange(n_classes)).tolist()))
    if len(names) != n_classes:
        raise DataError(f"{path}: {len(names)} class_names for {n_classes} classes")
    return names
