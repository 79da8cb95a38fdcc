"""One epoch: which images its steps see, at what size, with which random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgenas.core.errors import DataError
from edgenas.oneshot.data import BatchRequest, load_batches
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.gradients import Share

Size = tuple[int, int]
"""Height and width."""


def n_steps_of(dataset: ImageDataset, batch_size: int) -> int:
    """Return the steps of an epoch, whose last, partial batch is left out.

    Raises:
        DataError: too few images.
    """
    n_images = len(dataset.train)
    if n_images < 2:
        raise DataError(f"{n_images} training images; batch norms need at least 2")
    return max(1, n_images // batch_size)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is random in a step."""

    size: Size
    seed: int
    requests: tuple[BatchRequest, ...]


class Epoch:
    """The steps of one epoch, each a batch in shares for the threads.

    The plan of a step depends on the seed and the step's number only, so an epoch can be
    entered at any of them.

    Args:
        dataset: gives the images.
        seed: non-negative numbers that say which run, phase and epoch this is; three at most.
        batch_size: images a step, those of all processes together.
        n_shares: into how many a process divides its part, where it has two images for each.
        augment: whether images are changed as the data set allows.
        sample_size: draws the size of a step's input.
        n_processes: each has an equal part of every batch.
        rank: which of them this is.
    """

    def __init__(  # noqa: PLR0913
        self,
        dataset: ImageDataset,
        *,
        seed: tuple[int, ...],
        batch_size: int,
        n_shares: int,
        augment: bool,
        sample_size: Callable[[np.random.Generator], Size],
        n_processes: int = 1,
        rank: int = 0,
    ) -> None:
        self.dataset, self.seed, self.augment = dataset, seed, augment
        self.sample_size = sample_size
        self.n_steps = n_steps_of(dataset, batch_size)
        self.batch_size = min(batch_size, len(dataset.train))
        self.n_processes, self.rank = n_processes, rank
        # A batch norm needs two images.
        self.n_shares = max(1, min(n_shares, self.batch_size // n_processes // 2))
        self.order = np.random.default_rng(seed).permutation(len(dataset.train))

    def steps(self, first: int = 0) -> Iterator[tuple[int, list[Share]]]:
        """Yield the number of each step, from `first` on, and the shares of its batch."""
        numbers = range(first, self.n_steps)
        requests = (request for i in numbers for request in self.plan(i).requests)
        batches = load_batches(self.dataset, self.dataset.train, requests, augment=self.augment)
        for i in numbers:
            plan = self.plan(i)
            shares = []
            for _ in plan.requests:
                images, labels = next(batches)
                shares.append(Share(images, labels, plan.size, plan.seed))
            yield i, shares

    def plan(self, step: int) -> _Plan:
        """Return what is random in a step."""
        # Seeds are padded with zeros: without the 1 the first step would have the epoch's.
        rng = np.random.default_rng([*self.seed, step + 1])
        size, seed = self.sample_size(rng), int(rng.integers(2**62))
        images = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        parts = np.array_split(np.array_split(images, self.n_processes)[self.rank], self.n_shares)
        seeds = rng.integers(2**62, size=(self.n_processes, self.n_shares))[self.rank]
        requests = (BatchRequest(p, size, int(s)) for p, s in zip(parts, seeds, strict=True))
        return _Plan(size, seed, tuple(requests))
