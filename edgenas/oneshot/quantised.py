"""Quantisation-aware training: a trained network learns on while it rounds as its file will.

Its batch norms are folded before: what is rounded is what is written. Beside the labels it learns
from the network that it was, whose logits it should keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from edgenas.lowering.quantisation import Ranges
from edgenas.lowering.torch import GraphModule, channels_last, folded
from edgenas.lowering.torch_quantised import run_quantised
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.data.batches import network_input
from edgenas.oneshot.finetune import Learner
from edgenas.oneshot.gradients import Share
from edgenas.oneshot.inheritance import weights_digest
from edgenas.oneshot.optimisation import OnStep, distillation_loss, train
from edgenas.oneshot.settings import TrainingSettings
from edgenas.oneshot.training import run_identity
from edgenas.spaces.base import SearchSpace


def train_quantised(  # noqa: PLR0913
    module: GraphModule,
    space: SearchSpace,
    dataset: ImageDataset,
    settings: TrainingSettings,
    *,
    ranges: Ranges | None,
    seed: int = 0,
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
) -> GraphModule:
    """Return the network without batch norms, trained on to bear 8 bits; `module` stays.

    Errors and resuming: see `edgenas.oneshot.optimisation.train`.

    Args:
        module: a trained network.
        space: that it is of.
        dataset: its train part is used.
        settings: of the training; one epoch at least.
        ranges: of all values, as calibration found them; None for 8-bit weights alone.
        seed: of batches and augmentation.
        checkpoint: see `train`.
        on_step: see `train`.
    """
    learned = folded(module)
    for node in module.graph.nodes:
        if node.op.kind == "zeros":  # written as a convolution, which is to stay one with zeros
            learned.get_submodule(node.name).requires_grad_(False)
    learner = _QuantisedLearner(learned, dataset, settings, folded(module), ranges)
    more = f"quantised {weights_digest(module)} {sorted((ranges or {}).items())}"
    train(
        learner,
        dataset,
        settings,
        learner.lessons("quantised", settings),
        identity=run_identity(space, dataset, settings, seed=seed, more=more),
        seed=seed,
        checkpoint=checkpoint,
        on_step=on_step,
    )
    return learner.module.eval()


class _QuantisedLearner(Learner):
    """A network that rounds, and the same one that does not."""

    teacher: GraphModule

    def __init__(
        self,
        module: GraphModule,
        dataset: ImageDataset,
        settings: TrainingSettings,
        teacher: GraphModule,
        ranges: Ranges | None,
    ) -> None:
        super().__init__(module, dataset, settings, teacher)
        self.ranges = ranges

    def losses(self, share: Share) -> Iterator[Tensor]:
        """Yield the one loss."""
        mean, std = self.dataset.mean, self.dataset.std
        inputs = channels_last(network_input(share.images, mean, std, share.size))
        tensors = self.module.tensors()
        logits = run_quantised(self.module.graph, tensors, inputs, self.ranges)
        with torch.no_grad():
            opinion = self.teacher(inputs)
        smoothing = self.label_smoothing
        loss = functional.cross_entropy(logits, share.labels, label_smoothing=smoothing)
        yield (loss + distillation_loss(logits, opinion)) / 2
