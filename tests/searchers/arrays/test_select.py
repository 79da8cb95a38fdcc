"""Selection: budgets kept, the best of a small space found, refusals, the same again."""

import numpy as np
import pytest

from edgenas.core.errors import InfeasibleError, SpaceError, UsageError
from edgenas.pareto import non_dominated
from edgenas.searchers.arrays.evolution import EvolutionSettings
from edgenas.searchers.arrays.problem import Limits
from edgenas.searchers.arrays.select import select
from edgenas.searchers.arrays.terms import GeneSum
from edgenas.spaces import get
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import macs, params, peak_activation_kib

QUICK = EvolutionSettings(n_initial=40, n_children=40, n_first=60, n_pairs=20, n_expanded=2)


def test_evolution_finds_the_best_of_a_small_space(small) -> None:
    latency = small.latency(small.every)
    budgets = [float(np.quantile(latency, share)) for share in (0.1, 0.4, 0.8)]
    front = select(
        small.space,
        {"latency": small.latency},
        accuracy=small.accuracy,
        budgets=[{"latency": budget} for budget in budgets],
        limits=Limits(n_evaluations=700),
        settings=QUICK,
    )
    accuracy = small.accuracy(small.every)
    for budget, pick in zip(budgets, front.picks, strict=True):
        assert pick.values["latency"] <= budget
        assert pick.values["accuracy"] == accuracy[latency <= budget].max()
    assert not front.statistics.exact
    assert front.statistics.n_evaluations <= 700
    points = np.column_stack([-front.values["accuracy"], front.values["latency"]])
    assert non_dominated(points).all()
    assert front.values["latency"].max() <= budgets[-1]


def test_the_same_seed_gives_the_same_in_one_run_of_all_budgets() -> None:
    space = get("mbv3_tiny")
    cost, size = macs(space), params(space)

    def accuracy(population: np.ndarray) -> np.ndarray:
        return -np.exp(-(space.encode(population) @ np.arange(space.n_options.sum())) / 300)

    def run(seed: int) -> dict[str, object]:
        front = select(
            space,
            {"n_macs": cost, "n_params": size},
            accuracy=accuracy,
            budgets=[{"n_macs": 3e6}, {"n_macs": 6e6, "n_params": 4e5}, {"n_params": 5e5}],
            seed=seed,
            limits=Limits(n_evaluations=4000),
            settings=QUICK,
        )
        content = front.as_dict()
        content["statistics"].pop("seconds")
        for pick in front.picks:
            assert all(pick.values[name] <= limit for name, limit in pick.budget.items())
        return content

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_budget_near_the_least_ends_when_little_is_left() -> None:
    space = get("ofa_mbv3_w1.0")
    cost = macs(space)
    least = BudgetProgram(cost).least()[0]
    front = select(
        space,
        {"n_macs": cost},
        accuracy=lambda population: np.log(cost(population)) + population[:, 3] / 99,
        budgets=[{"n_macs": 1.05 * least}],
        limits=Limits(n_evaluations=10_000_000),
    )
    # Children that keep such a budget are few; most of the rounds would bring nothing.
    assert front.statistics.n_costs < 400_000
    assert front.statistics.n_evaluations < 100_000
    assert least <= front.picks[0].values["n_macs"] <= 1.05 * least


def test_several_objectives_and_constraints() -> None:
    space = get("mbv3_tiny")
    costs = {"n_macs": macs(space), "n_params": params(space), "peak": peak_activation_kib(space)}
    front = select(
        space,
        costs,
        accuracy=lambda population: np.log(costs["n_macs"](population)) + population[:, 3] / 9,
        objectives=("accuracy", "n_macs", "n_params"),
        constraints={"peak": 60.0},
        limits=Limits(n_evaluations=3000),
        settings=QUICK,
    )
    assert front.picks == ()
    assert (front.values["peak"] <= 60).all()
    points = [-front.values["accuracy"], front.values["n_macs"], front.values["n_params"]]
    assert non_dominated(np.column_stack(points)).all()
    assert len(front) > 10
    member = front.as_dict()["front"][0]
    np.testing.assert_array_equal(space.parse(member["config"]), front.genes[0])


def test_what_folds_is_exact(small) -> None:
    rng = np.random.default_rng(0)
    linear = GeneSum.from_linear(small.space, rng.normal(size=int(small.space.n_options.sum())))
    budget = float(np.median(small.latency(small.every)))
    front = select(small.space, {"ms": small.latency}, accuracy=linear, budgets=[{"ms": budget}])
    assert front.statistics.exact
    assert front.statistics.n_evaluations == 0
    fine = small.latency(small.every) <= budget
    assert front.picks[0].values["accuracy"] == linear(small.every[fine]).max()
    most = select(small.space, {"ms": small.latency, "m": small.macs}, maximised=("m",))
    assert most.statistics.exact
    assert most.values["m"].max() == small.macs(small.every).max()


def test_an_infeasible_budget_is_refused_with_the_least(small) -> None:
    least = BudgetProgram(small.latency).least()[0]
    for accuracy in (small.accuracy, None):
        with pytest.raises(InfeasibleError, match=rf"latency <= 0\.1; the least is {least:.6g}"):
            select(
                small.space,
                {"latency": small.latency},
                accuracy=accuracy,
                budgets=[{"latency": 50.0}, {"latency": 0.1}],
            )
    both = {"latency": least * 1.0001, "macs": float(small.macs(small.every).min())}
    rows = small.every[small.latency(small.every) <= both["latency"]]
    assert small.macs(rows).min() > both["macs"]  # each alone can be kept
    with pytest.raises(InfeasibleError, match="the least is"):
        select(
            small.space,
            {"latency": small.latency, "macs": small.macs},
            accuracy=small.accuracy,
            budgets=[both],
        )
    with pytest.raises(InfeasibleError, match=r"nothing in .* was found that keeps the limits"):
        select(
            small.space,
            {"odd": lambda population: population.sum(axis=1) + 5.0},
            accuracy=small.accuracy,
            budgets=[{"odd": 1.0}],
            limits=Limits(n_evaluations=500),
            settings=QUICK,
        )


def test_a_budget_of_exactly_the_least_is_kept(small) -> None:
    least, row = BudgetProgram(small.latency).least()
    front = select(
        small.space,
        {"latency": small.latency},
        accuracy=small.accuracy,
        budgets=[{"latency": least}],
        limits=Limits(n_evaluations=200),
        settings=QUICK,
    )
    np.testing.assert_array_equal(front.picks[0].genes, row)


def test_a_search_ends_when_nothing_new_is_left(small) -> None:
    front = select(
        small.space,
        {"latency": small.latency},
        accuracy=small.accuracy,
        limits=Limits(n_evaluations=10**9),
        settings=QUICK,
    )
    assert front.statistics.n_evaluations < 20 * len(small.every)
    points = np.column_stack([-small.accuracy(small.every), small.latency(small.every)])
    true = np.unique(points[non_dominated(points)], axis=0)
    found = np.column_stack([-front.values["accuracy"], front.values["latency"]])
    np.testing.assert_array_equal(np.unique(found, axis=0), true)


def test_seconds_end_a_search(small) -> None:
    front = select(
        small.space,
        {"latency": small.latency},
        accuracy=small.accuracy,
        limits=Limits(n_evaluations=None, seconds=1e-6),
        settings=QUICK,
    )
    assert front.statistics.n_evaluations > 0


def test_start_is_taken_in(small) -> None:
    best = small.every[small.accuracy(small.every).argmax()]
    front = select(
        small.space,
        {"latency": small.latency},
        accuracy=small.accuracy,
        budgets=[{"latency": 1e9}],
        limits=Limits(n_evaluations=1),
        start=best[None],
        settings=QUICK,
    )
    np.testing.assert_array_equal(front.picks[0].genes, best)
    with pytest.raises(SpaceError, match="genes of"):
        select(small.space, {"l": small.latency}, accuracy=small.accuracy, start=best[None, :3])


def test_arguments_that_fit_nothing(small) -> None:
    costs = {"latency": small.latency}
    with pytest.raises(UsageError, match="objective 'energy' is not given"):
        select(small.space, costs, accuracy=small.accuracy, objectives=("energy",))
    with pytest.raises(UsageError, match=r"'latencies' is no cost here; .*latency"):
        select(small.space, costs, accuracy=small.accuracy, budgets=[{"latencies": 1.0}])
    with pytest.raises(UsageError, match="cannot be called 'accuracy'"):
        select(small.space, {"accuracy": small.latency})
    with pytest.raises(UsageError, match="nothing to select by"):
        select(small.space, {})
    with pytest.raises(UsageError, match="the limit of latency is nan"):
        select(small.space, costs, budgets=[{"latency": float("nan")}])
    with pytest.raises(UsageError, match="accuracy gave NaN"):
        select(small.space, costs, accuracy=lambda rows: np.full(len(rows), np.nan))
    with pytest.raises(UsageError, match=r"accuracy gave an array of shape \(1,\)"):
        select(small.space, costs, accuracy=lambda rows: np.zeros(1))
    with pytest.raises(UsageError, match="needs an end"):
        Limits(n_evaluations=None)
    with pytest.raises(UsageError, match="n_evaluations is 0"):
        Limits(n_evaluations=0)
    with pytest.raises(UsageError, match="seconds is"):
        Limits(seconds=-1.0)
    with pytest.raises(UsageError, match="n_pairs is 0"):
        EvolutionSettings(n_pairs=0)
    with pytest.raises(UsageError, match="n_generations is 0"):
        EvolutionSettings(n_generations=0)
    with pytest.raises(UsageError, match="n_promising is 1"):
        EvolutionSettings(n_promising=1)


def test_a_small_space_is_evaluated_whole(small) -> None:
    latency, accuracy = small.latency(small.every), small.accuracy(small.every)
    front = select(
        small.space,
        {"latency": small.latency},
        accuracy=small.accuracy,
        limits=Limits(n_evaluations=len(small.every)),
    )
    assert front.statistics.method == "exhaustive"
    assert front.statistics.exact
    points = np.column_stack([-accuracy, latency])
    best = points[non_dominated(points)]
    found = np.column_stack([-front.values["accuracy"], front.values["latency"]])
    assert sorted(map(tuple, found)) == sorted(set(map(tuple, best)))
