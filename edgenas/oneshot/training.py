"""Training of a supernet: the sandwich rule with in-place distillation.

Yu et al. 2020 (BigNAS), arXiv:2003.11142, section 3.1: in every step the largest network learns
from the labels, the smallest and a few random ones from what the largest says, with one update.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgenas.core.errors import DataError
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.data.batches import network_input
from edgenas.oneshot.optimisation import OnStep, distillation_loss, train
from edgenas.oneshot.settings import TrainingSettings
from edgenas.oneshot.supernet import Supernet
from edgenas.spaces.base import SearchSpace


def train_supernet(  # noqa: PLR0913
    supernet: Supernet,
    space: SearchSpace,
    dataset: ImageDataset,
    settings: TrainingSettings,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
) -> list[float]:
    """Train `supernet` in place and return the mean loss of the largest network by epoch.

    All networks of a step see the same images at the same resolution, that of a random
    architecture. Errors and resuming: see `edgenas.oneshot.optimisation.train`.

    Raises:
        DataError: channels or classes of the data are not those of the space.
    """
    check_fit(space, dataset)
    largest, smallest = space.ops(space.largest()), space.ops(space.smallest())

    def step_losses(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Iterator[Tensor]:
        rows = space.sample(settings.n_random_subnets + 1, rng)
        _, height, width = space.input_shape(rows[-1])
        inputs = network_input(images, dataset.mean, dataset.std, (height, width))
        logits = supernet(inputs, largest)
        yield functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        teacher = logits.detach()
        for parts in (smallest, *(space.ops(row) for row in rows[:-1])):
            yield distillation_loss(supernet(inputs, parts), teacher)

    return train(
        supernet,
        dataset,
        settings,
        step_losses,
        identity=run_identity(space, dataset, settings, seed=seed),
        seed=seed,
        checkpoint=checkpoint,
        on_step=on_step,
    )


def check_fit(space: SearchSpace, dataset: ImageDataset) -> None:
    """Refuse a data set that the networks of `space` cannot take.

    Raises:
        DataError: channels or classes differ; the message says how to make the space.
    """
    channels = space.input_shape(space.largest())[0]
    asked = (dataset.image_shape[0], dataset.n_classes)
    if asked != (channels, space.n_classes):
        raise DataError(
            f"{dataset.name} has {asked[0]} channels and {asked[1]} classes, {space.name} takes "
            f"{channels} and {space.n_classes}; give the space input_channels={asked[0]} and "
            f"n_classes={asked[1]}"
        )


def run_identity(
    space: SearchSpace,
    dataset: ImageDataset,
    settings: TrainingSettings,
    *,
    seed: int,
    more: str = "",
) -> str:
    """Return a hash of all that decides what a training run gives."""
    fingerprints = (space.fingerprint, dataset.fingerprint)
    parts = (*fingerprints, asdict(settings), seed, more, torch.__version__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
