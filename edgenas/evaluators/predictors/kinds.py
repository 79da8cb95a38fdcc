"""The kinds of regressions by name; a kind's library is loaded when it is fitted."""

from __future__ import annotations

from edgenas.core.errors import UsageError, choices
from edgenas.evaluators.predictors.boosting import Boosting
from edgenas.evaluators.predictors.ensemble import Ensemble
from edgenas.evaluators.predictors.process import GaussianProcess
from edgenas.evaluators.predictors.regression import Regression
from edgenas.evaluators.predictors.ridge import Ridge

KINDS: dict[str, type[Regression]] = {
    kind.kind: kind for kind in (Ridge, GaussianProcess, Ensemble, Boosting)
}
"""Regressions by name, the cheapest to evaluate first."""


def kind_named(name: str) -> type[Regression]:
    """Return the kind called `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in KINDS:
        raise UsageError(f"unknown kind of predictor {name!r}; {choices(name, KINDS)}")
    return KINDS[name]
