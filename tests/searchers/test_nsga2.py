"""NSGA-II."""

from typing import ClassVar

import numpy as np
import pytest

from edgenas.core.errors import RegistryError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.pareto import hypervolume
from edgenas.searchers import Nsga2Searcher, RandomSearcher, make_searcher
from edgenas.searchers.base import Searcher
from edgenas.searchers.nsga2 import Nsga2Settings
from edgenas.testing.searcher_contract import (
    SearcherContract,
    every_architecture,
    run,
    tiny_costs,
    tiny_problem,
    tiny_space,
)

SMALL = Nsga2Settings(population_size=10)


class TestContract(SearcherContract):
    factory = "edgenas.searchers.nsga2:Nsga2Searcher"
    settings: ClassVar = {"population_size": 8}


def test_the_paper_s_defaults() -> None:
    searcher = make_searcher("nsga2", tiny_problem())
    assert searcher.settings == Nsga2Settings(100, 0.9, None)


def _volume(told: list[Evaluation]) -> float:
    points = [[-e.values["accuracy"], e.values["latency_ms"]] for e in told if e.values]
    return hypervolume(points, [0.0, 10.0])


def test_finds_more_than_random_search_with_the_same_evaluations() -> None:
    def mean(searchers: list[Searcher]) -> float:
        return float(np.mean([_volume(run(searcher, 90)) for searcher in searchers]))

    nsga2 = mean([Nsga2Searcher(tiny_problem(), seed=s, settings=SMALL) for s in range(8)])
    random = mean([RandomSearcher(tiny_problem(), seed=s) for s in range(8)])
    everything = every_architecture(tiny_space())
    costs = tiny_costs(everything)
    best = hypervolume(np.stack([-costs["accuracy"], costs["latency_ms"]], axis=1), [0.0, 10.0])
    assert best - nsga2 < 0.6 * (best - random)


def test_asking_beyond_a_generation_gives_more_offspring_of_the_same() -> None:
    searcher = Nsga2Searcher(tiny_problem(), seed=0, settings=SMALL)
    run(searcher, 10)
    many = searcher.ask(25)
    again = Nsga2Searcher(tiny_problem(), seed=0, settings=SMALL)
    run(again, 10)
    assert [arch for _ in range(25) for arch in again.ask(1)] == many


def test_infeasible_ones_are_driven_towards_the_limit() -> None:
    searcher = Nsga2Searcher(tiny_problem(), seed=1, settings=SMALL)

    def violation(genes: np.ndarray) -> float:
        return max(0.0, float(tiny_costs(genes[None])["latency_ms"][0]) - 2.0)

    amounts = []
    for _ in range(60):
        (arch,) = searcher.ask(1)
        amounts.append(violation(arch.row))
        values = {name: float(v[0]) for name, v in tiny_costs(arch.row[None]).items()}
        if amounts[-1] > 0:
            searcher.tell([Evaluation(arch, "infeasible", {}, None, amounts[-1])])
        else:
            searcher.tell([Evaluation(arch, "complete", values)])
    assert np.mean(amounts[-20:]) < 0.6 * np.mean(amounts[:10])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population_size": 1}, "at least 2"),
        ({"crossover_probability": 1.5}, r"crossover_probability lies in \[0, 1\]"),
        ({"mutation_probability": -0.1}, "mutation_probability"),
        ({"populaton_size": 3}, "nearest: population_size"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_searcher("nsga2", tiny_problem(), settings=settings)


def test_an_unknown_searcher_is_refused_with_the_nearest() -> None:
    with pytest.raises(RegistryError, match="nearest: nsga2"):
        make_searcher("nsga3", tiny_problem())
