"""Short further training of one extracted network, with the supernet's largest as its teacher."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgenas.core.architecture import Genes
from edgenas.lowering.torch import GraphModule, run_graph
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.data.batches import network_input
from edgenas.oneshot.evaluate import calibration_images, network_inputs, recalibrate
from edgenas.oneshot.optimisation import OnStep, distillation_loss, train
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
    parameters = dict(module.named_parameters())
    size = space.input_shape(row)[1:]
    teacher = _teacher(supernet, space, dataset) if distil and settings.epochs else None

    def step_losses(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Iterator[Tensor]:
        del rng  # nothing but the batches is random here
        inputs = network_input(images, dataset.mean, dataset.std, (size[0], size[1]))
        # Without running statistics: threads would change them at once; they are measured below.
        logits = run_graph(module.graph, parameters, inputs, training=True)
        loss = functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        if teacher is not None:
            _, height, width = teacher.graph.in_shape
            with torch.no_grad():
                seen = network_input(images, dataset.mean, dataset.std, (height, width))
                opinion = teacher(seen)
            loss = (loss + distillation_loss(logits, opinion)) / 2
        yield loss

    more = f"{row.tolist()} {distil} {weights_id}"
    train(
        module,
        dataset,
        settings,
        step_losses,
        identity=run_identity(space, dataset, settings, seed=seed, more=more),
        seed=seed,
        checkpoint=checkpoint,
        on_step=on_step,
    )
    return recalibrate(module, network_inputs(module, dataset, calibration_images(dataset)))


def _teacher(supernet: Supernet, space: SearchSpace, dataset: ImageDataset) -> GraphModule:
    module = extract(supernet, space, space.largest())
    return recalibrate(module, network_inputs(module, dataset, calibration_images(dataset)))
