"""Surrogate search."""

from typing import ClassVar

import numpy as np
import pytest

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import Constraint, objective
from edgenas.pareto import hypervolume
from edgenas.searchers import RandomSearcher, SearchProblem, SurrogateSearcher
from edgenas.searchers.base import Searcher
from edgenas.searchers.surrogate import SurrogateSettings
from edgenas.testing.searcher_contract import (
    SearcherContract,
    every_architecture,
    run,
    tiny_costs,
    tiny_latency,
    tiny_problem,
    tiny_space,
)

SMALL = SurrogateSettings(n_first=8, n_between=4)


class TestContract(SearcherContract):
    factory = "edgenas.searchers.surrogate:SurrogateSearcher"
    settings: ClassVar = {"n_first": 8, "n_between": 6}


class TestEnsembleContract(SearcherContract):
    factory = "edgenas.searchers.surrogate:SurrogateSearcher"
    settings: ClassVar = {"n_first": 8, "n_between": 12, "model": "ensemble"}


class TestParetoContract(SearcherContract):
    factory = "edgenas.searchers.surrogate:SurrogateSearcher"
    settings: ClassVar = {"n_first": 8, "n_between": 6, "acquisition": "pareto"}


def volume(searcher: Searcher, n: int) -> float:
    told = run(searcher, n)
    points = [[-e.values["accuracy"], e.values["latency_ms"]] for e in told if e.values]
    return hypervolume(points, [0.0, 10.0])


@pytest.mark.parametrize("model", ["process", "ensemble"])
@pytest.mark.parametrize("acquisition", ["gain", "pareto"])
def test_finds_most_of_the_front_with_few_evaluations(model: str, acquisition: str) -> None:
    settings = SurrogateSettings(8, 4, model=model, acquisition=acquisition)
    costs = tiny_costs(every_architecture(tiny_space()))
    best = hypervolume(np.stack([-costs["accuracy"], costs["latency_ms"]], axis=1), [0.0, 10.0])
    ours = np.mean(
        [volume(SurrogateSearcher(tiny_problem(), seed=s, settings=settings), 40) for s in range(4)]
    )
    random = np.mean([volume(RandomSearcher(tiny_problem(), seed=s), 40) for s in range(4)])
    assert best - ours < 0.5 * (best - random)


class NoListing(SurrogateSearcher):
    """Sees its space as one too large to be listed."""

    def _listing(self) -> Genes:
        return np.zeros((0, self.problem.space.n_genes), dtype=np.int8)


def test_a_large_space_is_searched_by_a_pool() -> None:
    settings = SurrogateSettings(8, 4, n_pool=100)
    pooled = [volume(NoListing(tiny_problem(), seed=s, settings=settings), 40) for s in range(4)]
    random = [volume(RandomSearcher(tiny_problem(), seed=s), 40) for s in range(4)]
    assert np.mean(pooled) > np.mean(random)


def test_several_dear_objectives() -> None:
    problem = SearchProblem(tiny_space(), (objective("accuracy"), objective("latency_ms")))
    searcher = SurrogateSearcher(problem, seed=0, settings=SMALL)
    ours = volume(searcher, 40)
    assert ours > volume(RandomSearcher(problem, seed=0), 40)


def test_three_objectives() -> None:
    def cheap(population: Genes) -> dict[str, np.ndarray]:
        return {**tiny_latency(population), "n_params": population.sum(axis=1).astype(np.float64)}

    goals = (objective("accuracy"), objective("latency_ms"), objective("n_params"))
    searcher = SurrogateSearcher(
        SearchProblem(tiny_space(), goals, cheap=cheap), seed=0, settings=SMALL
    )
    for _ in range(10):
        for arch in searcher.ask(4):
            values = {k: float(v[0]) for k, v in tiny_costs(arch.row[None]).items()}
            values["n_params"] = float(sum(arch.genes))
            searcher.tell([Evaluation(arch, "complete", values)])
    assert searcher.n_told == 40


def test_a_limit_on_what_is_bought_is_learned() -> None:
    limit = Constraint("accuracy", 0.5)
    problem = SearchProblem(
        tiny_space(), (objective("accuracy"), objective("latency_ms")), (limit,), tiny_latency
    )
    searcher = SurrogateSearcher(problem, seed=0, settings=SMALL)
    kept = []
    for _ in range(48):
        (arch,) = searcher.ask(1)
        values = {k: float(v[0]) for k, v in tiny_costs(arch.row[None]).items()}
        amount = max(0.0, 0.5 - values["accuracy"])
        kept.append(amount == 0)
        status = "complete" if amount == 0 else "infeasible"
        searcher.tell([Evaluation(arch, status, values, None, amount)])
    assert np.mean(kept[-20:]) > np.mean(kept[:8]) + 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_first": 1}, "n_first is at least 2"),
        ({"n_between": 0}, "n_between is at least 1"),
        ({"model": "oracle"}, "model is one of process, ensemble"),
        ({"acquisition": "luck"}, "acquisition is one of gain, pareto"),
        ({"deviations": -1.0}, "deviations is not negative"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SurrogateSettings(**settings)  # type: ignore[arg-type]


def test_nothing_complete_and_three_objectives_is_no_error() -> None:
    def cheap(population: Genes) -> dict[str, np.ndarray]:
        return {**tiny_latency(population), "n_params": population.sum(axis=1).astype(np.float64)}

    goals = (objective("accuracy"), objective("latency_ms"), objective("n_params"))
    problem = SearchProblem(tiny_space(), goals, (Constraint("accuracy", 0.999),), cheap)
    searcher = SurrogateSearcher(problem, seed=0, settings=SMALL)
    for _ in range(20):
        (arch,) = searcher.ask(1)
        values = {k: float(v[0]) for k, v in tiny_costs(arch.row[None]).items()}
        values["n_params"] = float(sum(arch.genes))
        searcher.tell([Evaluation(arch, "infeasible", values, None, 0.1)])
    assert searcher.n_told == 20


def test_a_pool_of_which_all_is_known_is_no_error() -> None:
    problem = tiny_problem(2.0)
    searcher = NoListing(problem, seed=0, settings=SurrogateSettings(2, 1, n_pool=20))
    told = run(searcher, 400)
    costs = tiny_costs(every_architecture(tiny_space()))
    assert len(told) <= (costs["latency_ms"] <= 2.0).sum()
