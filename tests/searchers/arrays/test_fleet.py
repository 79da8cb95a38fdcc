"""One network for several devices."""

import numpy as np
import pytest

from edgenas.core.errors import InfeasibleError, UsageError
from edgenas.searchers.arrays.evolution import EvolutionSettings
from edgenas.searchers.arrays.fleet import select_fleet
from edgenas.searchers.arrays.problem import Limits

QUICK = EvolutionSettings(n_initial=40, n_children=40, n_first=60, n_pairs=20, n_expanded=2)
LIMITS = Limits(n_evaluations=1500)


def test_the_network_for_all_is_the_listed_one(small) -> None:
    costs = {"phone": small.latency, "board": small.macs}
    every, accuracy = small.every, small.accuracy(small.every)
    budgets = {name: float(np.quantile(cost(every), 0.3)) for name, cost in costs.items()}
    fleet = select_fleet(
        small.space, costs, budgets, accuracy=small.accuracy, limits=LIMITS, settings=QUICK
    )
    fits = {name: cost(every) <= budgets[name] for name, cost in costs.items()}
    best = accuracy[fits["phone"] & fits["board"]].max()
    assert fleet.network.values["accuracy"] == best
    for name, fine in fits.items():
        own = accuracy[fine].max()
        assert fleet.own[name].values["accuracy"] == own
        assert fleet.accuracy_regret[name] == pytest.approx(own - best)
        cheapest = costs[name](every[fine & (accuracy >= best)]).min()
        excess = fleet.network.values[name] / cheapest - 1
        assert fleet.cost_regret[name] == pytest.approx(excess)
    assert max(fleet.accuracy_regret.values()) > 0  # else the test shows nothing
    told = fleet.as_dict()
    assert told["worst_accuracy_regret"] == max(told["accuracy_regret"].values())
    np.testing.assert_array_equal(small.space.parse(told["network"]["config"]), fleet.network.genes)


def test_an_accuracy_to_reach_makes_the_worst_excess_least(small) -> None:
    costs = {"phone": small.latency, "board": small.params}
    every, accuracy = small.every, small.accuracy(small.every)
    least = float(np.quantile(accuracy, 0.7))
    budgets = {name: float(cost(every).max()) for name, cost in costs.items()}
    fleet = select_fleet(
        small.space,
        costs,
        budgets,
        accuracy=small.accuracy,
        least_accuracy=least,
        limits=LIMITS,
        settings=QUICK,
    )
    rows = every[accuracy >= least]
    shares = [cost(rows) / cost(rows).min() for cost in costs.values()]
    worst = np.max(shares, axis=0).min()
    found = [fleet.network.values[name] / cost(rows).min() for name, cost in costs.items()]
    assert fleet.network.values["accuracy"] >= least
    assert max(found) == pytest.approx(worst)


def test_costs_that_do_not_fold(small) -> None:
    costs = {"phone": small.latency, "odd": lambda rows: 1.0 + rows.sum(axis=1)}
    budgets = {"phone": float(np.median(small.latency(small.every))), "odd": 6.0}
    fleet = select_fleet(
        small.space, costs, budgets, accuracy=small.accuracy, limits=LIMITS, settings=QUICK
    )
    fine = np.all([cost(small.every) <= budgets[n] for n, cost in costs.items()], axis=0)
    best = small.accuracy(small.every[fine]).max()
    assert fleet.network.values["accuracy"] == best


def test_refusals(small) -> None:
    costs = {"phone": small.latency, "board": small.macs}
    few = {"accuracy": small.accuracy, "limits": LIMITS, "settings": QUICK}
    with pytest.raises(UsageError, match="two devices or more"):
        select_fleet(small.space, {"phone": small.latency}, {"phone": 1.0}, **few)
    with pytest.raises(UsageError, match="each with a budget"):
        select_fleet(small.space, costs, {"phone": 9.0}, **few)
    with pytest.raises(UsageError, match="the budget of board is 0"):
        select_fleet(small.space, costs, {"phone": 9.0, "board": 0.0}, **few)
    with pytest.raises(InfeasibleError, match=r"phone <= 0\.01; the least is"):
        select_fleet(small.space, costs, {"phone": 0.01, "board": 1e9}, **few)
    budgets = {"phone": 1e9, "board": 1e9}
    with pytest.raises(InfeasibleError, match="no network of accuracy 2 was found"):
        select_fleet(small.space, costs, budgets, least_accuracy=2.0, **few)
