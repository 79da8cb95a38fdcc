"""On which scale an objective is modelled: one on which its differences matter alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgenas.core.objective import Objective
from edgenas.searchers.problem import Floats

_LEAST_ERROR = 1e-4


@dataclass(frozen=True, slots=True)
class Scale:
    """To the modelled value and back; less is better on both sides."""

    to: Callable[[Floats], Floats]
    back: Callable[[Floats], Floats]


def scale_of(goal: Objective) -> Scale:
    """Return the scale of an objective that is given as the user writes it.

    An accuracy is modelled as the logarithm of its error: from 0.90 to 0.91 is little where the
    best have 0.99, and a few broken networks do not stretch the scale. Quantities with a unit (ms,
    mJ, KiB) are modelled as logarithms, as what a choice costs is a share.
    """
    if goal.unit == "fraction" and goal.direction == "maximize":
        return Scale(
            lambda values: np.log(np.maximum(1 - values, _LEAST_ERROR)),
            lambda logs: -(1 - np.exp(logs)),
        )
    if goal.direction == "minimize":
        return Scale(lambda values: np.log(np.maximum(values, 1e-12)), np.exp)
    return Scale(np.negative, lambda values: values)
