"""One process's turns in a search that others may work on: read on, claim, evaluate, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgenas.core.architecture import Architecture
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Objective
from edgenas.evaluators.base import Evaluator
from edgenas.evaluators.combined import sound
from edgenas.searchers.base import Searcher
from edgenas.study.storage import Record, StudyStorage

_PAUSE_S = (0.05, 2.0)
"""How long is waited for other processes at first and at most; longer each time."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands after `evaluation`; `n_resumed` of `n_done` came from the record."""

    n_done: int
    n_total: int
    n_resumed: int
    evaluation: Evaluation


class Turns:
    """Takes part in a search until it has ended.

    Args:
        searcher: fresh; the record is replayed into it.
        evaluator: of what this process claims.
        record: open; what other processes write into it is learned turn by turn.
        n_total: evaluations of all processes, those of earlier runs included.
        batch_size: architectures that are asked for and evaluated together.
        on_progress: called after every evaluation, also after one of another process.
    """

    def __init__(  # noqa: PLR0913
        self,
        searcher: Searcher,
        evaluator: Evaluator,
        record: StudyStorage,
        *,
        n_total: int,
        batch_size: int,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._searcher, self._evaluator, self._record = searcher, evaluator, record
        self._n_total, self._batch_size, self._on_progress = n_total, batch_size, on_progress
        self.n_resumed = len(record.records)
        self._is_dry = False
        """Nothing more could be proposed, as far as is known."""
        searcher.expect(record.running)
        self._todo, self._start = replay(searcher, record.records, batch_size=batch_size)
        evaluator.recall([entry.evaluation for entry in record.records])
        # A killed process's own proposals come again by themselves, with all that a searcher
        # remembers of them; what still lies about after that was another one's.
        if record.left and not self._todo and self._n_free > 0:
            self._ask()

    def run(self) -> None:
        """Go on until all evaluations are recorded, or nothing more can be proposed."""
        pause_s = _PAUSE_S[0]
        while True:
            news = self._learn()
            batch = self._batch()
            if batch:
                self._evaluate(
                    self._record.claim(batch, n_total=self._n_total, batch_start=self._start)
                )
            elif self._record.running:  # what becomes of it may leave something to do
                pause_s = _PAUSE_S[0] if news else min(2 * pause_s, _PAUSE_S[1])
                time.sleep(pause_s)
            else:
                return

    @property
    def _n_free(self) -> int:
        """How many evaluations nobody has begun yet."""
        return self._n_total - len(self._record.records) - len(self._record.running)

    def _learn(self) -> bool:
        """Take in what others have done since; whether that was anything."""
        news = [entry.evaluation for entry in self._record.news()]
        self._evaluator.recall(news)
        n_before = len(self._record.records) - len(news)
        for n_done, evaluation in enumerate(news, n_before + 1):
            self._searcher.tell([evaluation])
            self._tell_progress(n_done, evaluation)
        self._searcher.expect(self._record.running)
        self._is_dry = self._is_dry and not news
        return bool(news)

    def _batch(self) -> list[Architecture]:
        """Return what to claim next: what others have left, then proposals."""
        if self._n_free <= 0:
            return []
        left = self._record.left
        self._searcher.expect(left)
        taken = {entry.evaluation.arch for entry in self._record.records}
        others = [arch for arch in left if arch not in self._todo]
        if others:
            self._start = len(taken)
        taken.update(self._record.running)
        self._todo = others + [arch for arch in self._todo if arch not in taken]
        if not self._todo and not self._is_dry:
            self._ask()
        return self._todo[: min(self._n_free, self._batch_size)]

    def _ask(self) -> None:
        self._start = len(self._record.records)
        self._todo = self._searcher.ask(self._batch_size)
        self._is_dry = not self._todo

    def _evaluate(self, archs: list[Architecture]) -> None:
        if not archs:  # others were faster
            return
        for evaluation in self._evaluated(archs):
            if self._record.append(evaluation, batch_start=self._start):
                self._searcher.tell([evaluation])
                self._tell_progress(len(self._record.records), evaluation)
        self._todo = [arch for arch in self._todo if arch not in archs]

    def _evaluated(self, archs: list[Architecture]) -> list[Evaluation]:
        goals: Sequence[Objective] = self._searcher.problem.objectives
        found = [sound(evaluation, goals) for evaluation in self._evaluator.evaluate(archs)]
        if [evaluation.arch for evaluation in found] != archs:
            raise UsageError(
                f"{type(self._evaluator).__name__} was given {len(archs)} architectures and "
                f"answered with {len(found)} that are not those, in that order"
            )
        return found

    def _tell_progress(self, n_done: int, evaluation: Evaluation) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(n_done, self._n_total, self.n_resumed, evaluation))


def replay(
    searcher: Searcher, records: Sequence[Record], *, batch_size: int
) -> tuple[list[Architecture], int]:
    """Bring a fresh searcher to where the recorded run stood.

    Returns:
        What is left of the batch that the record ends in, and how many had been told when that
        batch was asked for.
    """
    if not records:
        return [], 0
    start = records[-1].batch_start
    evaluations = [record.evaluation for record in records]
    searcher.tell(evaluations[:start])
    batch = searcher.ask(batch_size)
    searcher.tell(evaluations[start:])
    told = {evaluation.arch for evaluation in evaluations}
    return [arch for arch in batch if arch not in told], start
