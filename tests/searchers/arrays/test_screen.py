"""Screening of children by an additive model."""

import numpy as np

from edgenas.searchers.arrays.evolution import Evolution, EvolutionSettings
from edgenas.searchers.arrays.problem import Limits, Selection
from edgenas.searchers.arrays.screen import Screen
from edgenas.searchers.arrays.terms import GeneSum
from edgenas.spaces import get
from edgenas.spaces.fold import macs

SPACE = get("ofa_mbv3_w1.0")


def rows(n: int, seed: int = 0) -> np.ndarray:
    return SPACE.canonical(SPACE.sample(n, np.random.default_rng(seed)))


def additive(seed: int = 0) -> GeneSum:
    rng = np.random.default_rng(seed)
    return GeneSum(SPACE, [rng.normal(0, 0.01, n) for n in SPACE.n_options], offset=0.7)


def test_differences_of_an_additive_quantity_are_found() -> None:
    screen, quantity = Screen(SPACE), additive()
    screen.learn(rows(4000), quantity(rows(4000)))
    screen.fit()
    others = rows(200, seed=1)
    found, true = screen(others), quantity(others)
    error = (found - found.mean()) - (true - true.mean())
    assert np.abs(error).max() < 0.05 * true.std()


def test_what_was_learned_last_counts_most() -> None:
    screen = Screen(SPACE)
    others = rows(200, seed=1)
    for seed, n_fits in ((0, 1), (5, 40)):
        for _ in range(n_fits):
            screen.learn(rows(1000), additive(seed)(rows(1000)))
            screen.fit()
    late, early = additive(5)(others), additive(0)(others)
    assert np.corrcoef(screen(others), late)[0, 1] > 0.99 > np.corrcoef(late, early)[0, 1]


def test_a_few_architectures_are_not_enough() -> None:
    screen = Screen(SPACE)
    screen.learn(rows(500), additive()(rows(500)))
    assert not screen.ready
    screen.learn(rows(4000), additive()(rows(4000)))
    assert screen.ready
    screen.learn(rows(2), np.array([np.inf, -np.inf]))  # passed over
    screen.fit()
    assert np.isfinite(screen(rows(3))).all()


def test_children_that_are_evaluated_promise_more_than_those_that_are_drawn() -> None:
    def crooked(genes: np.ndarray) -> np.ndarray:
        value = additive()(genes)
        return np.asarray(value + 3 * (value - 0.7) ** 2)

    selection = Selection(SPACE, {"macs": macs(SPACE)}, crooked, budgets=[{"macs": 3e8}])
    evolution = Evolution(selection, seed=0, settings=EvolutionSettings(n_first=10**9))
    evolution.run(Limits(n_evaluations=20_000))
    drawn, parents = evolution._drawn(3000)
    assert (drawn != evolution.archive.genes[parents]).mean() < 0.5
    chosen = evolution._children()
    assert len(chosen) == evolution._n_children

    def margin(genes: np.ndarray) -> float:
        costs = selection.signed(("macs",), genes)
        inside = evolution.archive.within(costs)
        gap = crooked(genes[inside]) - evolution.archive.best_within(costs[inside])
        return float(np.median(gap) - (~inside).mean())

    assert margin(chosen) > margin(drawn)
