"""One training run's machinery: phases, learning rates, optimiser, loop with checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgenas.core.errors import DivergedError
from edgenas.oneshot.checkpoint import Checkpoint, Saved, read_checkpoint, save_checkpoint
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.epochs import Epoch, Size, n_steps_of
from edgenas.oneshot.gradients import StepLosses, set_gradients
from edgenas.oneshot.phases import Phase
from edgenas.oneshot.processes import Processes, launch
from edgenas.oneshot.settings import TrainingSettings
from edgenas.oneshot.workers import worker_threads


@dataclass(frozen=True, slots=True)
class StepReport:
    """Progress after one optimisation step; counts start at 1.

    Attributes:
        phase: its name.
        epoch: of the phase, which has `n_epochs`.
        step: of the epoch, which has `n_steps`.
        done: steps of all phases so far, of `total`.
        loss: mean over the batch.
        lr: the rate of the step.
        step_s: seconds that it took.
    """

    phase: str
    epoch: int
    n_epochs: int
    step: int
    n_steps: int
    done: int
    total: int
    loss: float
    lr: float
    step_s: float


OnStep = Callable[[StepReport], None]


def _nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A phase as it is carried out.

    Attributes:
        phase: how long and how fast.
        losses: what is lessened.
        sample_size: draws the size of a step's input.
        n_reported: how many of the losses, from the first, make the one that is told.
        prepare: called once, before the first step of the phase; may change the weights.
    """

    phase: Phase
    losses: StepLosses
    sample_size: Callable[[np.random.Generator], Size]
    n_reported: int = 1
    prepare: Callable[[], None] = _nothing


def optimiser(module: nn.Module, settings: TrainingSettings) -> torch.optim.SGD:
    """Return SGD with Nesterov momentum; only kernels and linear weights decay."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        kernel = name.endswith(".weight") and parameter.ndim > 1
        if parameter.requires_grad:
            (decayed if kernel else free).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=True)


def learning_rate(peak: float, warmup_fraction: float, step: int, n_steps: int) -> float:
    """Return the rate of step `step` (from 0): linear warm-up, then a cosine to zero."""
    n_warmup = warmup_fraction * n_steps
    if step < n_warmup:
        return peak * (step + 1) / (n_warmup + 1)
    progress = (step - n_warmup) / max(1.0, n_steps - n_warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def distillation_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the cross entropy with the teacher's probabilities (Hinton et al. 2015)."""
    return functional.cross_entropy(logits, teacher_logits.softmax(1))


def train(  # noqa: PLR0913
    module: nn.Module,
    dataset: ImageDataset,
    settings: TrainingSettings,
    lessons: Sequence[Lesson],
    *,
    identity: str,
    seed: int,
    until: int | None = None,
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
) -> list[float]:
    """Train `module` in place, phase after phase, and return the mean loss of every epoch.

    A batch is shared out to the processes, and in each to the threads; batch norms see one share
    each. Each phase has an optimiser of its own. New processes get copies by pickle.

    All that is random in a step is drawn from the seed and the step's place, so a run that
    continues from its checkpoint gives, with as many threads, the very same weights.

    Args:
        module: what is trained; parameters without `requires_grad` are only kept with the rest.
        dataset: its train part is used.
        settings: see `TrainingSettings`.
        lessons: the phases.
        identity: hash of all that decides the result; a checkpoint of another is refused.
        seed: of batches, augmentation, input sizes and whatever the losses draw.
        until: leave off after that many epochs, counted over all phases, as if interrupted: the
            rates are those of the whole, and the checkpoint is gone on from later.
        checkpoint: written after each epoch, and within long ones, and continued from; None
            keeps nothing.
        on_step: called after every step.

    Raises:
        DivergedError: the loss is not finite.
        StorageError: the checkpoint is of another run or cannot be read or written.
    """
    args = (dataset, settings, list(lessons), identity, seed, until, checkpoint)
    return launch(_train, module, settings, on_step, *args)


def _train(  # noqa: PLR0913
    processes: Processes,
    module: nn.Module,
    on_step: OnStep | None,
    dataset: ImageDataset,
    settings: TrainingSettings,
    lessons: list[Lesson],
    identity: str,
    seed: int,
    until: int | None,
    checkpoint: Path | None,
) -> list[float]:
    """Train in this process, one of `processes`."""
    saved = None
    if checkpoint is not None and checkpoint.exists():
        saved = read_checkpoint(checkpoint, identity)
        saved.restore(module)
    state = saved.state if saved else Checkpoint(identity, 0, 0, 0, 0.0, [])
    module.train()
    with worker_threads(processes.n_threads) as workers:
        run = _Run(
            processes, module, dataset, settings, lessons, seed, until, checkpoint, on_step, workers
        )
        while state.phase < len(lessons) and not run.is_time_to_leave(state):
            state = run.phase(state, saved)
            saved = None
    return state.losses


class _Run:
    """What does not change between the phases of one call of `train`."""

    def __init__(  # noqa: PLR0913
        self,
        processes: Processes,
        module: nn.Module,
        dataset: ImageDataset,
        settings: TrainingSettings,
        lessons: Sequence[Lesson],
        seed: int,
        until: int | None,
        path: Path | None,
        on_step: OnStep | None,
        workers: Executor,
    ) -> None:
        self.processes = processes
        self.module, self.dataset, self.settings = module, dataset, settings
        self.lessons, self.seed, self.until, self.path = lessons, seed, until, path
        self.on_step, self.workers = on_step, workers
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.n_steps = [n_steps_of(dataset, self._batch_size(lesson)) for lesson in lessons]
        self.kept_at_s = time.monotonic()

    def phase(self, state: Checkpoint, saved: Saved | None) -> Checkpoint:
        """Carry out the phase in which `state` stands, or the rest of it."""
        lesson = self.lessons[state.phase]
        optimiser_ = optimiser(self.module, self.settings)
        if (state.epoch, state.step) == (0, 0):  # momenta in the file are of the phase before
            lesson.prepare()
        elif saved is not None:
            saved.restore_momenta(self.module, optimiser_)
        phase = state.phase
        while state.phase == phase and not self.is_time_to_leave(state):
            state = self._epoch(state, lesson, optimiser_)
        return state

    def is_time_to_leave(self, state: Checkpoint) -> bool:
        """Return whether all epochs that were asked for are done."""
        return self.until is not None and len(state.losses) >= self.until

    def _epoch(
        self, state: Checkpoint, lesson: Lesson, optimiser_: torch.optim.Optimizer
    ) -> Checkpoint:
        n_steps, start = self.n_steps[state.phase], time.perf_counter()
        epoch = Epoch(
            self.dataset,
            seed=(self.seed, state.phase, state.epoch),
            batch_size=self._batch_size(lesson),
            n_shares=self.processes.n_threads,
            augment=self.settings.augment,
            sample_size=lesson.sample_size,
            n_processes=self.processes.n,
            rank=self.processes.rank,
        )
        loss_sum = state.loss_sum
        for i, shares in epoch.steps(state.step):
            rate = self._set_rate(optimiser_, lesson.phase, state, i)
            loss = set_gradients(
                self.parameters,
                lesson.losses,
                shares,
                n_reported=lesson.n_reported,
                workers=self.workers,
                processes=self.processes,
                n_images=epoch.batch_size,
            )
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} in phase {lesson.phase.name}, epoch {state.epoch + 1}, "
                    f"step {i + 1}; lower the learning rate (it is {lesson.phase.lr}) and run again"
                )
            if self.settings.max_gradient_norm is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.settings.max_gradient_norm)
            optimiser_.step()
            loss_sum += loss
            if self.on_step is not None:
                elapsed_s, start = time.perf_counter() - start, time.perf_counter()
                self.on_step(self._report(state, i, loss, rate, elapsed_s))
            if i + 1 < n_steps and self._is_time_to_save():
                self._save(replace(state, step=i + 1, loss_sum=loss_sum), optimiser_)
        state = self._after_epoch(state, loss_sum / n_steps)
        self._save(state, optimiser_)
        return state

    def _batch_size(self, lesson: Lesson) -> int:
        """Return the images of a step, over all processes."""
        return (lesson.phase.batch_size or self.settings.batch_size) * self.processes.n

    def _set_rate(
        self, optimiser_: torch.optim.Optimizer, phase: Phase, state: Checkpoint, step: int
    ) -> float:
        n_steps, warmup = self.n_steps[state.phase], phase.warmup_fraction
        warmup = self.settings.warmup_fraction if warmup is None else warmup
        # The batch is as many times as large: Goyal et al. 2017, arXiv:1706.02677, section 2.1.
        peak = phase.lr * self.processes.n
        rate = learning_rate(peak, warmup, state.epoch * n_steps + step, phase.epochs * n_steps)
        for group in optimiser_.param_groups:
            group["lr"] = rate
        return rate

    def _report(
        self, state: Checkpoint, step: int, loss: float, rate: float, elapsed_s: float
    ) -> StepReport:
        lengths = [
            lesson.phase.epochs * n for lesson, n in zip(self.lessons, self.n_steps, strict=True)
        ]
        phase, n_steps = self.lessons[state.phase].phase, self.n_steps[state.phase]
        before = sum(lengths[: state.phase]) + state.epoch * n_steps
        return StepReport(
            phase=phase.name,
            epoch=state.epoch + 1,
            n_epochs=phase.epochs,
            step=step + 1,
            n_steps=n_steps,
            done=before + step + 1,
            total=sum(lengths),
            loss=loss,
            lr=rate,
            step_s=elapsed_s,
        )

    def _after_epoch(self, state: Checkpoint, loss: float) -> Checkpoint:
        losses = [*state.losses, loss]
        if state.epoch + 1 < self.lessons[state.phase].phase.epochs:
            return Checkpoint(state.identity, state.phase, state.epoch + 1, 0, 0.0, losses)
        return Checkpoint(state.identity, state.phase + 1, 0, 0, 0.0, losses)

    def _is_time_to_save(self) -> bool:
        return time.monotonic() - self.kept_at_s >= 60 * self.settings.checkpoint_minutes

    def _save(self, state: Checkpoint, optimiser_: torch.optim.Optimizer) -> None:
        self.kept_at_s = time.monotonic()
        if self.path is not None and self.processes.rank == 0:
            save_checkpoint(self.path, self.module, optimiser_, state)
