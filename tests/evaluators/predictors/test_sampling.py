"""The choice of subnets: distinct, spread, never again, and better than chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.core.errors import DataError, SpaceError, UsageError
from edgenas.evaluators.predictors import choose_subnets, sampling
from edgenas.evaluators.predictors.features import Features
from edgenas.evaluators.predictors.process import GaussianProcess
from edgenas.evaluators.predictors.sampling import near_front, spread_over_cost
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import macs, params

Evaluated = tuple[Genes, npt.NDArray[np.float64]]


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "N_CANDIDATES", 200)
    monkeypatch.setattr(sampling, "_N_GENERATIONS", 3)


def as_set(rows: Genes) -> set[bytes]:
    return {row.tobytes() for row in rows}


def test_subnets_are_distinct_canonical_and_begin_with_the_extremes(space: SearchSpace) -> None:
    found = choose_subnets(space, 30, np.random.default_rng(0))
    assert found.shape == (30, space.n_genes)
    assert found.dtype == np.int8
    assert len(as_set(found)) == 30
    np.testing.assert_array_equal(space.canonical(found), found)
    program = BudgetProgram(macs(space))
    np.testing.assert_array_equal(found[:2], [program.least()[1], program.greatest()[1]])
    again = choose_subnets(space, 30, np.random.default_rng(0))
    np.testing.assert_array_equal(again, found)
    assert as_set(choose_subnets(space, 30, np.random.default_rng(1))) != as_set(found)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_can_be_asked_for(space: SearchSpace, n: int) -> None:
    assert len(choose_subnets(space, n, np.random.default_rng(0))) == n


def test_another_cost_may_say_what_spread_means(space: SearchSpace) -> None:
    found = choose_subnets(space, 10, np.random.default_rng(0), cost=params(space))
    program = BudgetProgram(params(space))
    np.testing.assert_array_equal(found[:2], [program.least()[1], program.greatest()[1]])


def test_what_is_known_is_not_chosen_again(space: SearchSpace, evaluated: Evaluated) -> None:
    found = choose_subnets(space, 25, np.random.default_rng(0), known=evaluated)
    assert len(as_set(found)) == 25
    assert not as_set(found) & as_set(evaluated[0])
    few = (evaluated[0][:4], evaluated[1][:4])  # too few for a process
    assert not as_set(choose_subnets(space, 9, np.random.default_rng(0), known=few)) & as_set(
        few[0]
    )


def test_a_small_space_is_taken_whole() -> None:
    tiny = spaces.get("nas_bench_macro")
    small = spaces.get(
        "mbv3_tiny",
        kernels=(3,),
        expansions=(2, 4),
        resolutions=(20,),
        stages=[
            {
                "width": 24,
                "stride": 2,
                "depths": [1, 2],
                "squeeze_excite": False,
                "activation": "relu",
            }
        ],
    )
    n = BudgetProgram(macs(small)).size()
    assert n == 6
    found = choose_subnets(small, n, np.random.default_rng(0))
    assert len(as_set(found)) == n
    with pytest.raises(UsageError, match=r"7 architectures are wanted of .* which has 6 more"):
        choose_subnets(small, 7, np.random.default_rng(0))
    with pytest.raises(UsageError, match="which has 4 more"):
        choose_subnets(small, 5, np.random.default_rng(0), known=(found[:2], np.array([0.1, 0.2])))
    assert len(as_set(choose_subnets(tiny, 40, np.random.default_rng(0)))) == 40


def test_known_accuracies_are_checked(space: SearchSpace, evaluated: Evaluated) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="allowed: 0 to 1"):
        choose_subnets(space, 5, rng, known=(evaluated[0], 100 * evaluated[1]))
    with pytest.raises(SpaceError, match="have shape"):
        choose_subnets(space, 5, rng, known=(evaluated[0][:, 1:], evaluated[1]))
    with pytest.raises(UsageError, match="0 architectures"):
        choose_subnets(space, 0, rng)


def test_candidates_cover_the_cost_better_than_uniform_genes(space: SearchSpace) -> None:
    cost = macs(space)
    program = BudgetProgram(cost)
    found = spread_over_cost(program, 400, np.random.default_rng(0))
    assert len(as_set(found)) == len(found)
    least, greatest = program.least()[0], program.greatest()[0]
    assert (cost(found).min(), cost(found).max()) == (least, greatest)
    edges = np.linspace(least, greatest, 9)
    uniform = space.sample(len(found), np.random.default_rng(0))
    spread, plain = (np.histogram(cost(rows), edges)[0] for rows in (found, uniform))
    assert spread.min() > 3 * plain.min()


def test_near_the_front_is_better_for_its_cost(
    space: SearchSpace, evaluated: Evaluated, truth: object
) -> None:
    assert callable(truth)
    features = Features.scaled_to(space, evaluated[0])
    target = (evaluated[1] - evaluated[1].mean()) / evaluated[1].std()
    process = GaussianProcess.fit(features, features(evaluated[0]), target, seed=0)
    cost = macs(space)
    pool = spread_over_cost(BudgetProgram(cost), 300, np.random.default_rng(0))
    good = near_front(process, features, cost, pool, np.random.default_rng(1))
    assert 20 < len(good) <= len(pool)
    assert len(as_set(good)) == len(good)
    line = np.polynomial.Polynomial.fit(np.log(cost(pool)), truth(pool), 2)
    better = truth(good) - line(np.log(cost(good)))
    worse = truth(pool) - line(np.log(cost(pool)))
    assert better.mean() > worse.mean() + 2 * worse.std() / 3


def test_chosen_subnets_teach_more_than_uniform_ones(space: SearchSpace, truth: object) -> None:
    assert callable(truth)
    test = spread_over_cost(BudgetProgram(macs(space)), 500, np.random.default_rng(9))

    def error(rows: Genes) -> float:
        accuracy = truth(rows)
        features = Features.scaled_to(space, rows)
        level, spread = accuracy.mean(), accuracy.std()
        process = GaussianProcess.fit(features, features(rows), (accuracy - level) / spread, seed=0)
        return float(np.abs(process(features(test)) * spread + level - truth(test)).mean())

    chosen, uniform = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        chosen.append(error(choose_subnets(space, 40, rng)))
        uniform.append(error(space.sample(40, rng)))
    assert np.mean(chosen) < 0.9 * np.mean(uniform)
