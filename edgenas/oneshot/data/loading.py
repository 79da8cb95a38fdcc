"""Batches of images by request: the same request gives the same bytes, whoever prepares it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgenas.oneshot.data.base import Augmentation, ImageDataset, Int64, Part
from edgenas.oneshot.data.files import FilePart

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class BatchRequest:
    """One batch: which images, how large, and what decides everything random about them.

    Attributes:
        index: positions in a part, shape (n,).
        size: height and width of the network input that the batch is for.
        seed: of the augmentation, 0 or more.
    """

    index: Int64
    size: tuple[int, int]
    seed: int = 0


def load_batches(  # noqa: PLR0913
    dataset: ImageDataset,
    part: Part,
    requests: Iterable[BatchRequest],
    *,
    augment: bool,
    n_workers: int | None = None,
    prefetch: int = 4,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images (uint8, shape (n, channels, height, width)) and labels for each request.

    What comes depends on the requests alone, not on the number of workers. Files come in the size
    of their request; images that lie in memory in the size in which they are stored.

    Args:
        dataset: says how images may be changed.
        part: of `dataset`.
        requests: one a batch; of images in files, they are taken `prefetch` batches ahead.
        augment: change images at random as the data set allows.
        n_workers: processes that decode files, 0 is this one; by default as many as `dataset`
            says. Images in memory need none.
        prefetch: batches that are decoded ahead of the one in use, at least one a process; none
            where this process decodes.

    Raises:
        DataError: a file is broken or has changed, or a decoding process died.
    """
    augmentation = dataset.augmentation if augment else None
    n_workers = dataset.n_workers if n_workers is None else n_workers
    yield from batches_of(part, requests, augmentation, n_workers=n_workers, prefetch=prefetch)


def batches_of(
    part: Part,
    requests: Iterable[BatchRequest],
    augmentation: Augmentation | None = None,
    *,
    n_workers: int = 0,
    prefetch: int = 4,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels of a part that may belong to no data set (see `load_batches`)."""
    import torch

    if isinstance(part, FilePart):
        decoded = part.decoded(requests, augmentation, n_workers=n_workers, prefetch=prefetch)
        for request, images in decoded:
            yield torch.from_numpy(images), torch.from_numpy(part.labels[request.index])
        return
    for request in requests:
        stored = torch.from_numpy(part.batch(request.index, request.size))
        yield _changed(stored, augmentation, request), torch.from_numpy(part.labels[request.index])


def _changed(images: Tensor, augmentation: Augmentation | None, request: BatchRequest) -> Tensor:
    import torch

    from edgenas.oneshot.data.batches import augment

    if augmentation is None:
        return images
    return augment(images, augmentation, torch.Generator().manual_seed(request.seed))


def plain_requests(n: int, size: tuple[int, int], batch_size: int) -> Iterator[BatchRequest]:
    """Yield requests for all `n` images of a part, in order."""
    for start in range(0, n, batch_size):
        yield BatchRequest(np.arange(start, min(n, start + batch_size)), size)
