"""Conformal quantiles: ranks by hand, coverage by trial."""

import numpy as np
import pytest

from edgenas.costs.conformal import interval, lower_quantile, upper_quantile


@pytest.mark.parametrize(
    ("n", "confidence", "rank"),
    # rank = ceil((n + 1) * confidence), as Lei et al. 2018 have it.
    [(9, 0.9, 9), (19, 0.9, 18), (10, 0.9, 10), (99, 0.95, 95), (199, 0.95, 190), (4, 0.5, 3),
     (9, 0.5, 5), (39, 0.975, 39), (200, 0.9, 181)],
)  # fmt: skip
def test_ranks_by_hand(n: int, confidence: float, rank: int) -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert upper_quantile(scores, confidence) == rank
    # The lower end is the upper end of the mirrored scores.
    assert lower_quantile(scores, confidence) == n + 1 - rank
    assert lower_quantile(scores, confidence) == -upper_quantile(-scores, confidence)


def test_too_few_scores_widen_the_extreme() -> None:
    scores = np.array([0.0, 1.0, 5.0])
    assert upper_quantile(scores, 0.9) == 9.0  # 5 and as much again as it is above the median
    assert lower_quantile(scores, 0.9) == -1.0
    assert upper_quantile(scores, 0.75) == 5.0


def test_an_interval_shares_its_misses_between_both_ends() -> None:
    scores = np.arange(1.0, 20)  # 19 scores: ranks 1 and 19 hold 90 %
    assert interval(scores, 0.9) == (1.0, 19.0)
    assert interval(np.arange(1.0, 40), 0.9) == (2.0, 38.0)


@pytest.mark.parametrize("n", [19, 39, 150])
def test_the_next_score_is_inside_as_often_as_promised(n: int) -> None:
    rng = np.random.default_rng(3)
    inside = above = 0
    n_trials = 4000
    for _ in range(n_trials):
        scores = rng.standard_t(3, n + 1)  # heavy tails: nothing is assumed of the scores
        low, high = interval(scores[:-1], 0.9)
        inside += low <= scores[-1] <= high
        above += scores[-1] > upper_quantile(scores[:-1], 0.9)
    assert 0.88 <= inside / n_trials <= 0.93
    assert above / n_trials <= 0.115
