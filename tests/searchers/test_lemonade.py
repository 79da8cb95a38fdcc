"""LEMONADE."""

from typing import ClassVar

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from edgenas.core.errors import UsageError
from edgenas.searchers import LemonadeSearcher
from edgenas.searchers.lemonade import LemonadeSettings, density
from edgenas.searchers.neighbours import neighbours
from edgenas.testing.searcher_contract import SearcherContract, run, tiny_costs, tiny_problem

SMALL = LemonadeSettings(n_first=8, n_proposed=30, n_accepted=6)


class TestContract(SearcherContract):
    factory = "edgenas.searchers.lemonade:LemonadeSearcher"
    settings: ClassVar = {"n_first": 6, "n_proposed": 20, "n_accepted": 5}


def test_density_is_scott_s_of_scipy_up_to_a_factor() -> None:
    rng = np.random.default_rng(0)
    known, asked = rng.normal(size=(40, 1)), np.linspace(-1, 1, 9)[:, None]
    theirs = gaussian_kde(known.T, bw_method=len(known) ** (-1 / 5) * np.sqrt(39 / 40))(asked.T)
    ours = density(known, asked)
    np.testing.assert_allclose(ours / ours[0], theirs / theirs[0], rtol=1e-9)


def test_density_of_equal_points_is_no_error() -> None:
    assert density(np.ones((3, 2)), np.ones((2, 2))).tolist() == [1.0, 1.0]


def test_children_are_handed_over_with_the_parent_they_differ_from_in_one_gene() -> None:
    searcher = LemonadeSearcher(tiny_problem(), seed=0, settings=SMALL)
    first = run(searcher, 8)
    assert all(searcher.parent(e.arch) is None for e in first)
    told = {e.arch for e in first if e.status == "complete"}
    children = searcher.ask(6)
    for child in children:
        parent = searcher.parent(child)
        assert parent in told
        around = neighbours(searcher.problem.space, child.row)
        assert (around == parent.row).all(axis=1).any()


def test_a_replay_hands_over_the_same_parents() -> None:
    searcher, again = (LemonadeSearcher(tiny_problem(), seed=0, settings=SMALL) for _ in range(2))
    told = run(searcher, 20)
    again.tell(told)
    asked = searcher.ask(4)
    assert again.ask(4) == asked
    assert [again.parent(arch) for arch in asked] == [searcher.parent(arch) for arch in asked]
    assert [again.parent(e.arch) for e in told] == [searcher.parent(e.arch) for e in told]


def test_children_where_the_cheap_objectives_are_thin_are_evaluated_more_often() -> None:
    def mean_density(settings: LemonadeSettings) -> float:
        amounts = []
        for seed in range(12):
            searcher = LemonadeSearcher(tiny_problem(), seed=seed, settings=settings)
            told = run(searcher, 8)
            known = np.array([[e.values["latency_ms"]] for e in told if e.values])
            asked = np.array([arch.genes for arch in searcher.ask(4)], np.int8)
            amounts += density(known, tiny_costs(asked)["latency_ms"][:, None]).tolist()
        return float(np.mean(amounts))

    every = LemonadeSettings(n_first=8, n_proposed=4, n_accepted=4)  # no choice among children
    assert mean_density(LemonadeSettings(8, 60, 4)) < mean_density(every)


def test_more_cannot_be_accepted_than_proposed() -> None:
    with pytest.raises(UsageError, match="n_accepted is at least 1 and at most n_proposed"):
        LemonadeSettings(n_proposed=5, n_accepted=6)
