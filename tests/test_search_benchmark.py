"""The benchmark of searchers: measures against brute force, and counts that are honest."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.search import methods
from benchmarks.search.problem import COUNTS, Known, of_table
from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.spaces.listing import listing


@pytest.fixture(scope="module")
def known() -> Known:
    """A table of half of a small space, with random values."""
    space = spaces.get("nas_bench_macro", n_layers=(2, 2))
    every = listing(space)
    assert every is not None
    rng = np.random.default_rng(0)
    rows = every[np.sort(rng.permutation(len(every))[: len(every) // 2])]
    return of_table("small", space, rows, rng.random(len(rows)), rng.uniform(1, 2, len(rows)))


def area(points: np.ndarray, reference: tuple[float, float]) -> float:
    """The dominated area, by a grid of all coordinates."""
    xs = np.unique(np.append(points[:, 0], reference[0]))
    ys = np.unique(np.append(points[:, 1], reference[1]))
    total = 0.0
    for left, right in itertools.pairwise(xs):
        for low, high in itertools.pairwise(ys):
            if ((points[:, 0] <= left) & (points[:, 1] <= low)).any():
                total += (right - left) * (high - low)
    return total


def candidates(known: Known) -> Genes:
    every = listing(known.space)
    assert every is not None
    return every[known.is_candidate(every)]


def test_measures_are_those_of_brute_force(known: Known) -> None:
    rows = candidates(known)
    points = known.points(rows)
    best = [p for p in points if not ((points <= p).all(axis=1) & (points < p).any(axis=1)).any()]
    assert sorted(map(tuple, best)) == sorted(map(tuple, known.front))
    assert known.reference == (points[:, 0].max(), points[:, 1].max())
    order = np.random.default_rng(1).permutation(len(rows))
    judged = known.judge(rows[order])
    n = min(COUNTS[0], len(rows))
    whole, part = area(points, known.reference), area(points[order[:n]], known.reference)
    assert judged["regret"][0] == pytest.approx(1 - part / whole)
    hits = {tuple(p) for p in points[order[:n]]} & {tuple(p) for p in best}
    assert judged["recall"][0] == pytest.approx(len(hits) / len(best))
    assert judged["regret"][-1] == pytest.approx(0 if len(rows) <= COUNTS[-1] else 1, abs=1e-9)
    assert (judged["recall"][-1], judged["igd_plus"][-1]) == (1.0, 0.0)
    assert judged["igd_plus"][0] >= judged["igd_plus"][1] >= 0


@pytest.mark.parametrize("method", ["random", "optuna_nsga2", "regularized_evolution"])
def test_every_method_evaluates_distinct_candidates(known: Known, method: str) -> None:
    rows = methods.get(method)(known, 0, 20)
    assert len(rows) == len(np.unique(rows, axis=0)) == 20
    assert known.is_candidate(rows).all()
    again = methods.get(method)(known, 0, 20)
    assert np.array_equal(rows, again)


def test_all_searchers_but_two_are_compared() -> None:
    assert {"monas", "dpp_net", "surrogate", "optuna_tpe", "pymoo_nsga2"} <= set(methods.names())
