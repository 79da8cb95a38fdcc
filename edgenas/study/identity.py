"""The study of a search in a storage: made, or found and checked to be of the same search."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgenas.core.errors import StorageError
from edgenas.core.objective import Objective
from edgenas.study.backends import Backend

if TYPE_CHECKING:
    import optuna

_IDENTITY = "edgenas"


def study_of(
    backend: Backend, name: str, *, objectives: Sequence[Objective], identity: Mapping[str, Any]
) -> optuna.Study:
    """Return the study of that name, made if it is not there.

    Two processes may both make it: what they write is the same.

    Raises:
        StorageError: it is of another search, or not of edgenas.
    """
    import optuna

    study = optuna.create_study(
        storage=backend.storage,
        study_name=name,
        directions=[goal.direction for goal in objectives],
        load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    found = study.user_attrs.get(_IDENTITY)
    if found is None and study.get_trials(deepcopy=False):
        # Another process may have made the study and its first trial since.
        found = study.user_attrs.get(_IDENTITY)
        if found is None:
            raise StorageError(
                f"{backend}: study {name!r} has trials, but was not made by edgenas; "
                "choose another storage or study name"
            )
    if found is None:
        study.set_metric_names([goal.name for goal in objectives])
        study.set_user_attr(_IDENTITY, dict(identity))
    elif found != identity:
        raise StorageError(
            f"{backend}: study {name!r} was made with other settings: "
            f"{differences(found, identity)}; choose another --out, or the same settings"
        )
    return study


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return what differs between two identities, for an error message."""
    keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    return "; ".join(
        f"{key} was {json.dumps(found.get(key))}, now {json.dumps(wanted.get(key))}" for key in keys
    )
