"""NetAdapt."""

from typing import ClassVar

import numpy as np
import pytest

from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import objective
from edgenas.searchers import SearchProblem, make_searcher
from edgenas.searchers.neighbours import neighbours
from edgenas.testing.searcher_contract import (
    SearcherContract,
    run,
    tiny_costs,
    tiny_latency,
    tiny_problem,
    tiny_space,
)


class TestContract(SearcherContract):
    factory = "edgenas.searchers.netadapt:NetAdaptSearcher"
    settings: ClassVar = {"first_reduction": 0.1}

    def test_another_seed_proposes_something_else(self) -> None:
        def genes(seed: int) -> list[tuple[int, ...]]:
            return [e.arch.genes for e in run(self.make(seed), 200)]

        one, two = genes(1), genes(2)
        assert one[:10] == two[:10]  # the descent from the given network
        assert one != two  # and those that follow it


def values(row: np.ndarray) -> dict[str, float]:
    return {name: float(v[0]) for name, v in tiny_costs(row[None]).items()}


def told(arch) -> Evaluation:  # type: ignore[no-untyped-def]
    return Evaluation(arch, "complete", values(arch.row))


def by_hand(choice: str, n_steps: int) -> list[tuple[int, ...]]:
    """Descend as the paper's algorithm 1 does, with plain loops."""
    space = tiny_space()
    current = space.largest()
    saving, path = 0.05 * values(current)["latency_ms"], []
    for _ in range(n_steps):
        cost, accuracy = values(current)["latency_ms"], values(current)["accuracy"]
        proposals = []
        for column in np.flatnonzero(space.active(current[None])[0]):
            found = []
            for option in range(int(space.n_options[column])):
                changed = current.copy()
                changed[column] = option
                changed = space.canonical(changed[None])[0]
                found.append((values(changed)["latency_ms"], changed))
            fits = [pair for pair in found if pair[0] <= cost - saving]
            if fits:
                proposals.append(max(fits, key=lambda pair: pair[0])[1])
            elif min(found, key=lambda pair: pair[0])[0] < cost:
                proposals.append(min(found, key=lambda pair: pair[0])[1])
        if choice == "accuracy":
            current = max(proposals, key=lambda row: values(row)["accuracy"])
        else:
            current = min(
                proposals,
                key=lambda row: (
                    (accuracy - values(row)["accuracy"]) / (cost - values(row)["latency_ms"])
                ),
            )
        saving *= 0.96
        path.append(tuple(current.tolist()))
    return path


@pytest.mark.parametrize("choice", ["accuracy", "ratio"])
def test_descends_as_the_algorithm_does_by_hand(choice: str) -> None:
    settings = {"first_reduction": 0.05, "choice": choice}
    searcher = make_searcher("netadapt", tiny_problem(), settings=settings)
    (given,) = searcher.ask(1)
    assert given.row.tolist() == searcher.problem.space.largest().tolist()
    searcher.tell([told(given)])
    for reached in by_hand(choice, 6):
        seen = set()
        for _ in range(12):  # more than a step proposes; the rest is random
            (arch,) = searcher.ask(1)
            seen.add(arch.genes)
            searcher.tell([told(arch)])
            if reached in seen:
                break
        assert reached in seen or reached in {
            tuple(np.frombuffer(key, np.int8).tolist()) for key in searcher._known
        }


def test_a_given_network_is_where_it_starts() -> None:
    start = tiny_space().describe(tiny_space().sample(1, np.random.default_rng(3))[0])
    searcher = make_searcher("netadapt", tiny_problem(), settings={"start": start})
    (arch,) = searcher.ask(1)
    assert tiny_space().describe(arch.row) == start


def test_a_start_beyond_a_limit_is_brought_within_it() -> None:
    searcher = make_searcher("netadapt", tiny_problem(4.0))
    (arch,) = searcher.ask(1)
    around = neighbours(searcher.problem.space, arch.row)
    assert values(arch.row)["latency_ms"] <= 4.0 < tiny_costs(around)["latency_ms"].max()


def test_failures_are_not_kept_and_a_failed_step_begins_anew() -> None:
    searcher = make_searcher("netadapt", tiny_problem())
    for _ in range(60):
        for arch in searcher.ask(3):
            searcher.tell([Evaluation(arch, "failed", error="no power")])
    assert searcher.n_told == 180


def test_without_a_cheap_cost_there_is_nothing_to_lower() -> None:
    goals = (objective("accuracy"), objective("latency_ms"))
    with pytest.raises(UsageError, match="netadapt lowers a cheap cost"):
        make_searcher("netadapt", SearchProblem(tiny_space(), goals))
    problem = SearchProblem(tiny_space(), goals, cheap=tiny_latency)
    with pytest.raises(UsageError, match="cost 'energy_mj'"):
        make_searcher("netadapt", problem, settings={"cost": "energy_mj"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"first_reduction": 0.0}, "first_reduction"),
        ({"decay": 1.5}, "decay"),
        ({"choice": "luck"}, "choice is"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_searcher("netadapt", tiny_problem(), settings=settings)


def test_costs_that_do_not_differ_end_every_descent() -> None:
    goals = (objective("accuracy"), objective("latency_ms"))
    problem = SearchProblem(
        tiny_space(), goals, cheap=lambda rows: {"latency_ms": np.zeros(len(rows))}
    )
    searcher = make_searcher("netadapt", problem)
    for _ in range(60):
        for arch in searcher.ask(1):
            searcher.tell([Evaluation(arch, "complete", {"accuracy": 0.5, "latency_ms": 0.0})])
    assert searcher.n_told == 60


def test_a_replay_passes_by_any_number_of_descents() -> None:
    settings = {"first_reduction": 0.9}
    searcher = make_searcher("netadapt", tiny_problem(), settings=settings)
    told = []
    while len(told) < 290:
        (arch,) = searcher.ask(1)
        told.append(Evaluation(arch, "complete", values(arch.row)))
        searcher.tell(told[-1:])
    again = make_searcher("netadapt", tiny_problem(), settings=settings)
    again.tell(told)
    assert again.ask(2) == searcher.ask(2)
