"""Searches: run by one or more processes, resumed from their record, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint, Objective
from edgenas.evaluators.base import Evaluator
from edgenas.pareto import hypervolume_history
from edgenas.searchers.base import Searcher
from edgenas.study.picking import front, points
from edgenas.study.storage import StudyStorage
from edgenas.study.turns import Progress, Turns

__all__ = [
    "Progress",
    "SearchResult",
    "reference_values",
    "run_search",
    "summarize",
]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search.

    `hypervolume[i]` is that of the first i + 1 evaluations, up to `reference` (worst values by
    objective, as the user writes them); infeasible and failed ones add nothing. `exhausted`:
    the search ended early, as nothing feasible was left to propose.
    """

    evaluations: tuple[Evaluation, ...]
    front: tuple[Evaluation, ...]
    hypervolume: npt.NDArray[np.float64]
    reference: Mapping[str, float]
    n_resumed: int
    exhausted: bool


def run_search(  # noqa: PLR0913
    searcher: Searcher,
    evaluator: Evaluator,
    *,
    n_evaluations: int,
    storage: str | Path,
    name: str = "search",
    batch_size: int = 1,
    context: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    reference: Mapping[str, float] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> SearchResult:
    """Search until `n_evaluations` are recorded, those of earlier runs included.

    Every batch is recorded as soon as the evaluator returns it. A killed process loses at most the
    batch in flight; the next run replays the record into `searcher`, evaluates the rest of that
    batch and goes on as if nothing had happened.

    The same call in several processes, with one storage, is one search: each evaluates what no
    other does, learns from all, takes over what a dead one had begun, and returns the whole result.
    What is proposed then depends on who is when at what; alone, on the seed only.

    Args:
        searcher: fresh; what it searches decides what is recorded.
        evaluator: a complete evaluation without finite objectives is recorded as failed.
        n_evaluations: infeasible and failed ones count.
        storage: a file or URL, see `StudyStorage`.
        name: of the study in the storage.
        batch_size: architectures that are asked for and evaluated together.
        context: JSON values that decide on the evaluations (hashes of data, weights and tables);
            a study is not gone on with under another context.
        notes: JSON values that the study keeps as user attributes, for whoever reads it.
        reference: the hypervolume's worst values by objective; see `reference_values`.
        on_progress: called after every recorded evaluation.

    Raises:
        StorageError: see `StudyStorage`.
        InfeasibleError: the searcher finds nothing feasible at all.
        EdgenasError: whatever the evaluator cannot go on from; what was recorded stays.
    """
    if searcher.n_told:
        raise UsageError("run_search takes a fresh searcher; this one was told evaluations before")
    if n_evaluations < 1 or batch_size < 1:
        raise UsageError(
            f"n_evaluations and batch_size are at least 1, got {n_evaluations} and {batch_size}"
        )
    problem = searcher.problem
    identity = {**searcher.identity(), "batch_size": batch_size, "context": dict(context or {})}
    with StudyStorage(
        storage,
        problem.space,
        objectives=problem.objectives,
        identity=identity,
        name=name,
        notes=notes,
    ) as record:
        turns = Turns(
            searcher,
            evaluator,
            record,
            n_total=n_evaluations,
            batch_size=batch_size,
            on_progress=on_progress,
        )
        turns.run()
        evaluations = [entry.evaluation for entry in record.records]
    return summarize(
        evaluations,
        problem.objectives,
        reference=reference_values(
            evaluations, problem.objectives, constraints=problem.constraints, given=reference
        ),
        n_resumed=turns.n_resumed,
        exhausted=len(evaluations) < n_evaluations,
    )


def reference_values(
    evaluations: Sequence[Evaluation],
    objectives: Sequence[Objective],
    *,
    constraints: Sequence[Constraint] = (),
    given: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Return the hypervolume's worst value of every objective.

    The one that is given; else the objective's bound; else the limit of a constraint on it; else
    the worst value among the complete evaluations.
    """
    limits = {constraint.name: constraint.limit for constraint in constraints}
    complete = [evaluation for evaluation in evaluations if evaluation.status == "complete"]
    reference = {}
    for goal in objectives:
        worst = max if goal.direction == "minimize" else min
        chosen = (given or {}).get(goal.name, goal.bound)
        if chosen is None:
            chosen = limits.get(goal.name)
        if chosen is None:
            chosen = worst((e.values[goal.name] for e in complete), default=0.0)
        reference[goal.name] = float(chosen)
    return reference


def summarize(
    evaluations: Sequence[Evaluation],
    objectives: Sequence[Objective],
    *,
    reference: Mapping[str, float],
    n_resumed: int = 0,
    exhausted: bool = False,
) -> SearchResult:
    """Return front and hypervolume history of evaluations in their order."""
    complete = [i for i, e in enumerate(evaluations) if e.status == "complete"]
    corner = [goal.minimised(reference[goal.name]) for goal in objectives]
    # Points at the reference dominate nothing: so the others leave the history as it was.
    values = np.tile(np.array(corner, dtype=np.float64), (len(evaluations), 1))
    values[complete] = points([evaluations[i] for i in complete], objectives)
    return SearchResult(
        tuple(evaluations),
        tuple(front(evaluations, objectives)),
        hypervolume_history(values, corner),
        dict(reference),
        n_resumed,
        exhausted,
    )
