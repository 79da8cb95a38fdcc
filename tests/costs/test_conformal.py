"""Conformal quantiles: ranks by hand, coverage by trial."""

from math import log, sqrt
from statistics import fmean

import numpy as np
import pytest

from edgenas.costs.conformal import interval, lower_quantile, upper_quantile, with_sessions


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


# -- sessions ------------------------------------------------------------------------------


def test_sessions_that_agree_leave_only_the_doubt_that_all_levels_have() -> None:
    errors = np.random.default_rng(0).normal(0.01, 0.05, 60)
    widened = with_sessions(errors, np.ones(100))
    assert widened.shape == (200,)
    assert (np.diff(widened) >= 0).all()
    assert np.median(widened) == pytest.approx(np.median(errors), abs=2e-3)
    assert interval(widened, 0.8) == pytest.approx(interval(errors, 0.8), abs=5e-3)


@pytest.mark.parametrize(
    ("levels", "t95"),  # Student's t at 95 %, one-sided, from a printed table: n degrees
    [((1.0, 1.03, 0.98), 2.353), ((1.0, 1.0), 2.920), ((1.0, 1.03, 0.98, 1.01, 1.02, 0.99), 1.943)],
)
def test_a_new_sessions_level_by_hand(levels: tuple[float, ...], t95: float) -> None:
    # All networks of a session are off by the same: only the session's level is uncertain.
    low, high = interval(with_sessions(np.full(10, 0.02), np.array(levels), n_points=2000), 0.9)
    n = len(levels)
    middle = fmean(log(level) for level in levels)
    squares = sum((log(level) - middle) ** 2 for level in levels)
    spread = sqrt((squares + 0.01**2) / n * (1 + 1 / n))  # one session more, off by 1 %
    # The distribution stands there in steps of a per cent: the tail is cut a little short.
    assert log((1 + high) / 1.02) - middle == pytest.approx(t95 * spread, rel=0.06)
    assert log((1 + low) / 1.02) - middle == pytest.approx(-t95 * spread, rel=0.06)


@pytest.mark.parametrize("n_sessions", [2, 3, 8])
@pytest.mark.parametrize("level_std", [0.003, 0.01, 0.03])
def test_intervals_hold_in_a_session_that_was_not_seen(n_sessions: int, level_std: float) -> None:
    rng = np.random.default_rng(n_sessions)
    inside_std = 0.005
    widened: list[float] = []
    pooled: list[float] = []
    for _ in range(300):
        logs = rng.normal(0, level_std, n_sessions)
        typical = np.median(logs)
        inside = np.exp(rng.normal(0, inside_std, (n_sessions, 20)))
        later = rng.normal(0, level_std, 300) + rng.normal(0, inside_std, 300)
        errors = np.exp(later - typical) - 1
        scores = np.exp(logs - typical)[:, None] * inside - 1
        for found, kept in (
            (with_sessions(inside.ravel() - 1, np.exp(logs - typical)), widened),
            (scores.ravel(), pooled),
        ):
            low, high = interval(found, 0.9)
            kept.append(float(((errors >= low) & (errors <= high)).mean()))
    # Steadier than believed a priori: wider than needed; less steady: narrower where a few
    # processes are all that speaks against the belief.
    low, high = {0.003: (0.92, 1.0), 0.01: (0.87, 0.99), 0.03: (0.76, 0.93)}[level_std]
    assert low <= np.mean(widened) <= high
    if n_sessions == 8:  # as tables are made
        assert 0.87 <= np.mean(widened) <= 0.97
    if level_std > 0.003:
        assert np.mean(pooled) < np.mean(widened) - 0.05  # networks move together: fewer than n
