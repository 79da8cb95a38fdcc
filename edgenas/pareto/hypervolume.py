"""Hypervolume: how much of the objective space, up to a reference point, a set dominates."""

from __future__ import annotations

import moocore
import numpy as np
import numpy.typing as npt

from edgenas.core.errors import UsageError
from edgenas.pareto.dominance import Floats, checked, non_dominated


def hypervolume(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Return the hypervolume that `points` dominate.

    Args:
        points: shape (n, n_objectives), minimised; those beyond the reference count nothing.
        reference: the worst point worth considering, shape (n_objectives,), finite.
    """
    array = checked(points)
    corner = _reference(reference, array.shape[1])
    inside = array[(array < corner).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    if array.shape[1] == 1:
        return float(corner[0] - inside.min())
    return float(moocore.hypervolume(inside, ref=corner))


def hypervolume_history(points: npt.ArrayLike, reference: npt.ArrayLike) -> Floats:
    """Return the hypervolume after each of the points, in their order, shape (n,)."""
    array = checked(points)
    corner = _reference(reference, array.shape[1])
    history = np.zeros(len(array))
    best = array[:0]
    for i, point in enumerate(array):
        # Only a point that nothing so far equals or dominates can add volume.
        news = (point < corner).all() and not (best <= point).all(axis=1).any()
        if news:
            best = np.vstack([best, point])
            best = best[non_dominated(best)]
            history[i] = hypervolume(best, corner)
        else:
            history[i] = history[i - 1] if i else 0.0
    return history


def _reference(reference: npt.ArrayLike, n_objectives: int) -> Floats:
    corner = np.asarray(reference, dtype=np.float64)
    if corner.shape != (n_objectives,) or not np.isfinite(corner).all():
        raise UsageError(
            f"the reference is {n_objectives} finite values, one an objective, got "
            f"{corner.tolist()}"
        )
    return corner
