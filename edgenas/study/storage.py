"""The durable record of a search: an Optuna study that one or more processes add to.

Every evaluation is one trial. It is created in one transaction when its evaluation begins: the
database numbers trials one after the other, so of two processes that claim the same architecture
the one with the lower number has it. Optuna's dashboard and plots read the study.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenas.core.architecture import Architecture
from edgenas.core.errors import StorageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Objective
from edgenas.spaces.base import SearchSpace
from edgenas.study.backends import Backend, guarded, opened
from edgenas.study.heartbeat import BEAT, Heartbeat
from edgenas.study.identity import study_of
from edgenas.study.trial_writer import TrialWriter
from edgenas.study.trials import Claim, Record, Trials, plain
from edgenas.study.workers import Beats, Worker

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

__all__ = ["Record", "StudyStorage"]

_LOG = logging.getLogger(__name__)
FORMAT = 1
"""Version of what the user attributes hold."""


class StudyStorage:
    """One study in one storage, open until `close`.

    Use as a context manager. Trials that a dead process left running are marked as failed and
    count nothing; what they were to evaluate is `left`.

    Args:
        storage: a file (``.db``: SQLite, ``.journal``: Optuna's journal, for one process at a
            time), or the URL of any database that Optuna takes.
        space: its genes are the parameters of the trials.
        objectives: in the order of the trials' values.
        identity: JSON values that must be the same for the study to be gone on with.
        name: of the study.
        notes: user attributes beside; whatever the study has of them is replaced.

    Raises:
        StorageError: it cannot be read or written, is damaged, in use where one process at a time
            is allowed, or a study with another identity; the message says what differs.
    """

    def __init__(  # noqa: PLR0913
        self,
        storage: str | Path,
        space: SearchSpace,
        *,
        objectives: Sequence[Objective],
        identity: Mapping[str, Any],
        name: str = "search",
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.space, self.objectives, self.name = space, tuple(objectives), name
        self._identity = plain({"format": FORMAT, **identity})
        self._notes = plain(dict(notes or {}))
        self._records: dict[Architecture, tuple[int, Record]] = {}
        self._news: list[Record] = []
        self._settled: set[int] = set()
        """Numbers of trials that change no more and have been read."""
        self._running: dict[Architecture, int] = {}
        self._given_up: dict[Architecture, None] = {}
        self._own: dict[Architecture, FrozenTrial] = {}
        self._beats = Beats()
        with ExitStack() as stack:
            self._backend = stack.enter_context(opened(storage, prepare=self._prepare))
            self._trials = Trials(space, self.objectives, str(self._backend))
            self._worker = Worker.new()
            stack.callback(self._worker.leave)
            with self._guarded("open"):
                self._study = self._prepare(self._backend)
                self._writer = TrialWriter(self._backend, name)
                self._read(opening=True)
            self._news = []
            stack.callback(self._give_back)
            self._heartbeat = stack.enter_context(Heartbeat(self._backend))
            self._stack = stack.pop_all()

    def __enter__(self) -> StudyStorage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all claims back and close all files."""
        self._stack.close()

    # -- what stands there -----------------------------------------------------------------

    @property
    def records(self) -> tuple[Record, ...]:
        """All finished evaluations, in the order in which they were begun."""
        return tuple(record for _, record in sorted(self._records.values(), key=lambda it: it[0]))

    @property
    def running(self) -> tuple[Architecture, ...]:
        """What other processes evaluate, as it was last read."""
        return tuple(arch for arch in self._running if arch not in self._own)

    @property
    def left(self) -> tuple[Architecture, ...]:
        """What somebody began to evaluate, and nobody does now."""
        return tuple(arch for arch in self._given_up if not self._is_known(arch))

    def news(self) -> list[Record]:
        """Read on; return what others have evaluated since the last call, in their order.

        Raises:
            StorageError: the storage cannot be read, or something else has written to the study.
        """
        with self._guarded("read"):
            self._read()
        news, self._news = self._news, []
        return news

    # -- what this process does ------------------------------------------------------------

    def claim(
        self, archs: Sequence[Architecture], *, n_total: int, batch_start: int = 0
    ) -> list[Architecture]:
        """Say that this process evaluates architectures from now on.

        Returns:
            Those that are its own, in order: not what another process was faster to claim, nor
            what would be more than `n_total` evaluations.

        Raises:
            StorageError: as `append` and `news`.
        """
        if self._backend.is_exclusive:  # there is nobody whom it would say anything
            return list(archs[: n_total - len(self._records)])
        with self._guarded("write"):
            for arch in archs:
                running = self._trials.running(Claim(arch, batch_start, self._worker))
                self._own[arch] = self._writer.create(running)
                self._heartbeat.add(self._own[arch]._trial_id)
            self._read()
            firsts = {arch: number for arch, (number, _) in self._records.items()}
            for arch, number in self._running.items():
                firsts.setdefault(arch, number)
            for arch in archs:
                number = self._own[arch].number
                n_before = sum(first < number for first in firsts.values())
                if firsts.get(arch) != number or n_before >= n_total:
                    self._end_claim(arch)
        return [arch for arch in archs if arch in self._own]

    def append(self, evaluation: Evaluation, *, batch_start: int = 0) -> bool:
        """Write one finished evaluation, claimed or not; it is on the disk when this returns.

        Returns:
            Whether it counts: not if another process took this one for dead meanwhile.

        Raises:
            StorageError: the disk is full, the server is away.
        """
        trial = self._trials.finished(evaluation, batch_start)
        with self._guarded("write"):
            running = self._own.pop(evaluation.arch, None)
            if running is not None:
                self._heartbeat.remove(running._trial_id)
            if running is None:
                number = self._writer.create(trial).number
            elif self._writer.finish(running, trial):
                number = running.number
            else:
                _LOG.warning(
                    "architecture %s was evaluated here, but this process was taken for dead and "
                    "another one evaluates it: its evaluation counts",
                    evaluation.arch.id,
                )
                return False
        self._settled.add(number)
        self._records.setdefault(evaluation.arch, (number, Record(evaluation, batch_start)))
        return True

    # -- internal --------------------------------------------------------------------------

    def _guarded(self, verb: str) -> AbstractContextManager[None]:
        return guarded(
            f"cannot {verb} the study {self.name!r} in {self._backend}", self._backend.remedy
        )

    def _is_known(self, arch: Architecture) -> bool:
        return arch in self._records or arch in self._running

    def _prepare(self, backend: Backend) -> optuna.Study:
        study = study_of(backend, self.name, objectives=self.objectives, identity=self._identity)
        for key, value in self._notes.items():
            if study.user_attrs.get(key) != value:
                study.set_user_attr(key, value)
        return study

    def _read(self, *, opening: bool = False) -> None:
        """Take in what has changed, and end what dead processes left running."""
        self._running = {}
        for trial in self._study.get_trials(deepcopy=False):
            if trial.number in self._settled:
                continue
            record, claim = self._trials.record(trial), self._trials.claim(trial)
            if record is not None:
                self._take(trial, record, claim)
            elif trial.state.is_finished():
                self._refuse_foreign(trial, claim)
                self._settled.add(trial.number)
                if claim is not None:
                    self._given_up.setdefault(claim.arch)
            elif claim is None:
                self._end_foreign(trial, opening=opening)
            elif self._is_dead(trial, claim):
                self._writer.fail(trial)
                self._given_up.setdefault(claim.arch)
            else:
                self._running.setdefault(claim.arch, trial.number)

    def _take(self, trial: FrozenTrial, record: Record, claim: Claim | None) -> None:
        """Take in the evaluation of a trial, and end the trial if its process could not."""
        arch = record.evaluation.arch
        if arch not in self._records:
            self._records[arch] = (trial.number, record)
            self._news.append(record)
        if trial.state.is_finished():
            self._settled.add(trial.number)
        elif claim is None or self._is_dead(trial, claim):
            finished = self._trials.finished(record.evaluation, record.batch_start)
            self._writer.end(trial, finished)

    def _refuse_foreign(self, trial: FrozenTrial, claim: Claim | None) -> None:
        from optuna.trial import TrialState

        if claim is None and trial.state is not TrialState.FAIL:
            raise StorageError(
                f"{self._backend}: trial {trial.number} was not written by edgenas; "
                "choose another storage or study name"
            )

    def _end_foreign(self, trial: FrozenTrial, *, opening: bool) -> None:
        if opening:
            self._writer.fail(trial)
            return
        raise StorageError(
            f"{self._backend}: study {self.name!r} got trial {trial.number}, which edgenas did "
            "not begin: another program writes to it; end that one and run the same command again"
        )

    def _is_dead(self, trial: FrozenTrial, claim: Claim) -> bool:
        worker = claim.worker
        if worker == self._worker:
            return claim.arch not in self._own
        if self._backend.is_exclusive or worker.is_gone():
            return True
        return self._beats.is_stale(trial._trial_id, int(trial.user_attrs.get(BEAT, 0)))

    def _end_claim(self, arch: Architecture) -> None:
        trial = self._own.pop(arch)
        self._heartbeat.remove(trial._trial_id)
        self._writer.fail(trial)

    def _give_back(self) -> None:
        """End what this process has claimed and not evaluated, if the storage still can."""
        try:
            with self._guarded("write"):
                for arch in tuple(self._own):
                    self._end_claim(arch)
        except StorageError as error:
            _LOG.warning("what this process had begun is taken over later: %s", error)
