"""The loop of a differentiable search: weights and logits learn in turn, each from its images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from edgenas.core.errors import DivergedError
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.epochs import Epoch, n_steps_of
from edgenas.oneshot.gradients import Share, StepLosses, set_gradients
from edgenas.oneshot.mixed.bilevel import look_ahead
from edgenas.oneshot.mixed.checkpoint import Position, load_state, save_state
from edgenas.oneshot.mixed.lessons import Cost, MixedLessons, Moment
from edgenas.oneshot.mixed.network import How, MixedNetwork
from edgenas.oneshot.mixed.relaxations import Draw
from edgenas.oneshot.mixed.settings import DifferentiableSettings
from edgenas.oneshot.mixed.state import Searching
from edgenas.oneshot.mixed.watch import EpochReport, Weightless, unflatten
from edgenas.oneshot.optimisation import OnStep, StepReport, learning_rate, optimiser
from edgenas.oneshot.processes import Processes, launch
from edgenas.oneshot.workers import worker_threads
from edgenas.spaces.base import SearchSpace

_WEIGHTS, _LOGITS = 0, 1
"""Streams of random numbers: of batches from which weights learn, and logits."""

OnEpoch = Callable[[EpochReport], None]


def search(  # noqa: PLR0913
    searching: Searching,
    space: SearchSpace,
    dataset: ImageDataset,
    settings: DifferentiableSettings,
    *,
    costs: Mapping[str, Cost],
    identity: str,
    seed: int,
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
) -> list[EpochReport]:
    """Search in place: afterwards `searching` has the weights and the logits.

    Where there are several distributions, step i is of distribution i modulo their number.

    All that is random in a step is drawn from the seed and the step's place, so that a search that
    goes on from its checkpoint ends, with as many threads, in the very same state.

    Args:
        searching: state at the beginning.
        space: whose choices learn.
        dataset: its train part is used, divided as the settings say.
        settings: of the search.
        costs: what the loss reads, by name: expected, or measured for rewards.
        identity: hash of all that decides the result; a checkpoint of another is refused.
        seed: of batches, augmentation and draws.
        checkpoint: written after each epoch, and within long ones; None keeps nothing.
        on_step: called after every step of the weights.

    Returns:
        What there is to tell of every epoch, distribution by distribution.

    Raises:
        DivergedError: a loss is not finite.
        SpaceError: the choices of the space cannot be mixed.
        StorageError: the checkpoint is of another run or cannot be read or written.
    """
    args = (space, dataset, settings, dict(costs), identity, seed, checkpoint)
    numbers = launch(_search, searching, settings.training, on_step, *args)
    return unflatten(numbers, list(costs))


def _search(  # noqa: PLR0913
    processes: Processes,
    searching: nn.Module,
    on_step: OnStep | None,
    space: SearchSpace,
    dataset: ImageDataset,
    settings: DifferentiableSettings,
    costs: Mapping[str, Cost],
    identity: str,
    seed: int,
    checkpoint: Path | None,
) -> list[float]:
    assert isinstance(searching, Searching)  # noqa: S101  # for mypy
    for one in searching.distributions:
        one.cpu()  # a few numbers: draws, tables and probabilities stay there, images do not
    network = MixedNetwork(searching.supernet, space)
    lessons = MixedLessons(network, dataset, settings, costs=costs)
    with worker_threads(processes.n_threads) as workers:
        run = _Run(processes, searching, lessons, dataset, settings, seed, workers, on_step)
        position = Position(identity)
        if checkpoint is not None and checkpoint.exists():
            position = load_state(checkpoint, identity, searching, run.optimisers)
        searching.train()
        while position.epoch < settings.training.epochs:
            position = run.epoch(position, checkpoint)
    return position.history


class _Run:
    """What does not change between the epochs of one search."""

    def __init__(  # noqa: PLR0913
        self,
        processes: Processes,
        searching: Searching,
        lessons: MixedLessons,
        dataset: ImageDataset,
        settings: DifferentiableSettings,
        seed: int,
        workers: Executor,
        on_step: OnStep | None,
    ) -> None:
        self.processes, self.lessons, self.workers = processes, lessons, workers
        self.settings, self.seed, self.on_step = settings, seed, on_step
        self.searching = searching
        self.weights = list(searching.supernet.parameters())
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "weights": optimiser(searching.supernet, settings.training)
        }
        first, second = settings.logits_betas
        for i, one in enumerate(searching.distributions):
            self.optimisers[f"logits{i}"] = torch.optim.Adam(
                one.logits.parameters(),
                lr=settings.logits_lr,
                betas=(first, second),
                weight_decay=settings.logits_weight_decay,
            )
        self.for_weights, self.for_logits = dataset, dataset
        if settings.logits_share:
            self.for_weights, self.for_logits = dataset.divided(settings.logits_share)
        self.batch_size = settings.training.batch_size * processes.n
        self.n_steps = n_steps_of(self.for_weights, self.batch_size)
        self.n_searching = settings.search_epochs * self.n_steps
        self.weightless = Weightless(lessons.space)
        shape = lessons.space.input_shape(lessons.space.largest())
        self.size = (shape[1], shape[2])
        self.kept_at_s = time.monotonic()

    def epoch(self, position: Position, checkpoint: Path | None) -> Position:
        """Return where the search stands after one more epoch, or the rest of it."""
        start = time.perf_counter()
        batches = self._epoch_of(self.for_weights, _WEIGHTS, position.epoch)
        others = self._logit_batches()
        for i, shares in batches.steps(position.step):
            progress = self._progress(position.epoch, i)
            rate = self._set_rate(position.epoch, i)
            logits_loss: float | None = None
            turn = position.epoch * self.n_steps + i
            if progress >= 0 and i % self.settings.logits_every == 0:
                which = turn // self.settings.logits_every % len(self.searching.distributions)
                self._enter_stage(which, progress)
                moment = self._moment(which, progress)
                logits_loss = self._logits_step(which, next(others), shares, moment, rate)
            moment = self._moment(turn % len(self.searching.distributions), max(0.0, progress))
            loss = self._weights_step(shares, moment)
            self._check_finite(loss, logits_loss, position.epoch, i)
            position = position.after_step(loss, logits_loss)
            if self.on_step is not None:
                elapsed_s, start = time.perf_counter() - start, time.perf_counter()
                self.on_step(self._report(position.epoch, i, loss, rate, elapsed_s))
            if i + 1 < self.n_steps and self._is_time_to_save():
                self._save(position, checkpoint)
        position = position.after_epoch(self._told(position))
        self._save(position, checkpoint)
        return position

    def _check_finite(self, loss: float, logits_loss: float | None, epoch: int, step: int) -> None:
        sound = all(math.isfinite(value) for value in (loss, logits_loss or 0.0))
        if logits_loss is not None:  # what is told is not all that they learn from
            parameters = [
                p for one in self.searching.distributions for p in one.logits.parameters()
            ]
            sound = sound and all(bool(torch.isfinite(p).all()) for p in parameters)
        if not sound:
            raise DivergedError(
                f"the loss of the weights is {loss}, that of the logits {logits_loss} in epoch "
                f"{epoch + 1}, step {step + 1} of {self.settings.method}, or the logits are not "
                f"finite; lower the learning rate (it is {self.settings.training.lr}) and run again"
            )

    # -- steps -----------------------------------------------------------------------------

    def _weights_step(self, shares: Sequence[Share], moment: Moment) -> float:
        losses = partial(self.lessons.for_weights, moment)
        loss = self._gradients(self.weights, losses, shares, len(self.for_weights.train))
        self._clip(self.weights)
        self.optimisers["weights"].step()
        return loss

    def _logits_step(
        self,
        which: int,
        shares: Sequence[Share],
        training: Sequence[Share],
        moment: Moment,
        rate: float,
    ) -> float:
        lessons, one = self.lessons, self.searching.distributions[which]
        before = {c: v.detach().clone() for c, v in one.logits.all().items()}
        if self.settings.order == 2:
            loss = self._second_order(shares, training, moment, rate)
        else:
            losses = partial(lessons.for_logits, moment)
            n_images = len(self.for_logits.train)
            loss = self._gradients(list(one.logits.parameters()), losses, shares, n_images)
        self.optimisers[f"logits{which}"].step()
        draw = Draw(moment.temperature, shares[0].seed)
        lessons.relaxation.after(one.logits, before, draw)
        told = loss if lessons.relaxation.is_gradient else -loss
        one.after_step(told, self.settings.baseline_momentum)
        if one.multipliers is not None:
            one.multipliers.step(lessons.expected(one.logits.probabilities()))
        return loss

    def _second_order(
        self, shares: Sequence[Share], training: Sequence[Share], moment: Moment, rate: float
    ) -> float:
        told: list[float] = []
        logits = list(moment.distribution.logits.parameters())

        def of(
            which: Callable[[Moment, Share], Iterator[Tensor]],
            batch: Sequence[Share],
            n_images: int,
            parameters: Sequence[nn.Parameter],
        ) -> list[Tensor | None]:
            told.append(self._gradients(parameters, partial(which, moment), batch, n_images))
            return [None if p.grad is None else p.grad.clone() for p in parameters]

        found = look_ahead(
            self.weights,
            logits,
            training=partial(
                of, self.lessons.for_weights_open, training, len(self.for_weights.train)
            ),
            validation=partial(of, self.lessons.for_logits, shares, len(self.for_logits.train)),
            lr=rate,
        )
        for parameter, gradient in zip(logits, found, strict=True):
            parameter.grad = gradient
        return told[1]

    def _gradients(
        self,
        parameters: Sequence[nn.Parameter],
        losses: StepLosses,
        shares: Sequence[Share],
        n_images: int,
    ) -> float:
        return set_gradients(
            parameters,
            losses,
            shares,
            n_reported=1,
            workers=self.workers,
            processes=self.processes,
            n_images=min(self.batch_size, n_images),
        )

    def _clip(self, parameters: Sequence[nn.Parameter]) -> None:
        most = self.settings.training.max_gradient_norm
        if most is not None:
            nn.utils.clip_grad_norm_(parameters, most)

    # -- what changes with the time --------------------------------------------------------

    def _progress(self, epoch: int, step: int) -> float:
        """Return the share of the search that is over; below 0 in the warm-up."""
        done = (epoch - self.settings.warmup_epochs) * self.n_steps + step
        return done / self.n_searching

    def _moment(self, which: int, progress: float) -> Moment:
        _, stage, inside = self.settings.stage_at(progress)
        how = How(
            channel_parts=self.settings.channel_parts,
            depth=stage.depth,
            skip_dropout=stage.skip_dropout * (1 - inside),
        )
        weight = self.settings.entropy_weight * progress
        one = self.searching.distributions[which]
        return Moment(one, self.settings.temperature_at(progress), weight, how)

    def _enter_stage(self, which: int, progress: float) -> None:
        number, stage, _ = self.settings.stage_at(progress)
        self.searching.distributions[which].enter_stage(number, stage.options)

    def _set_rate(self, epoch: int, step: int) -> float:
        training = self.settings.training
        place, whole = epoch * self.n_steps + step, training.epochs * self.n_steps
        peak = training.lr * self.processes.n
        rate = learning_rate(peak, training.warmup_fraction, place, whole)
        for group in self.optimisers["weights"].param_groups:
            group["lr"] = rate
        return rate

    # -- batches ---------------------------------------------------------------------------

    def _epoch_of(self, dataset: ImageDataset, stream: int, number: int) -> Epoch:
        return Epoch(
            dataset,
            seed=(self.seed, stream, number),
            batch_size=self.batch_size,
            n_shares=self.processes.n_threads,
            augment=self.settings.training.augment,
            sample_size=lambda _: self.size,
            n_processes=self.processes.n,
            rank=self.processes.rank,
        )

    def _logit_batches(self) -> Iterator[list[Share]]:
        """Yield batches for the logits without end, from where the search stands."""
        n_steps = n_steps_of(self.for_logits, self.batch_size)
        place = int(sum(one.number("n_steps") for one in self.searching.distributions))
        while True:
            number, first = divmod(place, n_steps)
            for _, shares in self._epoch_of(self.for_logits, _LOGITS, number).steps(first):
                yield shares
                place += 1

    # -- what is told ----------------------------------------------------------------------

    def _told(self, position: Position) -> list[float]:
        progress = max(0.0, self._progress(position.epoch, self.n_steps))
        number, _, _ = self.settings.stage_at(progress)
        n = position.n_logit_steps
        found: list[float] = []
        for i, one in enumerate(self.searching.distributions):
            chances = {c: p.detach() for c, p in one.logits.probabilities().items()}
            costs = {k: float(v.detach()) for k, v in self.lessons.expected(chances).items()}
            found += EpochReport(
                epoch=position.epoch + 1,
                distribution=i,
                stage=number,
                is_warmup=position.epoch < self.settings.warmup_epochs,
                loss=position.loss_sum / self.n_steps,
                logits_loss=position.logits_loss_sum / n if n else math.nan,
                entropy=one.logits.entropy(),
                temperature=self.settings.temperature_at(min(1.0, progress)),
                weightless=self.weightless(chances),
                costs=costs,
            ).flat()
        return found

    def _report(
        self, epoch: int, step: int, loss: float, rate: float, elapsed_s: float
    ) -> StepReport:
        training = self.settings.training
        is_warmup = epoch < self.settings.warmup_epochs
        return StepReport(
            phase="warm-up" if is_warmup else self.settings.method,
            epoch=epoch + 1,
            n_epochs=training.epochs,
            step=step + 1,
            n_steps=self.n_steps,
            done=epoch * self.n_steps + step + 1,
            total=training.epochs * self.n_steps,
            loss=loss,
            lr=rate,
            step_s=elapsed_s,
        )

    def _is_time_to_save(self) -> bool:
        minutes = self.settings.training.checkpoint_minutes
        return time.monotonic() - self.kept_at_s >= 60 * minutes

    def _save(self, position: Position, checkpoint: Path | None) -> None:
        self.kept_at_s = time.monotonic()
        if checkpoint is not None and self.processes.rank == 0:
            save_state(checkpoint, self.searching, self.optimisers, position)
