"""The knee: where a front bulges furthest from the hyperplane through its extremes.

Das 1999, On characterizing the knee of the Pareto curve based on normal-boundary intersection,
doi:10.1007/BF01195985.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import UsageError
from edgenas.pareto.dominance import Floats, checked, non_dominated


def knee(points: npt.ArrayLike) -> int:
    """Return the row of the knee among the non-dominated points.

    Every objective is scaled to [0, 1] over the front. Ties go to the first row; a front
    that bulges nowhere has its knee at an extreme.

    Args:
        points: shape (n, n_objectives), minimised, n >= 1.
    """
    array = checked(points)
    if len(array) == 0:
        raise UsageError("no points, so no knee")
    rows = np.flatnonzero(non_dominated(array))
    front = array[rows]
    spread = np.ptp(front, axis=0)
    varied = spread > 0
    if not varied.any():
        return int(rows[0])
    unit = (front[:, varied] - front[:, varied].min(axis=0)) / spread[varied]
    normal = _normal(unit)
    # A hyperplane normal . x = 1; the side of the ideal point, the origin, is below 1.
    distance = (1 - unit @ normal) / np.linalg.norm(normal)
    return int(rows[np.argmax(np.round(distance, 12))])


def _normal(unit: Floats) -> Floats:
    """Return w of the hyperplane w . x = 1 through the extremes, the best of each objective.

    Extremes that span no such plane (fewer than objectives, or with a w that turns away from
    the ideal point) give the plane through the unit vectors, which two objectives have anyway.
    """
    n_objectives = unit.shape[1]
    ones = np.ones(n_objectives)
    # Among equally good ones the extreme is the best in the other objectives too.
    extremes = unit[[np.lexsort((unit.sum(axis=1), column))[0] for column in unit.T]]
    if np.linalg.matrix_rank(extremes, tol=1e-9) < n_objectives:
        return ones
    normal: Floats = np.asarray(np.linalg.solve(extremes, ones), dtype=np.float64)
    return normal if (normal > 0).all() else ones
