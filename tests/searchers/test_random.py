"""Random search."""

from functools import partial

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.errors import UsageError
from edgenas.core.objective import objective
from edgenas.searchers import RandomSearcher, SearchProblem
from edgenas.spaces import fold
from edgenas.spaces.budget import BudgetProgram
from edgenas.testing.searcher_contract import SearcherContract, run, tiny_problem


class TestContract(SearcherContract):
    factory = "edgenas.searchers.random:RandomSearcher"


def test_batches_do_not_matter() -> None:
    one = run(RandomSearcher(tiny_problem(), seed=5), 60, batch_size=1)
    assert run(RandomSearcher(tiny_problem(), seed=5), 60, batch_size=13) == one


def test_a_budget_programme_draws_feasible_ones_only_where_hardly_any_are() -> None:
    space = spaces.get("mbv3_tiny")
    macs = fold.macs(space)
    program = BudgetProgram(macs)
    budget = program.least()[0] * 1.3
    share = program.count(budget) / program.size()
    assert 0 < share < 1e-4
    calls: list[int] = []

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        calls.append(n)
        return program.sample(n, budget, rng)

    searcher = RandomSearcher(SearchProblem(space, (objective("n_macs"),), draw=draw), seed=0)
    archs = searcher.ask(20)
    assert len(set(archs)) == 20
    assert macs(np.array([arch.genes for arch in archs], np.int8)).max() <= budget
    assert sum(calls) <= 1024  # nothing was rejected, but for duplicates


def test_few_feasible_architectures_in_a_large_space_end_in_a_short_list() -> None:
    space = spaces.get("mbv3_tiny")
    program = BudgetProgram(fold.macs(space))
    least = program.least()[0]
    draw = partial(_draw, program, least)
    searcher = RandomSearcher(SearchProblem(space, (objective("n_macs"),), draw=draw), seed=0)
    assert len(searcher.ask(3)) == 1
    assert searcher.exhausted


def _draw(program: BudgetProgram, budget: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return program.sample(n, budget, rng)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="seed is not negative"):
        RandomSearcher(tiny_problem(), seed=-1)


def test_what_costs_no_finite_number_is_not_proposed() -> None:
    space = spaces.get("mbv3_tiny")

    def cheap(rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"latency_ms": np.where(rows[:, 0] == 0, np.nan, 1.0)}

    goals = (objective("accuracy"), objective("latency_ms"))
    searcher = RandomSearcher(SearchProblem(space, goals, cheap=cheap), seed=0)
    assert all(arch.genes[0] > 0 for arch in searcher.ask(50))
