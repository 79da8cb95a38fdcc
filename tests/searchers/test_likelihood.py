"""The most likely architecture under budgets, against all architectures of small spaces."""

import numpy as np
import pytest

from edgenas.searchers.likelihood import draws, likelihood, most_likely
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import macs
from edgenas.spaces.listing import listing
from tests.oneshot.mixed.small_spaces import KINDS, small


@pytest.fixture(params=KINDS)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return small(request.param)


def random_logarithms(space: SearchSpace, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.log(rng.dirichlet(np.full(n, 0.5)) + 1e-12) for n in space.n_options]


def test_without_a_budget_it_is_the_best_option_of_every_gene(space: SearchSpace) -> None:
    logarithms = random_logarithms(space, 0)
    found = most_likely(
        space, logarithms, excess=lambda p: np.zeros(len(p)), start=space.smallest()[None]
    )
    assert found is not None
    best = np.array([[v.argmax() for v in logarithms]], dtype=np.int8)
    if all((space.canonical(best)[0, columns] == best[0, columns]).all()
           for columns in space.sequence_columns):  # fmt: skip
        np.testing.assert_array_equal(found, space.canonical(best)[0])
        assert likelihood(space, logarithms, found[None])[0] == 0


@pytest.mark.parametrize("seed", range(3))
def test_under_a_budget_it_is_the_likeliest_of_all_that_keep_it(
    space: SearchSpace, seed: int
) -> None:
    fold, logarithms = macs(space), random_logarithms(space, seed)
    every = listing(space)
    assert every is not None
    costs = fold(every)
    for share in (0.02, 0.3):
        limit = float(np.quantile(costs, share))
        found = most_likely(
            space, logarithms, excess=lambda p, limit=limit: np.maximum(fold(p) - limit, 0.0),
            start=space.sample(3, np.random.default_rng(0)),
        )  # fmt: skip
        assert found is not None
        assert fold(found[None])[0] <= limit
        wanted = likelihood(space, logarithms, every[costs <= limit]).max()
        assert likelihood(space, logarithms, found[None])[0] == pytest.approx(wanted)


def test_draws_have_the_probabilities(space: SearchSpace) -> None:
    logarithms = random_logarithms(space, 1)
    rows = draws(space, logarithms, 20_000, np.random.default_rng(0))
    free = [c for c in range(space.n_genes) if c not in space.conditions]
    in_order = {c for columns in space.sequence_columns for c in columns}
    for column in free:
        if column not in in_order:  # those are conditioned on being in order
            shares = np.bincount(rows[:, column], minlength=space.n_options[column]) / len(rows)
            np.testing.assert_allclose(shares, np.exp(logarithms[column]), atol=0.02)


def test_a_layer_that_runs_behind_a_skip_is_another_path_and_not_proposed() -> None:
    """The first layer skips for sure, the second runs for sure: no canonical network is that."""
    space = small("fbnet")
    first, second = space.sequence_columns[0][:2]
    logarithms = [np.log(np.full(n, 1 / n)) for n in space.n_options]
    never = np.full(int(space.n_options[first]) - 1, -np.inf)
    logarithms[first] = np.r_[0.0, never]
    even = np.log(1 / (space.n_options[second] - 1))
    logarithms[second] = np.r_[-np.inf, np.full(int(space.n_options[second]) - 1, even)]
    assert len(draws(space, logarithms, 500, np.random.default_rng(0))) == 0
    # A little of the first runs, too: those draws are left.
    logarithms[first] = np.log(np.r_[0.9, np.full(len(never), 0.1 / len(never))])
    rows = draws(space, logarithms, 2000, np.random.default_rng(0))
    assert 50 < len(rows) < 600
    assert (rows[:, [first, second]] > 0).all()


def test_the_likeliest_is_taken_in_order_where_the_best_options_are_not() -> None:
    space = small("fbnet")
    first, second = space.sequence_columns[0][:2]
    logarithms = [np.log(np.full(n, 1 / n)) for n in space.n_options]
    logarithms[first] = np.log(np.r_[0.6, 0.05, np.full(int(space.n_options[first]) - 2, 0.05)])
    logarithms[second] = np.log(np.r_[0.01, np.full(int(space.n_options[second]) - 1, 0.12)])
    logarithms = [values - np.log(np.exp(values).sum()) for values in logarithms]
    found = most_likely(
        space, logarithms, excess=lambda p: np.zeros(len(p)), start=space.smallest()[None]
    )
    every = listing(space)
    assert found is not None
    assert every is not None
    scores = likelihood(space, logarithms, every)
    assert likelihood(space, logarithms, found[None])[0] == pytest.approx(scores.max())
    # [skip, best] would have 0, were it a network.
    assert scores.max() < 0


def test_budgets_that_nothing_keeps_have_no_most_likely_network(space: SearchSpace) -> None:
    fold = macs(space)
    found = most_likely(
        space, random_logarithms(space, 0), excess=fold, start=space.smallest()[None]
    )
    assert found is None
