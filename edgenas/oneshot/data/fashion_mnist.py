"""Fashion-MNIST from its four IDX files (Xiao et al. 2017, arXiv:1708.07747)."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import DataError
from edgenas.oneshot.data.base import ArrayPart, Augmentation, RawDataset

DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASS_NAMES = (
    "t-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def read_fashion_mnist(folder: Path = DEFAULT_FOLDER) -> RawDataset:
    """Return Fashion-MNIST with its official test part.

    Raises:
        DataError: a file is missing or is not what it should be.
    """
    parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte", n_dims=3)
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte", n_dims=1)
        if len(images) != len(labels) or labels.max(initial=0) >= len(CLASS_NAMES):
            raise DataError(
                f"{folder}: {part} has {len(images)} images, {len(labels)} labels up to "
                f"{labels.max(initial=0)}; allowed: as many of each, labels 0 to 9"
            )
        parts[part] = ArrayPart(images[:, None], labels.astype(np.int64))
    augmentation = Augmentation(max_shift_px=2, horizontal_flip=True)
    return RawDataset("fashion-mnist", CLASS_NAMES, parts, augmentation, "8-bit grey, as stored")


def read_idx(path: Path, *, n_dims: int) -> npt.NDArray[np.uint8]:
    """Return the bytes of an IDX file, plain or with ``.gz`` at the end of its name.

    Raises:
        DataError: missing, truncated, or of another type or number of dimensions.
    """
    packed = path.with_name(path.name + ".gz")
    try:
        content = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{path}[.gz] is missing; run: apt-get install dataset-fashion-mnist, or name the "
            "folder with the four IDX files: fashion-mnist:FOLDER"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}[.gz]: {error}; fetch the file again") from error
    header = 4 + 4 * n_dims
    if content[:4] != bytes((0, 0, 8, n_dims)) or len(content) < header:
        raise DataError(f"{path} is no IDX file of bytes with {n_dims} dimensions")
    shape = tuple(map(int, np.frombuffer(content, ">i4", n_dims, 4)))
    if min(shape) < 1 or len(content) != header + math.prod(shape):
        raise DataError(
            f"{path} has {len(content)} bytes, its header asks for shape {shape}; "
            "fetch the file again"
        )
    # A copy, because torch wants arrays that it could write to.
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
