"""One training run's machinery: batches, learning rates, optimiser, loop with checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgenas.core.errors import DataError, TrainingError
from edgenas.oneshot.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.data.batches import augment
from edgenas.oneshot.settings import TrainingSettings
from edgenas.oneshot.workers import worker_threads


@dataclass(frozen=True, slots=True)
class StepReport:
    """Progress after one optimisation step; counts start at 1."""

    epoch: int
    step: int
    n_epochs: int
    n_steps: int
    loss: float
    lr: float
    step_s: float


OnStep = Callable[[StepReport], None]
StepLosses = Callable[[Tensor, Tensor, np.random.Generator], Iterable[Tensor]]
"""Images (uint8), labels and random numbers to the losses whose sum is lessened, one by one.

The first is the one that is reported. It is called for each share of a batch, maybe at the same
time, with the same random numbers, and must change nothing.
"""


def optimiser(module: nn.Module, settings: TrainingSettings) -> torch.optim.SGD:
    """Return SGD with Nesterov momentum; only kernels and linear weights decay."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        kernel = name.endswith(".weight") and parameter.ndim > 1
        (decayed if kernel else free).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=True)


def learning_rate(settings: TrainingSettings, step: int, n_steps: int) -> float:
    """Return the rate of step `step` (from 0): linear warm-up, then a cosine to zero."""
    n_warmup = settings.warmup_fraction * n_steps
    if step < n_warmup:
        return settings.lr * (step + 1) / (n_warmup + 1)
    progress = (step - n_warmup) / max(1.0, n_steps - n_warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))


def distillation_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the cross entropy with the teacher's probabilities (Hinton et al. 2015)."""
    return functional.cross_entropy(logits, teacher_logits.softmax(1))


def train(  # noqa: PLR0913
    module: nn.Module,
    dataset: ImageDataset,
    settings: TrainingSettings,
    step_losses: StepLosses,
    *,
    identity: str,
    seed: int,
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
) -> list[float]:
    """Train `module` in place and return the mean loss of every epoch.

    A batch is shared out to the threads; batch norms see one share each.

    All that is random in an epoch is drawn from the seed and the epoch's number, so a run that
    continues from its checkpoint gives, with as many threads, the very same weights.

    Args:
        module: what is trained.
        dataset: its train part is used.
        settings: see `TrainingSettings`.
        step_losses: computes the losses of one share of a batch.
        identity: hash of all that decides the result; a checkpoint of another is refused.
        seed: of batches, augmentation and whatever `step_losses` draws.
        checkpoint: written after each epoch and continued from; None keeps nothing.
        on_step: called after every step.

    Raises:
        TrainingError: the loss is not finite.
        StorageError: the checkpoint is of another run or cannot be read or written.
    """
    optimiser_ = optimiser(module, settings)
    state = Checkpoint(identity, 0, [])
    if checkpoint is not None and checkpoint.exists():
        state = load_checkpoint(checkpoint, module, optimiser_, identity)
    module.train()
    parameters = list(module.parameters())
    steps_an_epoch = _n_batches(len(dataset.train), settings.batch_size)
    with worker_threads(settings.threads) as workers:
        compute = partial(_set_gradients, parameters, step_losses, workers, settings.threads)
        for epoch in range(state.n_epochs_done, settings.epochs):
            rng = np.random.default_rng([seed, epoch])
            losses: list[float] = []
            start = time.perf_counter()
            for i, (images, labels) in enumerate(_batches(dataset, settings, rng)):
                step = epoch * steps_an_epoch + i
                rate = learning_rate(settings, step, settings.epochs * steps_an_epoch)
                for group in optimiser_.param_groups:
                    group["lr"] = rate
                losses.append(compute(images, labels, rng))
                if not math.isfinite(losses[-1]):
                    raise TrainingError(
                        f"the loss is {losses[-1]} in epoch {epoch + 1}, step {i + 1}; "
                        f"lower the learning rate (it is {settings.lr}) and run again"
                    )
                nn.utils.clip_grad_norm_(parameters, settings.max_gradient_norm)
                optimiser_.step()
                if on_step is not None:
                    elapsed_s, start = time.perf_counter() - start, time.perf_counter()
                    counts = (epoch + 1, i + 1, settings.epochs, steps_an_epoch)
                    on_step(StepReport(*counts, losses[-1], rate, elapsed_s))
            state = Checkpoint(identity, epoch + 1, [*state.losses, float(np.mean(losses))])
            if checkpoint is not None:
                save_checkpoint(checkpoint, module, optimiser_, state)
    return state.losses


def _set_gradients(  # noqa: PLR0913
    parameters: list[nn.Parameter],
    step_losses: StepLosses,
    workers: Executor,
    n_workers: int,
    images: Tensor,
    labels: Tensor,
    rng: np.random.Generator,
) -> float:
    """Give every parameter its mean gradient over the batch; return the mean loss."""
    n_shares = max(1, min(n_workers, len(labels) // 2))  # a batch norm needs two images
    batches = zip(images.tensor_split(n_shares), labels.tensor_split(n_shares), strict=True)
    compute = partial(_share_gradients, parameters, step_losses, int(rng.integers(2**62)))
    shares = list(workers.map(compute, batches))
    for i, parameter in enumerate(parameters):
        parameter.grad = None
        for share in shares:
            gradient = share.gradients[i]
            if gradient is not None:
                weighted = gradient * (share.n_images / len(labels))
                parameter.grad = _sum(parameter.grad, weighted)
    return sum(share.loss * share.n_images for share in shares) / len(labels)


@dataclass(frozen=True, slots=True)
class _Share:
    """What one share of a batch says: its loss and the gradient of every parameter."""

    n_images: int
    loss: float
    gradients: list[Tensor | None]


def _share_gradients(
    parameters: list[nn.Parameter],
    step_losses: StepLosses,
    seed: int,
    batch: tuple[Tensor, Tensor],
) -> _Share:
    images, labels = batch
    total: list[Tensor | None] = [None] * len(parameters)
    reported = math.nan
    for i, loss in enumerate(step_losses(images, labels, np.random.default_rng(seed))):
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        total = [_sum(old, new) for old, new in zip(total, found, strict=True)]
        reported = float(loss.detach()) if i == 0 else reported
    return _Share(len(labels), reported, total)


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _n_batches(n_images: int, batch_size: int) -> int:
    if n_images < 2:
        raise DataError(f"{n_images} training images; batch norms need at least 2")
    return max(1, n_images // batch_size)


def _batches(
    dataset: ImageDataset, settings: TrainingSettings, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield augmented images (uint8) and labels, in the random order of one epoch."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    order = rng.permutation(len(dataset.train))
    size = min(settings.batch_size, len(order))
    for i in range(_n_batches(len(order), settings.batch_size)):
        index = order[i * size : (i + 1) * size]
        images = torch.from_numpy(dataset.train.images[index])
        if settings.augment:
            images = augment(images, dataset.augmentation, generator)
        yield images, torch.from_numpy(dataset.train.labels[index])
