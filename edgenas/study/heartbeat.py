"""The heartbeat of running trials, by which other hosts see that their process lives.

Optuna's own heartbeat belongs to `Study.optimize`: a trial whose process died before its first beat
never counts as stale there, only databases have it, and what is stale can only be failed.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from edgenas.core.errors import StorageError
from edgenas.study import workers
from edgenas.study.backends import Backend, guarded

if TYPE_CHECKING:
    from types import TracebackType

_LOG = logging.getLogger(__name__)
BEAT = "beat"
"""The user attribute that is counted on."""


class Heartbeat:
    """Counts on in the running trials of this process, in a thread of its own."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._trials: set[int] = set()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgenas-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def add(self, trial: int) -> None:
        """Beat for a trial, by its id in the storage, from now on."""
        with self._lock:
            self._trials.add(trial)

    def remove(self, trial: int) -> None:
        """Beat for a trial no longer."""
        with self._lock:
            self._trials.discard(trial)

    def _run(self) -> None:
        beat = 0
        while not self._end.wait(workers.BEAT_S):
            beat += 1
            with self._lock:
                trials = sorted(self._trials)
            try:
                with guarded(f"cannot write a heartbeat into {self._backend}"):
                    for trial in trials:
                        self._beat(trial, beat)
            except StorageError as error:
                # The next write of the search says it, if it is still so then.
                _LOG.warning("%s", error)
        self._backend.leave_thread()

    def _beat(self, trial: int, beat: int) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            self._backend.storage.set_trial_user_attr(trial, BEAT, beat)
        except UpdateFinishedTrialError:  # meanwhile
            self.remove(trial)
