"""Whole networks' costs, measured once or in several sessions, and how a fit meets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import UsageError
from edgenas.costs.accuracy import error_report
from edgenas.costs.conformal import with_sessions
from edgenas.costs.fit import Fitted

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Repeated:
    """Networks' costs by session, shape (n_sessions, n_networks), in any unit."""

    costs: Floats

    @classmethod
    def of(cls, costs: Floats, n_networks: int) -> Repeated:
        """Return costs of shape (n_networks,) or (n_sessions, n_networks).

        Raises:
            UsageError: another shape, or a cost that is not a number above 0.
        """
        table = np.atleast_2d(costs)
        if table.ndim != 2 or table.shape[1] != n_networks:
            raise UsageError(
                f"timings of shape {costs.shape} for {n_networks} networks; expected "
                "(n_networks,) or (n_sessions, n_networks)"
            )
        if not (np.isfinite(table) & (table > 0)).all():
            raise UsageError("a network's time or cost is 0, negative or not a number")
        return cls(table)

    @property
    def again(self) -> bool:
        """Whether there is more than one session."""
        return len(self.costs) > 1

    @property
    def levels(self) -> Floats:
        """How much above the typical session each was, shape (n_sessions,)."""
        found = np.median(self.costs / np.median(self.costs, axis=0), axis=1)
        levels: Floats = found / np.median(found)
        return levels

    @property
    def typical(self) -> Floats:
        """Every network's cost in a typical session, shape (n_networks,)."""
        typical: Floats = np.median(self.costs / self.levels[:, None], axis=0)
        return typical

    def record(
        self,
        fitted: Fitted,
        steady: Floats,
        left_out: Floats,
        errors: Floats,
        *,
        moving: bool = True,
    ) -> dict[str, Any]:
        """Return what every `FitRecord` holds, by its keys.

        Args:
            fitted: the fit to the typical costs.
            steady: the costs without drift, shape (n_sessions, n_networks).
            left_out: what fits that did not see each network predict, shape (n_networks,).
            errors: of networks left out, relative to that, shape (n_sessions, any number).
            moving: whether a session moves all networks, as a machine's speed moves times.
        """
        again, levels = self.again, self.levels
        inside = ((1 + errors) / levels[:, None]).ravel() - 1
        scores = with_sessions(inside, levels) if again and moving else np.sort(errors.ravel())
        ceiling = error_report(self.costs[1:].ravel(), self.costs[:-1].ravel()) if again else None
        return {
            "n_networks": self.costs.shape[1],
            "hyperparameters": {k: round(v, 6) for k, v in fitted.hyperparameters.items()},
            "n_floored": fitted.n_floored,
            "session_ratios": [round(float(level), 6) for level in levels] if again else None,
            "scores": scores.round(6).tolist(),
            "held_out": error_report(steady.ravel(), np.tile(left_out, len(self.costs))),
            "naive_sum": None,
            "noise_ceiling": ceiling,
        }
