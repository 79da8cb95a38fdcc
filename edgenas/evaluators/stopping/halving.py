"""Successive halving over several objectives: ranked by non-domination at equal epochs.

Jamieson and Talwalkar 2016, arXiv:1502.07943, for the halving; Li et al. 2020 (ASHA),
arXiv:1810.05934, for comparing with all that came by before, so that nobody waits; Schmucker et
al. 2021 (MO-ASHA), arXiv:2106.12639, for fronts in place of a single rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from edgenas.core.errors import UsageError
from edgenas.evaluators.stopping.base import Curve, StoppingRule, at
from edgenas.pareto.dominance import ordered


class SuccessiveHalving(StoppingRule):
    """After 1, eta, eta^2, ... times `first_epoch` the best of every `eta` go on.

    The order is that of NSGA-II: lower fronts first, lonelier candidates first inside a front, all
    objectives as they stand after the same epochs, whoever else was stopped or not.
    """

    def __init__(self, eta: int = 3, first_epoch: int = 1) -> None:
        if eta < 2 or first_epoch < 1:
            raise UsageError(
                f"eta is at least 2 and first_epoch at least 1, got {eta} and {first_epoch}"
            )
        self.eta, self.first_epoch = eta, first_epoch

    def looks(self, n_epochs: int) -> tuple[int, ...]:
        """Return the rungs."""
        found, epoch = [], self.first_epoch
        while epoch < n_epochs:
            found.append(epoch)
            epoch *= self.eta
        return tuple(found)

    def judge(
        self, known: Sequence[Curve], asked: Sequence[Curve], epoch: int, n_epochs: int
    ) -> list[str | None]:
        """Return who is not among the best (see `StoppingRule.judge`)."""
        del n_epochs
        points = at([*known, *asked], epoch)
        n, n_best = len(points), ceil(len(points) / self.eta)
        places = np.empty(n, dtype=np.int64)
        places[ordered(points)] = np.arange(n)
        return [
            None
            if place < n_best
            else f"place {place + 1} of {n} by all objectives at equal epochs; {n_best} go on"
            for place in places[n - len(asked) :]
        ]
