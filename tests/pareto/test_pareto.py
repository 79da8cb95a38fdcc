"""Dominance, ranks, crowding, hypervolume and knee against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgenas.core.errors import UsageError
from edgenas.pareto import (
    constrained_ranks,
    crowding_distances,
    hypervolume,
    hypervolume_history,
    knee,
    non_dominated,
    ranks,
)

# Few distinct values, so that ties and duplicates are common.
POINTS = st.integers(1, 4).flatmap(
    lambda m: arrays.arrays(
        np.float64, st.tuples(st.integers(0, 12), st.just(m)), elements=st.integers(0, 4)
    )
)


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def brute_ranks(points: np.ndarray) -> np.ndarray:
    result = np.full(len(points), -1)
    for rank in range(len(points)):
        left = [i for i in range(len(points)) if result[i] < 0]
        for i in left:
            if not any(dominates(points[j], points[i]) for j in left):
                result[i] = rank
        if (result >= 0).all():
            break
    return result


@given(POINTS)
def test_ranks_are_those_of_brute_force(points: np.ndarray) -> None:
    expected = brute_ranks(points)
    assert ranks(points).tolist() == expected.tolist()
    assert non_dominated(points).tolist() == (expected == 0).tolist()


@given(POINTS, st.data())
def test_constrained_ranks_follow_constrained_domination(
    points: np.ndarray, data: st.DataObject
) -> None:
    n = len(points)
    amounts = data.draw(
        st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.0, np.inf]), min_size=n, max_size=n)
    )
    result = constrained_ranks(points, amounts)
    for i in range(n):
        for j in range(n):
            both = amounts[i] == 0 == amounts[j]
            if (both and dominates(points[i], points[j])) or (not both and amounts[i] < amounts[j]):
                assert result[i] < result[j]
            if not both and amounts[i] == amounts[j]:
                assert result[i] == result[j]


def test_values_of_infeasible_points_are_not_read() -> None:
    points = [[np.nan, 1.0], [2.0, 2.0], [1.0, 3.0]]
    assert constrained_ranks(points, [0.5, 0.0, 0.0]).tolist() == [1, 0, 0]


def test_crowding_of_a_small_front_by_hand() -> None:
    points = [[0.0, 4.0], [1.0, 2.0], [3.0, 1.0], [4.0, 0.0], [9.0, 9.0]]
    distances = crowding_distances(points, ranks(points))
    assert distances.tolist() == [np.inf, 3 / 4 + 3 / 4, 3 / 4 + 2 / 4, np.inf, np.inf]


def test_crowding_survives_equal_values() -> None:
    assert np.isfinite(crowding_distances([[1.0, 1.0]] * 4, [0] * 4)).sum() == 2


@given(POINTS)
def test_hypervolume_is_that_of_unit_cells(points: np.ndarray) -> None:
    reference = np.full(points.shape[1], 5.0)
    axes = [np.arange(5)] * points.shape[1]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, points.shape[1])
    covered = (points[None] <= cells[:, None]).all(axis=2).any(axis=1).sum()
    assert hypervolume(points, reference) == pytest.approx(covered)


@given(POINTS)
def test_history_is_the_hypervolume_of_every_prefix(points: np.ndarray) -> None:
    reference = np.full(points.shape[1], 3.5)
    expected = [hypervolume(points[: i + 1], reference) for i in range(len(points))]
    assert hypervolume_history(points, reference).tolist() == pytest.approx(expected)


def test_knee_is_furthest_from_the_line_of_the_extremes() -> None:
    points = [[0.0, 100.0], [1.0, 40.0], [2.0, 30.0], [10.0, 0.0], [9.0, 99.0]]
    assert knee(points) == 2 - 1  # 1 - 0.1 - 0.4 against 1 - 0.2 - 0.3: a tie, the first
    assert knee([[0.0, 100.0], [1.0, 40.0], [2.0, 20.0], [10.0, 0.0]]) == 2


def test_knee_does_not_depend_on_units() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((50, 3)) ** 2
    assert knee(points) == knee(points * [1e-3, 1e6, 1.0] + [5.0, -7.0, 0.0])


def test_knee_of_three_objectives_bulges_towards_the_ideal_point() -> None:
    points = [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.2, 0.2, 0.2], [0.1, 0.5, 0.5]]
    assert knee(points) == 3


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[1.0, 1.0]], 0),
        ([[1.0, 1.0], [1.0, 1.0]], 0),
        ([[0.0, 1.0], [1.0, 0.0]], 0),
        ([[3.0], [1.0]], 1),
        ([[0.0, 1.0], [0.9, 0.9], [1.0, 0.0]], 0),  # nothing bulges: an extreme
    ],
)
def test_knee_of_degenerate_fronts(points: list[list[float]], expected: int) -> None:
    assert knee(points) == expected


def test_nan_shapes_and_wrong_references_are_refused() -> None:
    for function in (non_dominated, ranks, knee):
        with pytest.raises(UsageError, match="point 1 of 2 holds a NaN"):
            function([[1.0, 2.0], [np.nan, 1.0]])
        with pytest.raises(UsageError, match="shape"):
            function([1.0, 2.0])
    with pytest.raises(UsageError, match="no points"):
        knee(np.zeros((0, 2)))
    with pytest.raises(UsageError, match="reference"):
        hypervolume([[1.0, 2.0]], [3.0])
    with pytest.raises(UsageError, match="reference"):
        hypervolume([[1.0, 2.0]], [3.0, np.inf])
    with pytest.raises(UsageError, match="violations"):
        constrained_ranks([[1.0, 2.0]], [np.nan])
