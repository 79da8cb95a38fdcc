"""Training of one network: an extracted one a little further, or one alone from fresh weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgenas.core.architecture import Genes
from edgenas.lowering.torch import GraphModule, run_graph
from edgenas.oneshot.calibration import calibrate, calibration_of
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.data.batches import network_input
from edgenas.oneshot.epochs import Size
from edgenas.oneshot.gradients import Share
from edgenas.oneshot.inheritance import inherit, weights_digest
from edgenas.oneshot.optimisation import Lesson, OnStep, distillation_loss, train
from edgenas.oneshot.phases import Phase
from edgenas.oneshot.settings import TrainingSettings
from edgenas.oneshot.supernet import Supernet, extract
from edgenas.oneshot.training import check_fit, run_identity
from edgenas.spaces.base import SearchSpace


def finetune(  # noqa: PLR0913
    supernet: Supernet,
    space: SearchSpace,
    row: Genes,
    dataset: ImageDataset,
    settings: TrainingSettings,
    *,
    seed: int = 0,
    distil: bool = True,
    weights_id: str = "",
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
) -> GraphModule:
    """Return the network `row`, extracted, trained on and with measured batch norm statistics.

    The supernet stays as it is. Without epochs the network is only extracted and calibrated.
    Errors and resuming: see `edgenas.oneshot.optimisation.train`.

    Args:
        supernet: gives the weights to start from.
        space: of the supernet.
        row: genes of the architecture, shape (n_genes,).
        dataset: its train part is used.
        settings: of the training; `n_random_subnets` is not used.
        seed: of batches and augmentation.
        distil: average the loss of the labels with that of the largest network's opinion.
        weights_id: hash of the supernet's weights, so that a checkpoint of others is refused.
        checkpoint: see `train`.
        on_step: see `train`.
    """
    check_fit(space, dataset)
    module = extract(supernet, space, row)
    teacher = _teacher(supernet, space, dataset) if distil and settings.epochs else None
    more = f"{row.tolist()} {distil} {weights_id}"
    learner = Learner(module, dataset, settings, teacher)
    train(
        learner,
        dataset,
        settings,
        learner.lessons("finetune", settings),
        identity=run_identity(space, dataset, settings, seed=seed, more=more),
        seed=seed,
        checkpoint=checkpoint,
        on_step=on_step,
    )
    return calibrate(module, calibration_of(dataset))


def train_alone(  # noqa: PLR0913
    space: SearchSpace,
    row: Genes,
    dataset: ImageDataset,
    settings: TrainingSettings,
    *,
    seed: int = 0,
    start: GraphModule | None = None,
    until: int | None = None,
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
) -> GraphModule:
    """Return the network `row`, trained from fresh weights, with measured batch norm statistics.

    It learns from the labels, at its own resolution, with the recipe of a supernet's training:
    as many epochs as its phases have together, and the rate of the first one. The space needs no
    shared weights. Errors and resuming: see `edgenas.oneshot.optimisation.train`.

    Args:
        space: of the architecture.
        row: its genes, shape (n_genes,).
        dataset: its train part is used.
        settings: of a supernet's training or plain ones (see `TrainingSettings.alone`).
        seed: of the fresh weights, batches and augmentation.
        start: a trained network whose weights it begins with as far as it shares them.
        until: see `train`.
        checkpoint: see `train`.
        on_step: see `train`.
    """
    check_fit(space, dataset)
    identity = identity_alone(space, row, dataset, settings, seed=seed, start=start)
    settings = settings.alone(space)
    module = GraphModule(space.network(row), seed=seed)
    if start is not None:
        inherit(module, start)
    learner = Learner(module, dataset, settings)
    train(
        learner,
        dataset,
        settings,
        learner.lessons("alone", settings),
        identity=identity,
        seed=seed,
        until=until,
        checkpoint=checkpoint,
        on_step=on_step,
    )
    return calibrate(module, calibration_of(dataset))


def identity_alone(  # noqa: PLR0913
    space: SearchSpace,
    row: Genes,
    dataset: ImageDataset,
    settings: TrainingSettings,
    *,
    seed: int = 0,
    start: GraphModule | None = None,
) -> str:
    """Return the hash of all that decides what `train_alone` gives; arguments as there."""
    more = f"{row.tolist()} alone"
    if start is not None:
        more += f" {weights_digest(start)}"
    return run_identity(space, dataset, settings.alone(space), seed=seed, more=more)


class Learner(nn.Module):
    """One network and, if it has one, the frozen teacher from which it learns beside the labels."""

    def __init__(
        self,
        module: GraphModule,
        dataset: ImageDataset,
        settings: TrainingSettings,
        teacher: GraphModule | None = None,
    ) -> None:
        super().__init__()
        self.module, self.dataset = module, dataset
        self.label_smoothing = settings.label_smoothing
        self.teacher = teacher.requires_grad_(False) if teacher is not None else None

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the network; the teacher always uses its own statistics."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def lessons(self, name: str, settings: TrainingSettings) -> list[Lesson]:
        """Return the one phase in which the network learns."""
        if not settings.epochs:
            return []
        phase = Phase(name=name, epochs=settings.epochs, lr=settings.lr, rule="largest")
        return [Lesson(phase, self.losses, self.size)]

    def size(self, rng: np.random.Generator) -> Size:
        """Return height and width of the network's input, the same in all steps."""
        del rng
        _, height, width = self.module.graph.in_shape
        return height, width

    def losses(self, share: Share) -> Iterator[Tensor]:
        """Yield the one loss."""
        mean, std = self.dataset.mean, self.dataset.std
        inputs = network_input(share.images, mean, std, share.size)
        # Without running statistics: threads would change them at once; they are measured later.
        parameters = dict(self.module.named_parameters())
        logits = run_graph(self.module.graph, parameters, inputs, training=True)
        smoothing = self.label_smoothing
        loss = functional.cross_entropy(logits, share.labels, label_smoothing=smoothing)
        if self.teacher is not None:
            _, height, width = self.teacher.graph.in_shape
            with torch.no_grad():
                opinion = self.teacher(network_input(share.images, mean, std, (height, width)))
            loss = (loss + distillation_loss(logits, opinion)) / 2
        yield loss


def _teacher(supernet: Supernet, space: SearchSpace, dataset: ImageDataset) -> GraphModule:
    module = extract(supernet, space, space.largest())
    return calibrate(module, calibration_of(dataset))
