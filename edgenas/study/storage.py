"""The durable record of a search: an Optuna study that one process at a time adds to.

Every finished evaluation is one trial, written in one transaction: genes as parameters, objective
values, and as user attributes all that an `Evaluation` holds. Optuna's dashboard and plots read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas.core.architecture import Architecture
from edgenas.core.errors import StorageError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Objective
from edgenas.spaces.base import SearchSpace
from edgenas.study.backends import Backend, distributions, guarded, opened

if TYPE_CHECKING:
    import optuna

FORMAT = 1
"""Version of what the user attributes hold."""
_IDENTITY = "edgenas"
_EVALUATION = "evaluation"
_LEFT_OVER = "edgenas_left_over"


@dataclass(frozen=True, slots=True)
class Record:
    """A finished evaluation, and how many had been told when its batch was asked for."""

    evaluation: Evaluation
    batch_start: int


class StudyStorage:
    """One study in one storage, claimed for this process until `close`.

    Use as a context manager. Trials that a dead process left running are marked as failed and
    count nothing.

    Args:
        storage: a file (``.db``: SQLite, ``.journal``: Optuna's journal), or the URL of any
            database that Optuna takes.
        space: its genes are the parameters of the trials.
        objectives: in the order of the trials' values.
        identity: JSON values that must be the same for the study to be gone on with.
        name: of the study.

    Raises:
        StorageError: it cannot be read or written, is damaged, in use by another process, or a
            study with another identity; the message says what differs.
    """

    def __init__(
        self,
        storage: str | Path,
        space: SearchSpace,
        *,
        objectives: Sequence[Objective],
        identity: Mapping[str, Any],
        name: str = "search",
    ) -> None:
        self.space, self.objectives, self.name = space, tuple(objectives), name
        self._identity = _plain({"format": FORMAT, **identity})
        self._distributions = distributions(space)
        with ExitStack() as stack:
            self._backend = stack.enter_context(opened(storage, prepare=self._prepare))
            with self._guarded("open"):
                self._study = self._prepare(self._backend)
                self._records = self._read()
            self._stack = stack.pop_all()

    def __enter__(self) -> StudyStorage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the claim back and close all files."""
        self._stack.close()

    @property
    def records(self) -> tuple[Record, ...]:
        """All finished evaluations, in the order in which they were told."""
        return tuple(self._records)

    def append(self, evaluation: Evaluation, *, batch_start: int = 0) -> None:
        """Write one finished evaluation; it is on the disk when this returns.

        Raises:
            StorageError: the disk is full, or somebody else has written to the study meanwhile.
        """
        trial = self._trial(evaluation, batch_start)
        with self._guarded("write"):
            # The trial as a whole is one transaction; asking, then telling would be several.
            added = self._backend.storage.create_new_trial(self._study_id, template_trial=trial)
            number = self._backend.storage.get_trial_number_from_id(added)
        if number != self._n_trials:
            raise StorageError(
                f"{self._backend}: study {self.name!r} got trial {number} where "
                f"{self._n_trials} was next: another process writes to it; "
                "end all but one and run the same command again"
            )
        self._n_trials += 1
        self._records.append(Record(evaluation, batch_start))

    # -- internal --------------------------------------------------------------------------

    def _guarded(self, verb: str) -> AbstractContextManager[None]:
        return guarded(f"cannot {verb} the study {self.name!r} in {self._backend}")

    def _prepare(self, backend: Backend) -> optuna.Study:
        """Return the study in `backend`, made if it is not there, with its identity checked."""
        import optuna

        study = optuna.create_study(
            storage=backend.storage,
            study_name=self.name,
            directions=[goal.direction for goal in self.objectives],
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        found = study.user_attrs.get(_IDENTITY)
        if found is None:
            if study.get_trials(deepcopy=False):
                raise StorageError(
                    f"{backend}: study {self.name!r} has trials, but was not made by edgenas; "
                    "choose another storage or study name"
                )
            study.set_metric_names([goal.name for goal in self.objectives])
            study.set_user_attr(_IDENTITY, self._identity)
        elif found != self._identity:
            raise StorageError(
                f"{backend}: study {self.name!r} was made with other settings: "
                f"{differences(found, self._identity)}; choose another --out, or the same settings"
            )
        return study

    def _read(self) -> list[Record]:
        """Return the finished evaluations and fail what a dead process left running."""
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False)
        self._study_id = self._backend.storage.get_study_id_from_name(self.name)
        self._n_trials = len(trials)
        records: dict[Architecture, Record] = {}
        for trial in trials:
            if not trial.state.is_finished():
                trial_id = trial._trial_id
                self._backend.storage.set_trial_user_attr(trial_id, _LEFT_OVER, True)
                self._backend.storage.set_trial_state_values(trial_id, TrialState.FAIL)
            elif _EVALUATION in trial.user_attrs:
                record = self._record(trial.user_attrs[_EVALUATION], trial.number)
                records.setdefault(record.evaluation.arch, record)
            elif trial.state is not TrialState.FAIL:
                raise StorageError(
                    f"{self._backend}: trial {trial.number} was not written by edgenas; "
                    "choose another storage or study name"
                )
        return list(records.values())

    def _record(self, attrs: Mapping[str, Any], number: int) -> Record:
        try:
            genes = np.array([attrs["genes"]], dtype=np.int8)
            self.space.check(genes)
            evaluation = Evaluation(
                Architecture(self.space.name, tuple(int(gene) for gene in attrs["genes"])),
                attrs["status"],
                {name: float(value) for name, value in attrs["values"].items()},
                attrs["error"],
                float(attrs["violation"]),
            )
            return Record(evaluation, int(attrs["batch_start"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(
                f"{self._backend}: trial {number} is damaged ({error!r}); delete it, or start anew"
            ) from error

    def _trial(self, evaluation: Evaluation, batch_start: int) -> optuna.trial.FrozenTrial:
        import optuna

        if evaluation.arch.space != self.space.name:
            raise UsageError(f"architecture {evaluation.arch.id} is not of {self.space.name}")
        chosen = self.space.describe(evaluation.arch.row)
        names = [goal.name for goal in self.objectives]
        # Values of one that was stopped are no measure of the study's objectives.
        finished = evaluation.status not in ("failed", "stopped")
        whole = finished and all(name in evaluation.values for name in names)
        states = optuna.trial.TrialState
        unfinished = states.FAIL if evaluation.status == "failed" else states.PRUNED
        return optuna.trial.create_trial(
            state=states.COMPLETE if whole else unfinished,
            values=[evaluation.values[name] for name in names] if whole else None,
            params={name: chosen[name] for name in chosen},
            distributions={name: self._distributions[name] for name in chosen},
            # Every attribute costs Optuna queries; all that is only read back stands in one.
            user_attrs={
                "architecture": evaluation.arch.id,
                "status": evaluation.status,
                _EVALUATION: _plain(
                    {
                        "genes": evaluation.arch.genes,
                        "status": evaluation.status,
                        "values": evaluation.values,
                        "error": evaluation.error,
                        "violation": evaluation.violation,
                        "batch_start": batch_start,
                    }
                ),
            },
            # Optuna's own mark of constraints: above 0 is infeasible.
            constraints=None
            if evaluation.status == "failed"
            else {"violation": float(evaluation.violation)},
        )


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return what differs between two identities, for an error message."""
    keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    return "; ".join(
        f"{key} was {json.dumps(found.get(key))}, now {json.dumps(wanted.get(key))}" for key in keys
    )


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return `value` as JSON gives it back, so that it compares equal to what was stored."""
    plain: dict[str, Any] = json.loads(json.dumps(value, default=_number))
    return plain


def _number(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise UsageError(f"cannot be recorded: {value!r}; give JSON values")
