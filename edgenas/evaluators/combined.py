"""Cheap objectives first: what breaks a constraint on them never reaches the dear evaluator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgenas.core.architecture import Architecture, population
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint, Objective
from edgenas.evaluators.base import Evaluator
from edgenas.evaluators.costs import CheapCosts
from edgenas.searchers.problem import total_violations


class CombinedEvaluator(Evaluator):
    """Joins cheap costs and a dear evaluator.

    Args:
        cheap: counts and predictions, with the constraints on them.
        dear: gives what `cheap` does not; None if that is nothing.
        objectives: every complete evaluation has a finite value of each.
        constraints: on dear objectives too; those are checked once their values are there.
    """

    def __init__(
        self,
        cheap: CheapCosts,
        dear: Evaluator | None,
        *,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
    ) -> None:
        missing = [goal.name for goal in objectives if goal.name not in cheap.names]
        if dear is None and missing:
            raise UsageError(f"nothing evaluates {', '.join(missing)}; give an evaluator for it")
        self.cheap, self.dear = cheap, dear
        self.objectives = tuple(goal.name for goal in objectives)
        self.goals, self.constraints = tuple(objectives), tuple(constraints)

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """Return evaluations in the order of `archs`; see `Evaluator`.

        Raises:
            UsageError: the dear evaluator answers with other architectures than it was given.
        """
        rows = population(list(archs), self.cheap.space.n_genes)
        self.cheap.space.check(rows)
        costs = self.cheap(rows)
        violations = total_violations(self.cheap.constraints, costs, len(rows))
        values = [
            {name: float(costs[name][i]) for name in self.cheap.names} for i in range(len(archs))
        ]
        feasible = [i for i in range(len(archs)) if violations[i] <= 0]
        dear = dict(zip(feasible, self._dear([archs[i] for i in feasible]), strict=True))
        return [
            self._joined(dear[i], values[i])
            if i in dear
            else Evaluation(arch, "infeasible", values[i], None, float(violations[i]))
            for i, arch in enumerate(archs)
        ]

    def recall(self, evaluations: Sequence[Evaluation]) -> None:
        """Pass them on to the dear evaluator; see `Evaluator`."""
        if self.dear is not None:
            self.dear.recall(evaluations)

    def _dear(self, archs: list[Architecture]) -> list[Evaluation]:
        if self.dear is None or not archs:
            return [Evaluation(arch, "complete") for arch in archs]
        found = self.dear.evaluate(archs)
        if [evaluation.arch for evaluation in found] != archs:
            raise UsageError(
                f"{type(self.dear).__name__} was given {len(archs)} architectures and answered "
                f"with {len(found)} that are not those, in that order"
            )
        return found

    def _joined(self, evaluation: Evaluation, cheap: Mapping[str, float]) -> Evaluation:
        values = {**evaluation.values, **cheap}
        joined = sound(replace(evaluation, values=values), self.goals)
        if joined.status != "complete":
            return joined
        dear = [c for c in self.constraints if c.name not in self.cheap.names]
        arrays = {name: [value] for name, value in values.items()}
        violation = float(total_violations(dear, arrays, 1)[0])
        if violation > 0:
            return replace(joined, status="infeasible", violation=violation)
        return joined


def sound(evaluation: Evaluation, objectives: Sequence[Objective]) -> Evaluation:
    """Return the evaluation, as failed if it lacks finite values that its status promises."""
    if not evaluation.has_values:
        return evaluation
    for goal in objectives:
        value = evaluation.values.get(goal.name)
        if value is None or not math.isfinite(value):
            what = "is missing" if value is None else f"is {value}"
            return replace(evaluation, status="failed", error=f"{goal.name} {what}")
    return evaluation
