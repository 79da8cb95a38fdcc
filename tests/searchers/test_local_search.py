"""Pareto local search."""

from typing import ClassVar

import numpy as np

from edgenas.core.objective import objective
from edgenas.pareto import non_dominated
from edgenas.searchers import SearchProblem, make_searcher
from edgenas.searchers.neighbours import neighbours
from edgenas.testing.searcher_contract import (
    SearcherContract,
    every_architecture,
    run,
    tiny_costs,
    tiny_problem,
    tiny_space,
)


class TestContract(SearcherContract):
    factory = "edgenas.searchers.local_search:LocalSearchSearcher"
    settings: ClassVar = {"n_first": 5}


def test_proposes_neighbours_of_the_front() -> None:
    searcher = make_searcher("local_search", tiny_problem(), settings={"n_first": 6})
    told = run(searcher, 60)
    space = searcher.problem.space
    n_near = 0
    for i in range(6, 60):
        known = [e for e in told[:i] if e.status == "complete"]
        points = np.array([[-e.values["accuracy"], e.values["latency_ms"]] for e in known])
        front = [e.arch.row for e, kept in zip(known, non_dominated(points), strict=True) if kept]
        around = np.concatenate([neighbours(space, row) for row in front])
        n_near += bool((around == told[i].arch.row).all(axis=1).any())
    assert n_near == 54


def test_one_objective_climbs_to_the_best_of_all() -> None:
    problem = SearchProblem(tiny_space(), (objective("accuracy"),))
    searcher = make_searcher("local_search", problem, settings={"n_first": 1})
    told = [e for e in run(searcher, 80) if e.status == "complete"]
    every = tiny_costs(every_architecture(problem.space))["accuracy"]
    # Some fail by their id, so the best that is told is compared with the top of all.
    assert max(e.values["accuracy"] for e in told) >= np.sort(every)[-3]


def test_those_that_costs_alone_make_promising_come_first() -> None:
    searcher = make_searcher("local_search", tiny_problem(), settings={"n_first": 1})
    (first,) = run(searcher, 1)
    if first.status != "complete":
        (first,) = run(searcher, 1)
    asked = searcher.ask(8)
    latency = [float(tiny_costs(arch.row[None])["latency_ms"][0]) for arch in asked]
    faster = [value < first.values["latency_ms"] for value in latency]
    assert faster == sorted(faster, reverse=True)  # as accurate and faster is not dominated
