"""Evaluations as trials of an Optuna study, and back.

The genes are the parameters, the objectives the values; user attributes hold what `Evaluation` has
beside them. A trial that runs says in ``claim`` which genes are evaluated by which process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas.core.architecture import Architecture
from edgenas.core.errors import StorageError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Objective
from edgenas.spaces.base import SearchSpace
from edgenas.study.backends import distributions
from edgenas.study.workers import Worker

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

EVALUATION = "evaluation"
"""User attribute; as soon as it is written the evaluation counts."""
CLAIM = "claim"


@dataclass(frozen=True, slots=True)
class Record:
    """A finished evaluation, and how many had been told when its batch was asked for."""

    evaluation: Evaluation
    batch_start: int


@dataclass(frozen=True, slots=True)
class Claim:
    """An architecture that a process has begun to evaluate."""

    arch: Architecture
    batch_start: int
    worker: Worker


class Trials:
    """Writes evaluations of one space and its objectives as trials and reads them again.

    Args:
        space: its genes are the parameters of the trials.
        objectives: in the order of the trials' values.
        place: of the study, for messages.
    """

    def __init__(self, space: SearchSpace, objectives: Sequence[Objective], place: str) -> None:
        self._space, self._objectives, self._place = space, tuple(objectives), place
        self._distributions = distributions(space)

    def running(self, claim: Claim) -> FrozenTrial:
        """Return a running trial that says who evaluates what."""
        import optuna

        attrs = {
            "genes": claim.arch.genes,
            "batch_start": claim.batch_start,
            **claim.worker.attrs(),
        }
        return optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            **self._parameters(claim.arch),
            user_attrs={"architecture": claim.arch.id, CLAIM: plain(attrs)},
        )

    def finished(self, evaluation: Evaluation, batch_start: int) -> FrozenTrial:
        """Return the trial of an evaluation.

        Raises:
            UsageError: it is of another space.
        """
        import optuna

        names = [goal.name for goal in self._objectives]
        # Values of one that was stopped are no measure of the study's objectives.
        finished = evaluation.status not in ("failed", "stopped")
        whole = finished and all(name in evaluation.values for name in names)
        states = optuna.trial.TrialState
        unfinished = states.FAIL if evaluation.status == "failed" else states.PRUNED
        return optuna.trial.create_trial(
            state=states.COMPLETE if whole else unfinished,
            values=[evaluation.values[name] for name in names] if whole else None,
            **self._parameters(evaluation.arch),
            # Every attribute costs Optuna queries; all that is only read back stands in one.
            user_attrs={
                "architecture": evaluation.arch.id,
                "status": evaluation.status,
                EVALUATION: plain(
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

    def record(self, trial: FrozenTrial) -> Record | None:
        """Return the evaluation that a trial holds, or None.

        Raises:
            StorageError: it is damaged.
        """
        if EVALUATION not in trial.user_attrs:
            return None
        attrs = trial.user_attrs[EVALUATION]
        try:
            evaluation = Evaluation(
                self._architecture(attrs),
                attrs["status"],
                {name: float(value) for name, value in attrs["values"].items()},
                attrs["error"],
                float(attrs["violation"]),
            )
            return Record(evaluation, int(attrs["batch_start"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged(trial, error) from error

    def claim(self, trial: FrozenTrial) -> Claim | None:
        """Return who began to evaluate what in a trial, or None if the trial is not of edgenas.

        Raises:
            StorageError: it is damaged.
        """
        if CLAIM not in trial.user_attrs:
            return None
        attrs = trial.user_attrs[CLAIM]
        try:
            return Claim(self._architecture(attrs), int(attrs["batch_start"]), Worker.of(attrs))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged(trial, error) from error

    def _parameters(self, arch: Architecture) -> dict[str, Any]:
        if arch.space != self._space.name:
            raise UsageError(f"architecture {arch.id} is not of {self._space.name}")
        chosen = self._space.describe(arch.row)
        return {
            "params": dict(chosen),
            "distributions": {name: self._distributions[name] for name in chosen},
        }

    def _architecture(self, attrs: Mapping[str, Any]) -> Architecture:
        genes = np.array([attrs["genes"]], dtype=np.int8)
        self._space.check(genes)
        return Architecture(self._space.name, tuple(int(gene) for gene in attrs["genes"]))

    def _damaged(self, trial: FrozenTrial, error: Exception) -> StorageError:
        return StorageError(
            f"{self._place}: trial {trial.number} is damaged ({error!r}); delete it, or start anew"
        )


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return `value` as JSON gives it back, so that it compares equal to what was stored."""
    found: dict[str, Any] = json.loads(json.dumps(value, default=_number))
    return found


def _number(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise UsageError(f"cannot be recorded: {value!r}; give JSON values")
