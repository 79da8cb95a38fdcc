"""What is learned in each phase of a supernet's training: the losses of one share of a batch.

Sandwich: Yu et al. 2020 (BigNAS), arXiv:2003.11142, section 3.1: in every step the largest network
learns from the labels, the smallest and a few random ones from what the largest says.
Random networks that learn from the labels and a frozen full network: Cai et al. 2020
(Once-for-All), arXiv:1908.09791, section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgenas.lowering.torch import GraphModule, run_graph
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.data.batches import network_input
from edgenas.oneshot.gradients import Share
from edgenas.oneshot.optimisation import Lesson, distillation_loss
from edgenas.oneshot.phases import OpenPart, Phase, phases_of
from edgenas.oneshot.settings import TrainingSettings
from edgenas.oneshot.sorting import sort_channels
from edgenas.oneshot.supernet import Supernet, extract
from edgenas.spaces.base import SearchSpace


class Class(nn.Module):
    """A supernet and the frozen full network that teaches it, if some phase has one.

    Both are kept in a checkpoint, so that a run goes on with the same teacher.
    """

    def __init__(
        self,
        supernet: Supernet,
        space: SearchSpace,
        dataset: ImageDataset,
        settings: TrainingSettings,
    ) -> None:
        super().__init__()
        self.supernet, self.space, self.dataset = supernet, space, dataset
        self.label_smoothing = settings.label_smoothing
        self.phases = phases_of(space, settings.plan())
        self.teacher: GraphModule | None = None
        if any(phase.distillation for phase in self.phases):
            self.teacher = GraphModule(space.network(space.largest())).requires_grad_(False)

    def lessons(self) -> list[Lesson]:
        """Return the phases that the space has something for, ready to be carried out."""
        taught = [phase for phase in self.phases if phase.distillation]
        return [self._lesson(phase, teacher_begins=phase in taught[:1]) for phase in self.phases]

    def _lesson(self, phase: Phase, *, teacher_begins: bool) -> Lesson:
        part = OpenPart(self.space, phase)
        losses = {
            "largest": partial(self._largest, part),
            "random": partial(self._random, part, phase),
            "sandwich": partial(self._sandwich, part, phase.n_subnets),
        }[phase.rule]

        n_reported = phase.n_subnets if phase.rule == "random" else 1
        prepare = partial(self._prepare, phase.sort_stage, teacher_begins)
        return Lesson(phase, losses, part.sample_size, n_reported, prepare)

    def _prepare(self, sort_stage: int | None, teacher_begins: bool) -> None:
        if teacher_begins:
            self._freeze_teacher()
        if sort_stage is not None:
            sort_channels(self.supernet, stage=sort_stage)

    def _freeze_teacher(self) -> None:
        if self.teacher is not None:
            module = extract(self.supernet, self.space, self.space.largest())
            self.teacher.load_state_dict(module.state_dict())

    # -- losses ----------------------------------------------------------------------------

    def _largest(self, part: OpenPart, share: Share) -> Iterator[Tensor]:
        yield self._of_labels(self._logits(part, part.largest(), self._inputs(share)), share)

    def _sandwich(self, part: OpenPart, n_subnets: int, share: Share) -> Iterator[Tensor]:
        inputs = self._inputs(share)
        logits = self._logits(part, part.largest(), inputs)
        yield self._of_labels(logits, share)
        teacher = logits.detach()
        rows = part.sample(n_subnets, np.random.default_rng(share.seed))
        for row in (part.smallest(), *rows):
            yield distillation_loss(self._logits(part, row, inputs), teacher)

    def _random(self, part: OpenPart, phase: Phase, share: Share) -> Iterator[Tensor]:
        inputs = self._inputs(share)
        opinion = None
        if self.teacher is not None and phase.distillation:
            with torch.no_grad():
                # With the batch's own statistics: it has any of the sizes, and so many statistics.
                weights = dict(self.teacher.named_parameters())
                opinion = run_graph(self.teacher.graph, weights, inputs, training=True)
        for row in part.sample(phase.n_subnets, np.random.default_rng(share.seed)):
            logits = self._logits(part, row, inputs)
            loss = self._of_labels(logits, share)
            if opinion is not None:
                loss = loss + phase.distillation * distillation_loss(logits, opinion)
            yield loss

    def _inputs(self, share: Share) -> Tensor:
        return network_input(share.images, self.dataset.mean, self.dataset.std, share.size)

    def _logits(self, part: OpenPart, row: np.ndarray, inputs: Tensor) -> Tensor:
        logits: Tensor = self.supernet(inputs, part.space.ops(row))
        return logits

    def _of_labels(self, logits: Tensor, share: Share) -> Tensor:
        smoothing = self.label_smoothing
        return functional.cross_entropy(logits, share.labels, label_smoothing=smoothing)
