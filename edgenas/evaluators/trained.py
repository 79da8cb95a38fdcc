"""Validation accuracy of candidates that are trained from fresh weights, each for a few epochs.

Training can be broken off by a rule, and weights can be inherited from another candidate. What
goes wrong with a candidate (a loss that is not finite, memory that runs out) is its value.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgenas.core.architecture import Architecture, Genes
from edgenas.core.errors import DivergedError, FatalCandidateError, SpaceError, UsageError
from edgenas.core.evaluation import Evaluation, Status
from edgenas.evaluators.attempts import attempt
from edgenas.evaluators.base import Evaluator, check_space
from edgenas.evaluators.memory import is_out_of_memory
from edgenas.evaluators.notes import CandidateFiles
from edgenas.evaluators.stopping import Curve, StoppingRule
from edgenas.evaluators.stopping.base import Floats
from edgenas.lowering.torch import GraphModule
from edgenas.oneshot.checkpoint import write_tensors
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.evaluate import accuracy
from edgenas.oneshot.finetune import identity_alone, train_alone
from edgenas.oneshot.optimisation import OnStep
from edgenas.oneshot.processes import accelerator_of
from edgenas.oneshot.settings import TrainingSettings
from edgenas.oneshot.supernet import load_into
from edgenas.oneshot.training import check_fit
from edgenas.spaces.base import SearchSpace

_LOG = logging.getLogger(__name__)

EPOCH = "accuracy_epoch_"
"""Values of an evaluation called this and a number are accuracies after that many epochs."""

ParentOf = Callable[[Architecture], Architecture | None]
"""Whose weights a candidate begins with (`Searcher.parent` is one)."""


@dataclass
class _Candidate:
    """One that is being trained: its files, its curve so far, and how it ended if it did."""

    arch: Architecture
    costs: tuple[float, ...]
    start: GraphModule | None = None
    files: CandidateFiles | None = None
    accuracies: dict[int, float] = field(default_factory=dict)
    stopped: str | None = None
    error: str | None = None

    @property
    def goes_on(self) -> bool:
        return self.stopped is None and self.error is None

    @property
    def curve(self) -> Curve:
        return Curve(dict(self.accuracies), self.costs)


class TrainedAccuracy(Evaluator):
    """Trains every candidate with the same settings and seed.

    An unfinished training is gone on with by the next process, from the candidate's checkpoint,
    and what was found on the way is kept with it: the same architecture always gets the same
    accuracies, however often that happens. (Where several are evaluated together, and a process
    ends while their results are recorded, `stopping` has seen those that were in another order.)

    Args:
        space: of the candidates.
        dataset: trained on its train part, evaluated on its validation part.
        settings: of each training; `epochs` is how long a whole one is.
        folder: for checkpoints, and for the weights that others may inherit.
        seed: of weights, batches and augmentation.
        n_train_images: train on that many, always the same ones; None is all.
        stopping: which trainings are broken off; None: all are finished.
        costs: the other objectives of populations, minimised, shape (n, n_costs), for `stopping`;
            None: there are none.
        parent_of: whose weights a candidate begins with, where those are kept; None: all begin
            with fresh ones.
        on_step: called after every step of every training.

    Raises:
        DataError: the data set does not fit the space.
        UsageError: no epochs, or more images asked for than there are.
        TrainingError: no such accelerator.
    """

    def __init__(  # noqa: PLR0913
        self,
        space: SearchSpace,
        dataset: ImageDataset,
        settings: TrainingSettings,
        *,
        folder: Path,
        seed: int = 0,
        n_train_images: int | None = None,
        stopping: StoppingRule | None = None,
        costs: Callable[[Genes], Floats] | None = None,
        parent_of: ParentOf | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        check_fit(space, dataset)
        accelerator_of(settings)
        self.settings = settings.alone(space)
        if self.settings.epochs < 1:
            raise UsageError("candidates are trained for 1 epoch at least; give epochs")
        self.space, self.folder, self.seed = space, folder, seed
        self.dataset = dataset if n_train_images is None else dataset.with_fewer(n_train_images)
        self.stopping, self._costs, self._parent_of = stopping, costs, parent_of
        self._on_step = on_step
        self._known: dict[Architecture, Curve] = {}

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """Return the accuracy of each of `archs` (see `Evaluator.evaluate`).

        Those that are asked for together are trained to the same epochs before any is judged.
        """
        check_space(archs, self.space)
        candidates = [self._begun(arch) for arch in archs]
        known = [curve for arch, curve in self._known.items() if arch not in archs]
        n_epochs = self.settings.epochs
        looks = () if self.stopping is None else self.stopping.looks(n_epochs)
        for epoch in (*looks, n_epochs):
            for candidate in candidates:
                if candidate.goes_on:
                    self._train(candidate, epoch)
            living = [candidate for candidate in candidates if candidate.goes_on]
            if self.stopping is None or epoch == n_epochs or not living:
                continue
            curves = [candidate.curve for candidate in living]
            verdicts = self.stopping.judge(known, curves, epoch, n_epochs)
            for candidate, verdict in zip(living, verdicts, strict=True):
                if verdict is not None:
                    candidate.stopped = f"stopped after epoch {epoch} of {n_epochs}: {verdict}"
        self._known |= {one.arch: one.curve for one in candidates if one.error is None}
        return [self._ended(candidate) for candidate in candidates]

    def recall(self, evaluations: Sequence[Evaluation]) -> None:
        """Take in the curves of earlier processes, which `stopping` compares with."""
        for evaluation in evaluations:
            accuracies = {
                int(name.removeprefix(EPOCH)): value
                for name, value in evaluation.values.items()
                if name.startswith(EPOCH)
            }
            if accuracies and evaluation.status != "failed":
                curve = Curve(accuracies, self._costs_of(evaluation.arch))
                self._known[evaluation.arch] = curve

    # -- internal --------------------------------------------------------------------------

    def _begun(self, arch: Architecture) -> _Candidate:
        try:
            self.space.check(arch.row[None])
        except SpaceError as error:
            return _Candidate(arch, (), error=f"SpaceError: {error}")
        start = self._parent(arch)
        identity = identity_alone(
            self.space, arch.row, self.dataset, self.settings, seed=self.seed, start=start
        )
        files = CandidateFiles(self.folder, arch.id, identity)
        return _Candidate(arch, self._costs_of(arch), start, files, files.read())

    def _costs_of(self, arch: Architecture) -> tuple[float, ...]:
        if self._costs is None:
            return ()
        return tuple(float(value) for value in self._costs(arch.row[None])[0])

    def _train(self, candidate: _Candidate, until: int) -> None:
        """Train to the end of epoch `until` and note the accuracy there, or what went wrong."""
        arch, files = candidate.arch, candidate.files
        assert files is not None  # noqa: S101  # of all that go on
        if until in candidate.accuracies:  # found by a process before
            return
        try:
            files.make_room(until)
            with attempt(files.attempt, files.checkpoint):
                module = train_alone(
                    self.space,
                    arch.row,
                    self.dataset,
                    self.settings,
                    seed=self.seed,
                    start=candidate.start,
                    until=until,
                    checkpoint=files.checkpoint,
                    on_step=self._on_step,
                )
                found = accuracy(module, self.dataset, self.dataset.validation)
        except (DivergedError, FatalCandidateError, RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            candidate.error = f"{type(error).__name__}: {error}"
            return
        if self._parent_of is not None:
            write_tensors(self._weights(arch), module.state_dict(), {"architecture": arch.id})
        candidate.accuracies[until] = found
        files.write(candidate.accuracies)

    def _weights(self, arch: Architecture) -> Path:
        """Return where a candidate's weights are, for those that inherit them."""
        return self.folder / f"{arch.id}.safetensors"

    def _parent(self, arch: Architecture) -> GraphModule | None:
        """Return the network that a candidate inherits from, None where there is none."""
        parent = None if self._parent_of is None else self._parent_of(arch)
        if parent is None:
            return None
        if not self._weights(parent).exists():
            _LOG.warning(
                "%s begins with fresh weights: those of its parent %s are not in %s",
                arch.id,
                parent.id,
                self.folder,
            )
            return None
        module = GraphModule(self.space.network(parent.row))
        load_into(module, self._weights(parent))
        return module

    def _ended(self, candidate: _Candidate) -> Evaluation:
        """Return what became of a candidate, and drop what its training would go on from."""
        if candidate.files is not None:
            candidate.files.remove()
        values = {f"{EPOCH}{epoch}": value for epoch, value in candidate.accuracies.items()}
        if candidate.error is not None:
            return Evaluation(candidate.arch, "failed", values, candidate.error)
        last = candidate.accuracies[max(candidate.accuracies)]
        status: Status = "complete" if candidate.stopped is None else "stopped"
        return Evaluation(candidate.arch, status, {"accuracy": last, **values}, candidate.stopped)
