"""Rewards of MONAS and MnasNet."""

import numpy as np
import pytest

from edgenas.searchers import rewards

ACCURACY, COST = np.array([0.9, 0.5]), np.array([0.25, 0.75])


def test_mixed() -> None:
    assert rewards.mixed(ACCURACY, COST, 0.6).tolist() == pytest.approx([0.44, 0.0])


def test_constrained_on_cost() -> None:
    assert rewards.constrained_on_cost(ACCURACY, COST, 0.5).tolist() == [0.9, 0.0]
    assert rewards.constrained_on_cost(ACCURACY, COST, 0.75).tolist() == [0.9, 0.5]


def test_constrained_on_accuracy() -> None:
    assert rewards.constrained_on_accuracy(ACCURACY, COST, 0.6).tolist() == [0.75, 0.0]


def test_the_soft_reward_gives_five_percent_for_twice_the_latency() -> None:
    # Section 3.1 of the paper: doubling the latency for 5 % more accuracy is a fair exchange.
    one, two = rewards.weighted_product(
        np.array([0.5, 0.525]), np.array([40.0, 80.0]), 75.0, alpha=-0.07, beta=-0.07
    )
    assert two == pytest.approx(one, rel=0.002)


def test_the_hard_reward_is_the_accuracy_within_the_target() -> None:
    found = rewards.weighted_product(
        np.array([0.8, 0.8, 0.8]), np.array([10.0, 75.0, 150.0]), 75.0, alpha=0.0, beta=-1.0
    )
    assert found.tolist() == pytest.approx([0.8, 0.8, 0.4])
