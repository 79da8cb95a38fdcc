"""Writes trials into a storage so that two processes never both end the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgenas.study.backends import Backend
from edgenas.study.trials import EVALUATION

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, TrialState


class TrialWriter:
    """Writes into one study; a trial that has ended is changed by nobody any more."""

    def __init__(self, backend: Backend, study: str) -> None:
        self._storage = backend.storage
        self._study = self._storage.get_study_id_from_name(study)

    def create(self, trial: FrozenTrial) -> FrozenTrial:
        """Write a trial as a whole, in one transaction; return it with its id and number."""
        trial._trial_id = self._storage.create_new_trial(self._study, template_trial=trial)
        trial.number = self._storage.get_trial_number_from_id(trial._trial_id)
        return trial

    def finish(self, running: FrozenTrial, finished: FrozenTrial) -> bool:
        """Write an evaluation into a running trial; False if somebody has ended that."""
        from optuna.exceptions import UpdateFinishedTrialError

        trial = running._trial_id
        try:
            for key, value in finished.system_attrs.items():
                self._storage.set_trial_system_attr(trial, key, value)
            # The evaluation comes last: it counts as soon as it stands there. If this process dies
            # before the trial is ended, the next one that reads it does that.
            for key in ("status", EVALUATION):
                self._storage.set_trial_user_attr(trial, key, finished.user_attrs[key])
        except UpdateFinishedTrialError:
            return False
        self.end(running, finished)
        return True

    def end(self, running: FrozenTrial, finished: FrozenTrial) -> None:
        """Give a running trial the state and values of a finished one, unless it has ended."""
        self._end(running, finished.state, finished.values)

    def fail(self, running: FrozenTrial) -> None:
        """End a running trial without an evaluation, unless it has ended."""
        from optuna.trial import TrialState

        self._end(running, TrialState.FAIL, None)

    def _end(self, trial: FrozenTrial, state: TrialState, values: list[float] | None) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            self._storage.set_trial_state_values(trial._trial_id, state, values)
        except UpdateFinishedTrialError:  # another process was faster
            return
