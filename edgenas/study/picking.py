"""Choosing from a front: by a budget, by the knee, or by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Architecture
from edgenas.core.errors import InfeasibleError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint, Objective, objective
from edgenas.pareto import knee, non_dominated

Floats = npt.NDArray[np.float64]
Upper = Callable[[str, float, Sequence[Architecture]], npt.ArrayLike]
"""Upper ends of predictions: (objective, one-sided confidence, architectures) to shape (n,)."""
Least = Callable[[str, float | None], float]
"""Least value of an objective (or of its upper end) that the space reaches on the device."""

_ID_LENGTH = 10


def points(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> Floats:
    """Return the objective values of complete evaluations, shape (n, n_objectives), minimised."""
    rows = [[goal.minimised(e.values[goal.name]) for goal in objectives] for e in evaluations]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(objectives))


def front(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> list[Evaluation]:
    """Return the complete evaluations that no other dominates.

    Every architecture stands there once. Different architectures with equal values all stay. The
    order is that of the minimised objectives, then the others, then the id.
    """
    complete = {e.arch: e for e in reversed(evaluations) if e.status == "complete"}
    found = list(complete.values())
    kept = [
        e for e, good in zip(found, non_dominated(points(found, objectives)), strict=True) if good
    ]
    return sorted(kept, key=lambda e: (_by_cost(e, objectives), e.arch.id))


def front_rows(
    front: Sequence[Evaluation],
    objectives: Sequence[Objective],
    *,
    upper: Upper | None = None,
    names: Sequence[str] = ("latency_ms",),
    confidence: float | None = None,
) -> list[dict[str, Any]]:
    """Return a front as rows for a table or JSON: id, objectives, other values, genes.

    With `upper` and `confidence` the upper ends of `names` stand in ``latency_ms_upper`` and so on.
    """
    goals = [goal.name for goal in objectives]
    ends: dict[str, Floats] = {}
    if upper is not None and confidence is not None and front:
        archs = [evaluation.arch for evaluation in front]
        ends = {name: np.asarray(upper(name, confidence, archs)) for name in names}
    rows = []
    for i, evaluation in enumerate(front):
        values = evaluation.values
        row: dict[str, Any] = {"id": evaluation.arch.id}
        row |= {name: values[name] for name in goals}
        row |= {f"{name}_upper": float(column[i]) for name, column in ends.items()}
        row |= {name: values[name] for name in sorted(values) if name not in goals}
        rows.append({**row, "genes": list(evaluation.arch.genes)})
    return rows


def pick(
    front: Sequence[Evaluation],
    how: str,
    *,
    objectives: Sequence[Objective],
    upper: Upper | None = None,
    least: Least | None = None,
) -> Evaluation:
    """Return one member of a front.

    Args:
        front: not empty.
        how: ``knee``; an architecture's id or the start of one; or constraints joined by commas, as
            in ``latency_ms <= 2 @ 90%``: the best first maximised objective (without any: the
            first objective that is not limited) among those that keep them. Of equals the one with
            the least of the other objectives, in their order, is taken; then the first id.
        objectives: of the search.
        upper: needed for constraints with a confidence.
        least: names the least value of the space where a constraint is not kept.

    Raises:
        UsageError: `how` is none of these, or no or several members have that id.
        InfeasibleError: no member keeps the constraints.
    """
    if not front:
        raise InfeasibleError(
            "the front is empty: no evaluation completed; search on or allow more"
        )
    if how.strip() == "knee":
        return front[knee(points(front, objectives))]
    if "=" in how:
        wanted = [Constraint.parse(text) for text in how.split(",")]
        return _best_under(front, wanted, objectives=objectives, upper=upper, least=least)
    return _by_id(front, how.strip())


def _by_id(front: Sequence[Evaluation], prefix: str) -> Evaluation:
    found = [e for e in front if prefix and e.arch.id.startswith(prefix.lower())]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(e.arch.id for e in found or front)
    if found:
        raise UsageError(f"{prefix!r} is the start of several ids: {ids}; write more of it")
    raise UsageError(
        f"{prefix!r} picks nothing: no member of the front has that id; allowed: 'knee', a "
        f"constraint like 'latency_ms<=2 @ 90%', or one of {ids}"
    )


def _best_under(
    front: Sequence[Evaluation],
    constraints: Sequence[Constraint],
    *,
    objectives: Sequence[Objective],
    upper: Upper | None,
    least: Least | None,
) -> Evaluation:
    values = {constraint: _values(front, constraint, upper) for constraint in constraints}
    kept = [
        evaluation
        for i, evaluation in enumerate(front)
        if all(constraint.violation(float(values[constraint][i])) <= 0 for constraint in values)
    ]
    if not kept:
        raise InfeasibleError(_refusal(values, least))
    limited = {constraint.name for constraint in constraints}
    goal = next(
        (goal for goal in objectives if goal.direction == "maximize"),
        next((goal for goal in objectives if goal.name not in limited), objectives[0]),
    )
    order = (goal, *(other for other in objectives if other is not goal))
    return min(kept, key=lambda e: (points([e], order)[0].tolist(), e.arch.id))


def _values(front: Sequence[Evaluation], constraint: Constraint, upper: Upper | None) -> Floats:
    """Return what a constraint looks at for every member, shape (n,)."""
    if constraint.confidence is not None:
        if upper is None:
            raise UsageError(
                f"'{constraint}' asks for a confidence, and no cost model with intervals is at "
                "hand; write the constraint without '@'"
            )
        archs = [evaluation.arch for evaluation in front]
        return np.asarray(upper(constraint.name, constraint.confidence, archs), dtype=np.float64)
    lacking = [e.arch.id for e in front if constraint.name not in e.values]
    if lacking:
        known = ", ".join(sorted(front[0].values))
        raise UsageError(f"'{constraint}': {constraint.name} was not evaluated; there are {known}")
    return np.array([e.values[constraint.name] for e in front], dtype=np.float64)


def _refusal(values: Mapping[Constraint, Floats], least: Least | None) -> str:
    parts = []
    for constraint, column in values.items():
        minimised = objective(constraint.name).direction == "minimize"
        best, word = (column.min(), "least") if minimised else (column.max(), "greatest")
        at = "" if constraint.confidence is None else f" @ {constraint.confidence:.0%}"
        text = f"'{constraint}': the {word} {constraint.name}{at} on the front is {best:.6g}"
        if least is not None and minimised:
            text += (
                f", the least in the space is {least(constraint.name, constraint.confidence):.6g}"
            )
        parts.append(text)
    joint = " together" if len(parts) > 1 else ""
    return f"no member of the front keeps{joint} {'; '.join(parts)}; allow more, or search on"


def _by_cost(evaluation: Evaluation, objectives: Sequence[Objective]) -> list[float]:
    order = sorted(objectives, key=lambda goal: goal.direction != "minimize")
    return [float(value) for value in points([evaluation], order)[0]]
