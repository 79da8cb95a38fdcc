"""Training of a supernet by its phases: progressive shrinking, or the sandwich in one phase."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import torch

from edgenas.core.errors import DataError
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.lessons import Class
from edgenas.oneshot.optimisation import OnStep, train
from edgenas.oneshot.processes import accelerator_of
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
    """Train `supernet` in place and return the mean loss of every epoch, over all phases.

    The loss is that of the largest network, or where only random ones learn, theirs. All networks
    of a step see the same images at the same resolution, that of a random architecture.
    `edgenas.oneshot.phases.phases_of` tells which phases there are. Errors and resuming: see
    `edgenas.oneshot.optimisation.train`.

    Raises:
        DataError: channels or classes of the data are not those of the space.
        SpaceError: a phase names options that the space lacks.
    """
    check_fit(space, dataset)
    learners = Class(supernet, space, dataset, settings)
    return train(
        learners,
        dataset,
        settings,
        learners.lessons(),
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
    # Where there are no labels, there are no classes to differ in.
    n_classes = dataset.n_classes if dataset.is_labelled else space.n_classes
    asked = (dataset.image_shape[0], n_classes)
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
    decisive = {k: v for k, v in asdict(settings).items() if k != "checkpoint_minutes"}
    decisive["accelerator"] = accelerator_of(settings)
    parts = (*fingerprints, decisive, seed, more, torch.__version__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
