"""Designs: each choice is the one that leaves the least doubt, as brute force finds it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.core.errors import UsageError
from edgenas.evaluators.predictors.design import PriorProcess, most_telling
from edgenas.evaluators.predictors.features import Features
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def covariances(space: SearchSpace) -> tuple[Floats, Floats]:
    pool = np.unique(space.sample(40, np.random.default_rng(0)), axis=0)
    target = space.sample(25, np.random.default_rng(1))
    features = Features.scaled_to(space, pool)
    prior = PriorProcess(features, features(pool))
    values = features(pool)
    return prior.covariance(values, values), prior.covariance(features(target), values)


def left_over(among: Floats, to_target: Floats, taken: list[int], noise: float) -> float:
    """What evaluating `taken` takes off the target's variance, negated."""
    own = among[np.ix_(taken, taken)] + noise * np.eye(len(taken))
    cross = to_target[:, taken]
    return -float(np.einsum("ij,jk,ik->", cross, np.linalg.inv(own), cross))


@pytest.mark.parametrize("known", [(), (4, 9)])
def test_each_choice_leaves_the_least_doubt(
    covariances: tuple[Floats, Floats], known: tuple[int, ...]
) -> None:
    among, to_target = covariances
    chosen = most_telling(among, to_target, 5, noise=0.05, known=known)
    assert len({*chosen, *known}) == 5 + len(known)
    before = list(known)
    for choice in chosen:
        options = {
            i: left_over(among, to_target, [*before, i], 0.05)
            for i in range(len(among))
            if i not in before
        }
        assert options[choice] == pytest.approx(min(options.values()), rel=1e-4)
        before.append(choice)


def test_evaluations_without_noise_are_no_danger(covariances: tuple[Floats, Floats]) -> None:
    among, to_target = covariances
    twice = np.block([[among, among], [among, among]])  # nothing is left to learn from the copies
    found = most_telling(twice, np.hstack([to_target, to_target]), len(among), noise=0.0)
    assert sorted(i % len(among) for i in found) == list(range(len(among)))


def test_all_candidates_can_be_taken_and_no_more(covariances: tuple[Floats, Floats]) -> None:
    among, to_target = covariances
    n = len(among)
    assert sorted(most_telling(among, to_target, n, noise=0.01)) == list(range(n))
    with pytest.raises(UsageError, match=f"{n} architectures are wanted of {n - 1} candidates"):
        most_telling(among, to_target, n, noise=0.01, known=(0,))
