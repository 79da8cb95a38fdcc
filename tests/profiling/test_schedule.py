"""The order of timing: how often, how spread, where the anchor stands, what decides it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.profiling.schedule import schedule

visits_drawn = st.dictionaries(
    st.text("abcdefgh:", min_size=1, max_size=4), st.integers(1, 9), min_size=1, max_size=12
)


@given(visits=visits_drawn, every=st.integers(1, 12), seed=st.integers(0, 99))
def test_every_key_is_visited_as_often_as_asked(
    visits: dict[str, int], every: int, seed: int
) -> None:
    order = schedule(visits, anchor="@", anchor_every=every, seed=seed)
    found = Counter(order)
    n_anchors = found.pop("@")
    assert found == visits
    assert order == schedule(visits, anchor="@", anchor_every=every, seed=seed)
    # Anchors: at both ends, and after every so many others.
    n = sum(visits.values())
    assert order[0] == order[-1] == "@"
    assert n_anchors == 1 + -(-n // every)
    gaps = np.diff([i for i, key in enumerate(order) if key == "@"]) - 1
    assert set(gaps[:-1].tolist()) <= {every}
    assert 1 <= gaps[-1] <= every


@given(visits=visits_drawn, seed=st.integers(0, 99))
def test_visits_to_a_key_are_spread_over_the_whole_run(visits: dict[str, int], seed: int) -> None:
    order = [k for k in schedule(visits, anchor="@", anchor_every=10**9, seed=seed) if k != "@"]
    n_rounds = max(visits.values())
    for key, n in visits.items():
        places = [i for i, other in enumerate(order) if other == key]
        # Two visits are about n_rounds / n rounds apart, and a round is at most every key once.
        rounds_apart = n_rounds / n + 2
        assert max(np.diff(places), default=0) <= rounds_apart * len(visits)
        assert places[0] <= rounds_apart * len(visits)


def test_every_round_is_a_permutation_of_its_own() -> None:
    keys = [f"key{i}" for i in range(30)]
    order = schedule(dict.fromkeys(keys, 8), anchor="@", anchor_every=10**9, seed=3)[1:-1]
    rounds = [order[i : i + 30] for i in range(0, len(order), 30)]
    assert all(sorted(one) == sorted(keys) for one in rounds)
    assert len({tuple(one) for one in rounds}) == 8


def test_fewer_visits_are_not_all_in_the_first_rounds() -> None:
    visits = {"often": 100, **{f"rare{i}": 5 for i in range(50)}}
    order = schedule(visits, anchor="@", anchor_every=10**9, seed=0)
    thirds = np.histogram([i for i, key in enumerate(order) if key.startswith("rare")], 3)[0]
    assert thirds == pytest.approx(250 / 3, rel=0.15)
    for i in range(50):
        places = [place for place, key in enumerate(order) if key == f"rare{i}"]
        assert min(np.diff(places)) > len(order) / 10


def test_another_seed_is_another_order() -> None:
    visits = dict.fromkeys("abcdefgh", 3)
    orders = {tuple(schedule(visits, anchor="@", anchor_every=5, seed=seed)) for seed in range(20)}
    assert len(orders) == 20


def test_nothing_to_visit_is_one_look_at_the_anchor() -> None:
    assert schedule({}, anchor="@", anchor_every=5, seed=0) == ["@"]
