"""What is selected: accuracy by a callable, costs by folds, limits on them, and what stops it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import InfeasibleError, UsageError, choices
from edgenas.searchers.arrays.exact import FrontProgram
from edgenas.searchers.arrays.terms import GeneSum
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import Fold

Floats = npt.NDArray[np.float64]
Numbers = Callable[[Genes], npt.ArrayLike]
"""A number an architecture: genes of shape (n, n_genes) in, an array of shape (n,) out."""

ACCURACY = "accuracy"
"""What is to be large; everything else is a cost."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a selection, whichever comes first.

    With evaluations alone the result depends on the seed and not on the machine.

    Attributes:
        n_evaluations: of the accuracy.
        seconds: of wall-clock time.
    """

    n_evaluations: int | None = 400_000
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.n_evaluations is None and self.seconds is None:
            raise UsageError("a selection needs an end: name evaluations or seconds")
        if self.n_evaluations is not None and self.n_evaluations < 1:
            raise UsageError(f"n_evaluations is {self.n_evaluations}, allowed: 1 or more")
        if self.seconds is not None and not (self.seconds > 0 and isfinite(self.seconds)):
            raise UsageError(f"seconds is {self.seconds}, allowed: more than 0")


@dataclass(frozen=True)
class Selection:
    """One selection.

    Attributes:
        space: what is selected from.
        costs: to be small, by name; folds make budgets exact, other callables are tried.
        accuracy: to be large; None: only costs count.
        objectives: what the front is of, names of costs and ``accuracy``.
        maximised: costs that are to be large instead (MACs that a budget of latency can hold).
        budgets: limits by the name of the cost; the best for each is told.
        constraints: limits that every architecture has to keep.
    """

    space: SearchSpace
    costs: Mapping[str, Numbers]
    accuracy: Numbers | None = None
    objectives: Sequence[str] = ()
    maximised: Sequence[str] = ()
    budgets: Sequence[Mapping[str, float]] = ()
    constraints: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if ACCURACY in self.costs:
            raise UsageError(f"a cost cannot be called {ACCURACY!r}; give it as the accuracy")
        known = [*self.costs, *((ACCURACY,) if self.accuracy is not None else ())]
        if not self.objectives:
            object.__setattr__(self, "objectives", tuple(dict.fromkeys([ACCURACY, *self.costs])))
            if self.accuracy is None:
                object.__setattr__(self, "objectives", tuple(self.costs))
        for name in self.objectives:
            if name not in known:
                raise UsageError(f"objective {name!r} is not given; {choices(name, known)}")
        limited = [*self.constraints, *(name for budget in self.budgets for name in budget)]
        for name in [*limited, *self.maximised]:
            if name not in self.costs:
                raise UsageError(f"{name!r} is no cost here; {choices(name, self.costs)}")
        if not self.objectives:
            raise UsageError("nothing to select by: give an accuracy or a cost")

    @property
    def quantities(self) -> dict[str, Numbers]:
        """Everything that is told of an architecture, accuracy first."""
        own = {} if self.accuracy is None else {ACCURACY: self.accuracy}
        return {**own, **self.costs}

    def sign(self, name: str) -> float:
        """Return 1 for what is to be small, -1 for what is to be large."""
        return -1.0 if name == ACCURACY or name in self.maximised else 1.0

    @property
    def primary(self) -> str:
        """What evolution evaluates: the accuracy, or the first objective that does not fold."""
        if self.accuracy is not None:
            return ACCURACY
        return next(name for name in self.objectives if not _folds(self.costs[name]))

    @property
    def additive(self) -> bool:
        """Whether everything that decides folds over the space's factors: fronts are exact."""
        limited = {name for limits in self.all_limits() for name in limits}
        return all(_folds(self.quantities[name]) for name in {*self.objectives, *limited})

    def axes(self) -> tuple[str, ...]:
        """Return the costs that decide, but for the primary: objectives first, then limits."""
        limited = [name for limits in self.all_limits() for name in limits]
        named = dict.fromkeys([*self.objectives, *limited])
        found = tuple(name for name in named if name != self.primary and name in self.costs)
        return found or tuple(name for name in self.costs if name != self.primary)[:1]

    def signed(self, names: Sequence[str], genes: Genes) -> Floats:
        """Return costs turned so that less is better, shape (n, n_names)."""
        columns = [
            self.sign(name) * np.asarray(self.quantities[name](genes), dtype=np.float64)
            for name in names
        ]
        return np.stack(columns, axis=1)

    def primary_values(self, genes: Genes) -> Floats:
        """Return the primary turned so that more is better, shape (n,).

        Raises:
            UsageError: one is no number, or there is not one for every architecture.
        """
        values = np.asarray(self.quantities[self.primary](genes), dtype=np.float64)
        if values.shape != (len(genes),) or np.isnan(values).any():
            what = "NaN" if values.shape == (len(genes),) else f"an array of shape {values.shape}"
            raise UsageError(
                f"{self.primary} gave {what} for {len(genes)} architectures; one finite number "
                "each is expected"
            )
        return -self.sign(self.primary) * values

    def objective_values(self, axes: Sequence[str], primary: Floats, costs: Floats) -> Floats:
        """Return the objectives, minimised, from what is known already, shape (n, n_objectives)."""
        columns = [
            -primary if name == self.primary else costs[:, axes.index(name)]
            for name in self.objectives
        ]
        return np.stack(columns, axis=1)

    def all_limits(self) -> list[dict[str, float]]:
        """Return the limits of every budget with the constraints; at least one set of them."""
        found = []
        for budget in self.budgets or ({},):
            merged = dict(self.constraints)
            for name, limit in budget.items():
                merged[name] = min(limit, merged.get(name, np.inf))
            found.append(merged)
        return found

    def check_budgets(self) -> None:
        """Refuse budgets that no architecture can keep.

        Raises:
            InfeasibleError: the message has the least that can be reached. Of costs that do not
                fold nothing is known beforehand.
            UsageError: a limit is no number.
        """
        for limits in self.all_limits():
            for name, limit in limits.items():
                if not limit == limit:
                    raise UsageError(f"the limit of {name} is {limit}")
            folds = {n: cost for n, cost in self.costs.items() if isinstance(cost, Fold | GeneSum)}
            asked = {n: limit for n, limit in limits.items() if n in folds}
            for name, limit in asked.items():
                least = _least(folds[name])
                if least > limit:
                    raise InfeasibleError(
                        f"no architecture of {self.space.name} has {name} <= {limit:g}; the least "
                        f"is {least:.6g}"
                    )
            if len(asked) > 1:
                self._check_together(asked, folds)

    def _check_together(
        self, limits: Mapping[str, float], folds: Mapping[str, Fold | GeneSum]
    ) -> None:
        if keeping_all(limits, folds) is not None:
            return
        first = next(iter(limits))
        others = [(folds[name], limit) for name, limit in limits.items() if name != first]
        program = FrontProgram({first: folds[first]}, limits=others)
        try:
            least = program.front().values[0, 0]
        except InfeasibleError as error:
            if program.boxed:  # not proven: the search will see
                return
            texts = ", ".join(f"{name} <= {limit:g}" for name, limit in limits.items())
            raise InfeasibleError(
                f"no architecture of {self.space.name} keeps {texts} together; allow more"
            ) from error
        if program.boxed:
            return
        if least > limits[first]:
            texts = ", ".join(f"{n} <= {limit:g}" for n, limit in limits.items() if n != first)
            raise InfeasibleError(
                f"no architecture of {self.space.name} that keeps {texts} has {first} <= "
                f"{limits[first]:g}; the least is {least:.6g}"
            )


def keeping_all(limits: Mapping[str, float], costs: Mapping[str, Numbers]) -> Genes | None:
    """Return the network of the least sum of costs, as shares of limits, if it keeps all of them.

    None: it does not, or a cost is no sum over the factors.
    """
    own = {name: costs[name] for name in limits}
    sums = {name: f for name, f in own.items() if isinstance(f, Fold) and f.how == "sum"}
    if len(sums) < len(limits) or min(limits.values()) <= 0:
        return None
    shares = [[table / limits[name] for table in fold.tables] for name, fold in sums.items()]
    tables = [np.asarray(np.sum(parts, axis=0)) for parts in zip(*shares, strict=True)]
    space = next(iter(sums.values())).space
    _, row = BudgetProgram(Fold(space, tables)).least()
    kept = all(sums[name](row[None])[0] <= limit for name, limit in limits.items())
    return row if kept else None


def _folds(quantity: Numbers) -> bool:
    return isinstance(quantity, Fold | GeneSum)


def _least(cost: Fold | GeneSum) -> float:
    if isinstance(cost, Fold) and cost.how == "sum":
        return BudgetProgram(cost).least()[0]
    return float(FrontProgram({"cost": cost}).front().values[0, 0])
