"""Losses of the phases: who learns, from what, and where it is computed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from edgenas.oneshot.data import ImageDataset
from edgenas.oneshot.gradients import Share
from edgenas.oneshot.lessons import Class
from edgenas.oneshot.optimisation import Lesson
from edgenas.oneshot.settings import TrainingSettings, scheduled
from edgenas.oneshot.supernet import Supernet
from edgenas.spaces.base import SearchSpace


def lesson(learners: Class, name: str) -> Lesson:
    (found,) = (lesson for lesson in learners.lessons() if lesson.phase.name == name)
    return found


def share(dataset: ImageDataset, *, seed: int = 3) -> Share:
    images = torch.from_numpy(dataset.train.batch(np.arange(8), (16, 16)))
    return Share(images, torch.from_numpy(dataset.train.labels[:8]), (16, 16), seed)


def values(found: Lesson, seen: Share) -> list[float]:
    return [float(loss.detach()) for loss in found.losses(seen)]


@pytest.mark.parametrize(
    ("name", "n"),
    [("full", 1), ("kernel", 1), ("depth1", 2), ("depth2", 2), ("expansion1", 4)],
)
def test_as_many_networks_learn_as_the_phase_says(
    space: SearchSpace, dataset: ImageDataset, name: str, n: int
) -> None:
    learners = Class(Supernet(space), space, dataset, scheduled("ofa"))
    found = lesson(learners, name)
    losses = values(found, share(dataset))
    assert (len(losses), found.n_reported) == (n, n)
    assert values(found, share(dataset)) == losses
    assert (values(found, share(dataset, seed=4)) == losses) == (name == "full")


def test_the_teacher_adds_its_opinion_with_its_weight(
    space: SearchSpace, dataset: ImageDataset
) -> None:
    losses = []
    for weight in (0.0, 1.0, 2.0):
        settings = scheduled("ofa", {"kernel": {"distillation": weight}})
        learners = Class(Supernet(space), space, dataset, settings)
        learners._freeze_teacher()
        losses += values(lesson(learners, "kernel"), share(dataset))
    first, second = (b - a for a, b in pairwise(losses))
    assert first > 0
    assert second == pytest.approx(first, rel=1e-4)


def test_without_distillation_there_is_no_teacher(
    space: SearchSpace, dataset: ImageDataset
) -> None:
    learners = Class(Supernet(space), space, dataset, TrainingSettings(epochs=1))
    assert learners.teacher is None
    (sandwich,) = learners.lessons()
    assert len(values(sandwich, share(dataset))) == 3
    assert sandwich.n_reported == 1


def test_a_step_stays_on_the_device_of_its_images(
    space: SearchSpace, dataset: ImageDataset
) -> None:
    # Torch refuses operations on tensors of two devices, the one without memory included.
    learners = Class(Supernet(space), space, dataset, scheduled("ofa"))
    learners.to_empty(device="meta")
    parameters = [p for p in learners.parameters() if p.requires_grad]
    for found in learners.lessons():
        for loss in found.losses(share(dataset).on(torch.device("meta"))):
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            assert {g.device.type for g in gradients if g is not None} == {"meta"}
