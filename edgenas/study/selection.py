"""Selection for devices: predictor and tables in; a front and picks, or one for a fleet, out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenas.core.errors import UsageError, choices
from edgenas.costs.conditions import Conditions
from edgenas.costs.kinds import column_of
from edgenas.costs.model import CostModel
from edgenas.costs.store import locate
from edgenas.costs.table import CostTable
from edgenas.evaluators.predictors import load_predictor
from edgenas.searchers.arrays.fleet import Fleet, select_fleet
from edgenas.searchers.arrays.front import Front
from edgenas.searchers.arrays.problem import ACCURACY, Limits, Numbers
from edgenas.searchers.arrays.select import select
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import COUNTS

_BUDGET = re.compile(
    r"\s*(?P<limit>[0-9.eE+-]+)\s*(?:@\s*(?P<confidence>[0-9.]+)\s*(?P<percent>%?))?"
)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a cost may be; with a confidence, that its upper end may be."""

    limit: float
    confidence: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read e.g. ``20`` or ``20 @ 90%``.

        Raises:
            UsageError: the text is no budget.
        """
        match = _BUDGET.fullmatch(text.strip())
        try:
            if match is None:
                raise ValueError
            limit = float(match["limit"])
            confidence = float(match["confidence"]) if match["confidence"] else None
        except ValueError:
            raise UsageError(f"not a budget: {text!r}; write e.g. '20' or '20 @ 90%'") from None
        if confidence is not None and match["percent"]:
            confidence /= 100
        if not 0 < limit < float("inf"):
            raise UsageError(f"a budget is more than 0, not {text!r}")
        if confidence is not None and not 0.5 <= confidence < 1:
            raise UsageError(f"a confidence lies in [50%, 100%), not {text!r}")
        return cls(limit, confidence)

    def __str__(self) -> str:
        text = f"{self.limit:.12g}"
        return text if self.confidence is None else f"{text} @ {100 * self.confidence:.12g}%"


@dataclass(frozen=True, slots=True)
class TableRequest:
    """A table to select for, and its device's budget if it has one of its own."""

    table: str
    budget: Budget | None = None

    @classmethod
    def parse(cls, text: str) -> TableRequest:
        """Read ``TABLE`` or ``TABLE=BUDGET``; the name of a file may hold ``=``, too.

        Raises:
            UsageError: what stands behind the last ``=`` is no budget, and no table is called so.
        """
        name, sign, budget = text.rpartition("=")
        if not sign:
            return cls(text)
        try:
            return cls(name, Budget.parse(budget))
        except UsageError:
            locate(text)  # says what is missing if there is no such table either
            return cls(text)


class Devices:
    """Compiled tables of a space by the names under which their costs are told.

    Args:
        space: what is selected from.
        requests: tables; one of another device, engine or kind has its column beside.
        accept: aspects in which a table may be of something else (only ``space`` can be here).

    Raises:
        UsageError: no such table, or two that would be called the same.
        TableMismatchError: a table of another space.
        MissingCostError: an operator has no row.
    """

    def __init__(
        self, space: SearchSpace, requests: Sequence[TableRequest], *, accept: Sequence[str] = ()
    ) -> None:
        self.space = space
        self.models: dict[str, CostModel] = {}
        self.budgets: dict[str, Budget] = {}
        tables = [CostTable.load(locate(request.table)) for request in requests]
        for request, name, table in zip(requests, _names(tables), tables, strict=True):
            if name in self.models:
                raise UsageError(f"two tables are of {name}; name each device's table once")
            own = table.passport
            asked = Conditions(own.device.match_key, own.runtime.name, own.runtime.precision)
            found = table.check_serves(space, asked, accept=accept)
            self.models[name] = CostModel(space, table, mismatches=found)
            if request.budget is not None:
                self.budgets[name] = request.budget

    @property
    def costs(self) -> dict[str, Numbers]:
        """The folds of the tables by name."""
        return {name: model.fold for name, model in self.models.items()}

    def on_value(self, name: str, budget: Budget) -> float:
        """Return what a predicted value may be for the budget's confidence.

        Raises:
            UsageError: a confidence, and the table has no intervals.
        """
        return self.models[name].budget_on_value(budget.limit, budget.confidence)

    @property
    def caveats(self) -> list[str]:
        """What anyone who reads the result must be told."""
        found = [(n, text) for n, model in self.models.items() for text in model.caveats]
        return [f"table of {name}: {text}" for name, text in found]


def select_networks(  # noqa: PLR0913
    devices: Devices,
    *,
    predictor: Path,
    budgets: Sequence[Budget] = (),
    objectives: Sequence[str] = (),
    constraints: Mapping[str, float] | None = None,
    seed: int = 0,
    limits: Limits | None = None,
) -> Front:
    """Return the front of predicted accuracy and the devices' costs, and a pick a budget.

    Args:
        devices: tables.
        predictor: a predictor's file, or the published one.
        budgets: of the first table, each with the tables' own budgets.
        objectives: names of tables, ``accuracy`` and counts; default: accuracy and all tables.
        constraints: most of each count (`COUNTS`) or table.
        seed: of every random choice.
        limits: what ends the search.

    Raises:
        InfeasibleError: a budget that nothing keeps; the message has the least.
        UsageError: names that are not there.
    """
    space, costs = devices.space, devices.costs
    names = list(objectives) or [ACCURACY, *costs]
    wanted = [*names, *(constraints or {})]
    for name in dict.fromkeys(wanted):
        if name in COUNTS:
            costs[name] = COUNTS[name](space)
        elif name not in costs and name != ACCURACY:
            raise UsageError(f"unknown objective {name!r}; {choices(name, [*costs, *COUNTS])}")
    own = {name: devices.on_value(name, budget) for name, budget in devices.budgets.items()}
    first = next(iter(devices.models), None)
    if budgets and first is None:
        raise UsageError("--budgets are of the first table: name one with --table")
    asked = [
        {**own, first: min(devices.on_value(first, b), own.get(first, float("inf")))}
        for b in budgets
        if first is not None
    ]
    return select(
        space,
        costs,
        accuracy=load_predictor(predictor, space),
        objectives=names,
        budgets=asked or ([own] if own else []),
        constraints=constraints,
        seed=seed,
        limits=limits,
    )


def select_for_fleet(
    devices: Devices,
    *,
    predictor: Path,
    least_accuracy: float | None = None,
    seed: int = 0,
    limits: Limits | None = None,
) -> Fleet:
    """Return one network for all devices, each of which has a budget (see `select_fleet`).

    Raises:
        InfeasibleError: budgets that no network keeps together.
        UsageError: a table without a budget, or fewer than two tables.
    """
    lacking = [name for name in devices.models if name not in devices.budgets]
    if lacking:
        raise UsageError(f"a fleet needs a budget for {lacking[0]}: --table TABLE=BUDGET")
    return select_fleet(
        devices.space,
        devices.costs,
        {name: devices.on_value(name, budget) for name, budget in devices.budgets.items()},
        accuracy=load_predictor(predictor, devices.space),
        least_accuracy=least_accuracy,
        seed=seed,
        limits=limits,
    )


def _names(tables: Sequence[CostTable]) -> list[str]:
    """Return the shortest names that part the tables: the column, the device, the engine."""
    facts = []
    for table in tables:
        own = table.passport
        facts.append(
            (column_of(own.kind), own.device.slug, f"{own.runtime.name}-{own.runtime.precision}")
        )
    forms = [
        [kind for kind, _, _ in facts],
        [f"{device}.{kind}" for kind, device, _ in facts],
        [f"{device}.{engine}.{kind}" for kind, device, engine in facts],
    ]
    return next((names for names in forms if len(set(names)) == len(names)), forms[-1])
