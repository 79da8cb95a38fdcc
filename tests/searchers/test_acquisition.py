"""Expected hypervolume improvement."""

import numpy as np
import pytest

from edgenas.pareto import hypervolume, non_dominated
from edgenas.searchers.acquisition import expected_gains, gains_of_two, nodes


def front_of(n: int, n_objectives: int, seed: int) -> np.ndarray:
    points = np.random.default_rng(seed).random((n, n_objectives))
    return points[non_dominated(points)]


@pytest.mark.parametrize("n", [0, 1, 12])
def test_gains_of_two_are_differences_of_hypervolumes(n: int) -> None:
    front = front_of(n, 2, 0) if n else np.zeros((0, 2))
    reference = np.array([1.0, 0.9])
    points = np.random.default_rng(1).random((200, 2)) * 1.3 - 0.1
    before = hypervolume(front, reference) if n else 0.0
    wanted = [hypervolume(np.vstack([front, p]), reference) - before for p in points]
    np.testing.assert_allclose(gains_of_two(points, front, reference), wanted, atol=1e-12)


def test_members_beyond_the_reference_count_nothing() -> None:
    front, reference = np.array([[0.5, 2.0], [0.8, 0.2]]), np.array([1.0, 1.0])
    found = gains_of_two(np.array([[0.6, 0.5]]), front, reference)
    assert found.tolist() == pytest.approx([0.2 * 0.5])


def test_one_uncertain_objective_is_as_the_mean_of_many_draws() -> None:
    front, reference = front_of(10, 2, 2), np.array([1.0, 1.0])
    rng = np.random.default_rng(3)
    known, mean, std = rng.random(20), rng.random(20), 0.3 * rng.random(20) + 0.05
    places, weights = nodes(1)

    def points(deviations: np.ndarray) -> np.ndarray:
        values = mean[:, None] + std[:, None] * deviations[None]
        return np.stack([np.broadcast_to(known[:, None], values.shape), values], axis=2)

    found = expected_gains(points(places[:, 0]), weights, front, reference)
    draws = rng.standard_normal(100_000)
    many = expected_gains(points(draws), np.full(len(draws), 1e-5), front, reference)
    np.testing.assert_allclose(found, many, atol=0.006)


def test_three_objectives_are_differences_of_hypervolumes() -> None:
    front, reference = front_of(15, 3, 4), np.ones(3)
    points = np.random.default_rng(5).random((40, 1, 3))
    before = hypervolume(front, reference)
    wanted = [hypervolume(np.vstack([front, p[0]]), reference) - before for p in points]
    np.testing.assert_allclose(
        expected_gains(points, np.ones(1), front, reference), wanted, atol=1e-12
    )


def test_one_objective_is_expected_improvement() -> None:
    points = np.array([[[0.3], [0.7]], [[0.9], [1.1]]])
    weights = np.array([0.5, 0.5])
    found = expected_gains(points, weights, np.array([[0.5]]), np.array([2.0]))
    assert found.tolist() == pytest.approx([0.1, 0.0])
    none = expected_gains(points, weights, np.zeros((0, 1)), np.array([1.0]))
    assert none.tolist() == pytest.approx([0.5, 0.05])


def test_weights_of_nodes_sum_to_one_and_have_unit_variance() -> None:
    for n in (0, 1, 2):
        places, weights = nodes(n)
        assert places.shape == (len(weights), n)
        assert weights.sum() == pytest.approx(1.0)
    places, weights = nodes(1)
    assert weights @ places[:, 0] ** 2 == pytest.approx(1.0)
