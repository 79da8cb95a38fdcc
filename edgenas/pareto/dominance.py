"""Dominance, non-dominated sorting with and without constraints, crowding distance.

Deb et al. 2002, doi:10.1109/4235.996017; the sorting itself is moocore's.
"""

from __future__ import annotations

import moocore
import numpy as np
import numpy.typing as npt

from edgenas.core.errors import UsageError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def checked(points: npt.ArrayLike) -> Floats:
    """Return `points` as floats, shape (n, n_objectives), minimised.

    Raises:
        UsageError: another shape, or a NaN, which no order can place.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise UsageError(f"points have shape (n, n_objectives), got {array.shape}")
    rows = np.flatnonzero(np.isnan(array).any(axis=1))
    if len(rows):
        raise UsageError(f"point {rows[0]} of {len(array)} holds a NaN: {array[rows[0]].tolist()}")
    return array


def non_dominated(points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return which points no other dominates, shape (n,); equal points stand or fall together."""
    array = checked(points)
    if len(array) == 0:
        return np.zeros(0, dtype=bool)
    if array.shape[1] == 1:  # moocore sorts two objectives or more
        return np.asarray(array[:, 0] == array.min())
    return np.asarray(moocore.is_nondominated(array, keep_weakly=True), dtype=bool)


def ranks(points: npt.ArrayLike) -> Ints:
    """Return each point's front, shape (n,): 0 for the non-dominated, 1 once those are gone."""
    array = checked(points)
    if len(array) == 0:
        return np.zeros(0, dtype=np.int64)
    if array.shape[1] == 1:
        return _dense(array[:, 0])
    return np.asarray(moocore.pareto_rank(array), dtype=np.int64)


def constrained_ranks(points: npt.ArrayLike, violations: npt.ArrayLike) -> Ints:
    """Return each point's front under constrained domination (Deb et al. 2002, definition 1).

    Args:
        points: shape (n, n_objectives), minimised; rows that break a constraint are not read
            and may hold NaN.
        violations: shape (n,); 0 where all constraints are kept, inf for what failed.

    Returns:
        Shape (n,). Feasible points come first, in their fronts; then the others by how
        much they break, equal violations sharing a front.
    """
    array, amounts = np.asarray(points, np.float64), np.asarray(violations, np.float64)
    if amounts.shape != array.shape[:1] or np.isnan(amounts).any():
        raise UsageError(
            f"violations have shape ({len(array)},) and no NaN, got shape {amounts.shape}"
        )
    feasible = amounts <= 0
    result = np.zeros(len(array), dtype=np.int64)
    result[feasible] = ranks(array[feasible])
    n_fronts = int(result[feasible].max()) + 1 if feasible.any() else 0
    result[~feasible] = n_fronts + _dense(amounts[~feasible])
    return result


def crowding_distances(points: npt.ArrayLike, fronts: npt.ArrayLike) -> Floats:
    """Return how lonely each point is inside its front, shape (n,); inf at a front's ends.

    Args:
        points: shape (n, n_objectives), minimised.
        fronts: the front's number of every point, shape (n,).
    """
    array, numbers = checked(points), np.asarray(fronts, dtype=np.int64)
    distances = np.zeros(len(array))
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        for values in array[rows].T:
            order = rows[np.argsort(values, kind="stable")]
            column = np.sort(values)
            distances[order[[0, -1]]] = np.inf
            spread = column[-1] - column[0]
            if spread > 0 and len(rows) > 2:
                distances[order[1:-1]] += (column[2:] - column[:-2]) / spread
    return distances


def ordered(points: npt.ArrayLike) -> Ints:
    """Return the places of points, lower fronts first and lonelier ones first inside a front."""
    fronts = ranks(points)
    return np.lexsort((-crowding_distances(points, fronts), fronts))


def _dense(values: Floats) -> Ints:
    """Return ranks 0, 1, 2, ... of the distinct values."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64).reshape(-1)
