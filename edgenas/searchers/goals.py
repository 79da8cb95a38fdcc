"""What a searcher with one number in its paper makes of several objectives."""

from __future__ import annotations

from dataclasses import dataclass

from edgenas.core.errors import UsageError, choices
from edgenas.core.objective import Objective
from edgenas.searchers.problem import SearchProblem

ACCURACY = "accuracy"


@dataclass(frozen=True, slots=True)
class Goals:
    """The objective that is bought, and those that are paid with.

    Attributes:
        bought: accuracy; without it the first objective that is not cheap, or the first of all.
        costs: the others, in their order.
    """

    bought: Objective
    costs: tuple[Objective, ...]

    @classmethod
    def of(cls, problem: SearchProblem) -> Goals:
        """Return the objectives of `problem` so divided."""
        goals, cheap = problem.objectives, problem.cheap_names
        named = [goal for goal in goals if goal.name == ACCURACY]
        dear = [goal for goal in goals if goal.name not in cheap]
        bought = (named or dear or list(goals))[0]
        return cls(bought, tuple(goal for goal in goals if goal is not bought))

    def cost(self, name: str, searcher: str) -> Objective:
        """Return the cost called `name`; the first one if that is empty.

        Raises:
            UsageError: no cost is called so, or there is none at all.
        """
        names = [goal.name for goal in self.costs]
        if not names:
            raise UsageError(
                f"{searcher} needs a cost beside {self.bought.name}; add an objective such as "
                "latency_ms"
            )
        if name and name not in names:
            raise UsageError(f"{searcher}: {name!r} is no cost here; {choices(name, names)}")
        return self.costs[names.index(name) if name else 0]
