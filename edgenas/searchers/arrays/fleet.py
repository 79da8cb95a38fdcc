"""One network for several devices: the least that any of them loses against a network of its own.

Every device has its cost and its budget. Its own best network is what evolution finds for it
alone. One network for all keeps every budget; what a device loses by it is its regret (Savage
1951, doi:10.1080/01621459.1951.10500768), and the worst of the regrets is made small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import InfeasibleError, UsageError
from edgenas.searchers.arrays.evolution import EvolutionSettings
from edgenas.searchers.arrays.exact import FrontProgram
from edgenas.searchers.arrays.front import Front, Pick
from edgenas.searchers.arrays.problem import (
    ACCURACY,
    Limits,
    Numbers,
    Selection,
    keeping_all,
)
from edgenas.searchers.arrays.select import select
from edgenas.searchers.arrays.terms import GeneSum
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import Fold

Floats = npt.NDArray[np.float64]

WORST = "worst"
"""The cost of a fleet: the greatest of all devices' costs, each as a share of its budget."""
_N_SCALES = 8


@dataclass(frozen=True, slots=True)
class Fleet:
    """One network for all devices beside each one's own.

    Attributes:
        budgets: by device.
        own: by device the best network that keeps its budget, as a pick with all values.
        network: the one for all.
        accuracy_regret: by device what it loses in accuracy against its own, a fraction.
        cost_regret: by device by how much more the network costs than that device's cheapest one
            known that is at least as accurate, a fraction of the latter.
        fronts: by device the front of accuracy and its cost.
    """

    space: SearchSpace
    budgets: Mapping[str, float]
    own: Mapping[str, Pick]
    network: Pick
    accuracy_regret: Mapping[str, float]
    cost_regret: Mapping[str, float]
    fronts: Mapping[str, Front]

    def as_dict(self) -> dict[str, Any]:
        """Return the fleet as JSON values."""
        return {
            "space": {"name": self.space.name, "parameters": self.space.parameters},
            "budgets": dict(self.budgets),
            "network": self.network.as_dict(self.space),
            "own": {name: pick.as_dict(self.space) for name, pick in self.own.items()},
            "accuracy_regret": dict(self.accuracy_regret),
            "worst_accuracy_regret": max(self.accuracy_regret.values()),
            "cost_regret": dict(self.cost_regret),
            "worst_cost_regret": max(self.cost_regret.values()),
        }


class WorstShare:
    """The greatest of several costs, each as a share of its budget: at most 1 keeps all."""

    def __init__(self, costs: Mapping[str, Numbers], budgets: Mapping[str, float]) -> None:
        self.costs, self.budgets = costs, budgets

    def __call__(self, population: Genes) -> Floats:
        """Return the worst share of every architecture, shape (n,)."""
        shares = [np.asarray(self.costs[name](population)) / b for name, b in self.budgets.items()]
        return np.asarray(np.max(shares, axis=0), dtype=np.float64)


def select_fleet(  # noqa: PLR0913
    space: SearchSpace,
    costs: Mapping[str, Numbers],
    budgets: Mapping[str, float],
    *,
    accuracy: Numbers,
    least_accuracy: float | None = None,
    seed: int = 0,
    limits: Limits | None = None,
    settings: EvolutionSettings | None = None,
) -> Fleet:
    """Return one network for several devices, beside each device's own.

    Args:
        space: what is selected from.
        costs: by device.
        budgets: by device, more than 0.
        accuracy: a callable on populations of genes.
        least_accuracy: None: the network keeps all budgets, and the worst loss of accuracy is
            least. A fraction: it is at least so accurate, and the worst relative excess over each
            device's cheapest network of that accuracy is least, whatever the budgets.
        seed: of every random choice.
        limits: of each of the runs, one a device and one for all.
        settings: of evolution.

    Raises:
        InfeasibleError: budgets that no network keeps, alone or together, or an accuracy that none
            of the devices' own networks reaches.
        UsageError: a device without a budget, or fewer than two.
    """
    _check(space, costs, budgets)
    fronts: dict[str, Front] = {}
    for number, (name, budget) in enumerate(budgets.items()):
        fronts[name] = select(
            space,
            {name: costs[name]},
            accuracy=accuracy,
            budgets=({name: budget},),
            seed=seed + number,
            limits=limits,
            settings=settings,
        )
    start = np.concatenate([front.genes for front in fronts.values()])
    if least_accuracy is None:
        start = np.concatenate([start, _keeping_all(space, costs, budgets)])
        worst, last = WorstShare(costs, budgets), seed + len(budgets)
        row = _most_accurate(space, worst, accuracy, start, last, limits, settings)
    else:
        shares = {name: _cheapest(front, name, least_accuracy) for name, front in fronts.items()}
        worst = WorstShare(costs, shares)
        row = _least_excess(
            space, worst, accuracy, least_accuracy, start, seed + len(budgets), limits, settings
        )
    return _told(space, costs, budgets, accuracy, row, fronts)


# -- internal ------------------------------------------------------------------------------


def _check(space: SearchSpace, costs: Mapping[str, Numbers], budgets: Mapping[str, float]) -> None:
    if len(costs) < 2 or set(costs) != set(budgets):
        raise UsageError(
            "a fleet is two devices or more, each with a budget; got costs of "
            f"{', '.join(costs) or 'none'} and budgets of {', '.join(budgets) or 'none'}"
        )
    wrong = [name for name, budget in budgets.items() if not 0 < budget < np.inf]
    if wrong:
        raise UsageError(f"the budget of {wrong[0]} is {budgets[wrong[0]]}, allowed: more than 0")
    Selection(space, costs, budgets=[budgets]).check_budgets()


def _keeping_all(
    space: SearchSpace, costs: Mapping[str, Numbers], budgets: Mapping[str, float]
) -> Genes:
    """Return a network that keeps all budgets, or none if none is known, shape (n, n_genes)."""
    row = keeping_all(budgets, costs)
    if row is not None:
        return row[None]
    folds = {name: cost for name, cost in costs.items() if isinstance(cost, Fold | GeneSum)}
    if len(folds) < len(costs):
        return np.zeros((0, space.n_genes), dtype=np.int8)
    first, *others = folds
    limits = [(folds[name], budgets[name]) for name in others]
    try:
        return FrontProgram({first: folds[first]}, limits=limits).front().genes
    except InfeasibleError:  # checked before; labels may have been left out
        return np.zeros((0, space.n_genes), dtype=np.int8)


def _cheapest(front: Front, name: str, least_accuracy: float) -> float:
    fine = front.values[ACCURACY] >= least_accuracy
    if not fine.any():
        raise InfeasibleError(
            f"no network of accuracy {least_accuracy:g} was found within the budget of {name}; the "
            f"most is {front.values[ACCURACY].max():.5f}"
        )
    return float(front.values[name][fine].min())


def _most_accurate(  # noqa: PLR0913
    space: SearchSpace,
    worst: WorstShare,
    accuracy: Numbers,
    start: Genes,
    seed: int,
    limits: Limits | None,
    settings: EvolutionSettings | None,
) -> Genes:
    """Return the most accurate network that keeps all budgets."""
    front = select(
        space,
        {WORST: worst},
        accuracy=accuracy,
        budgets=({WORST: 1.0},),
        seed=seed,
        limits=limits,
        settings=settings,
        start=start,
    )
    return front.picks[0].genes


def _least_excess(  # noqa: PLR0913
    space: SearchSpace,
    worst: WorstShare,
    accuracy: Numbers,
    least_accuracy: float,
    start: Genes,
    seed: int,
    limits: Limits | None,
    settings: EvolutionSettings | None,
) -> Genes:
    """Return the network of that accuracy with the least worst share of the devices' cheapest."""
    fine = np.asarray(accuracy(start)) >= least_accuracy
    most = float(worst(start[fine]).min())
    scales = np.unique(np.linspace(1.0, max(most, 1.0 + 1e-9), _N_SCALES))
    front = select(
        space,
        {WORST: worst},
        accuracy=accuracy,
        budgets=[{WORST: float(scale)} for scale in scales if scale >= worst(start).min()],
        seed=seed,
        limits=limits,
        settings=settings,
        start=start,
    )
    good = np.flatnonzero(front.values[ACCURACY] >= least_accuracy)
    row: Genes = front.genes[good[front.values[WORST][good].argmin()]]
    return row


def _told(  # noqa: PLR0913
    space: SearchSpace,
    costs: Mapping[str, Numbers],
    budgets: Mapping[str, float],
    accuracy: Numbers,
    row: Genes,
    fronts: Mapping[str, Front],
) -> Fleet:
    quantities: dict[str, Numbers] = {ACCURACY: accuracy, **costs}

    def valued(genes: Genes, budget: Mapping[str, float]) -> Pick:
        values = {n: float(np.asarray(q(genes[None]))[0]) for n, q in quantities.items()}
        return Pick(dict(budget), genes, values)

    network = valued(row, budgets)
    own = {n: valued(front.picks[0].genes, {n: budgets[n]}) for n, front in fronts.items()}
    reached = network.values[ACCURACY]
    # The network may be better than what a device found for itself: then that is its own best.
    for name, pick in own.items():
        keeps = network.values[name] <= budgets[name]
        if keeps and reached > pick.values[ACCURACY]:
            own[name] = replace(network, budget={name: budgets[name]})
    regret = {name: pick.values[ACCURACY] - reached for name, pick in own.items()}
    excess = {}
    for name, front in fronts.items():
        fine = front.values[ACCURACY] >= reached
        least = min([*front.values[name][fine].tolist(), network.values[name]])
        excess[name] = network.values[name] / least - 1
    return Fleet(space, dict(budgets), own, network, regret, excess, dict(fronts))
