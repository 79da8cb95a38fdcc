"""Prediction intervals that hold without assumptions on the cost model: conformal prediction.

Scores are relative errors of networks that the prediction did not see; their empirical quantiles,
at the ranks that make finite samples honest, bound the next network's error. Lei et al. 2018,
doi:10.1080/01621459.2017.1307116; out-of-fold scores as in Vovk 2015,
doi:10.1007/s10472-013-9368-4 (cross-conformal). What a whole session shares is the one part
that few observations and a distribution have to tell (`with_sessions`).
"""

from __future__ import annotations

from math import ceil, floor, sqrt

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t

Floats = npt.NDArray[np.float64]

_LEVEL_STD = 0.01  # of a session's level, a priori
_LEVEL_SESSIONS = 1  # how many sessions that belief is worth
_ROUNDING = 1e-9  # 10 * (1 - 0.9) is a little less than 1 in binary; the rank is meant to be 1


def upper_quantile(scores: Floats, confidence: float) -> float:
    """Return the score that the next one exceeds with probability at most 1 - `confidence`.

    Args:
        scores: shape (n,), any order.
        confidence: in (0, 1). With too few scores for it the largest one is widened by its
            distance to the median, because no rank can promise that much.
    """
    ordered = np.sort(scores)
    rank = ceil((len(ordered) + 1) * confidence - _ROUNDING)
    if rank > len(ordered):
        return float(ordered[-1] + (ordered[-1] - np.median(ordered)))
    return float(ordered[rank - 1])


def lower_quantile(scores: Floats, confidence: float) -> float:
    """Return the score that the next one falls below with probability at most 1 - `confidence`."""
    ordered = np.sort(scores)
    rank = floor((len(ordered) + 1) * (1 - confidence) + _ROUNDING)
    if rank < 1:
        return float(ordered[0] - (np.median(ordered) - ordered[0]))
    return float(ordered[rank - 1])


def with_sessions(errors: Floats, levels: Floats, *, n_points: int = 200) -> Floats:
    """Return relative errors to expect in a session that was not seen.

    All networks of a session move together, so n sessions are n observations of that move,
    however many networks they hold. A new session's move is drawn from the posterior predictive
    Student t distribution of the sessions' levels (normal levels, a scaled inverse chi-squared
    prior on their variance: Gelman et al. 2013, Bayesian Data Analysis, section 3.3), and joined
    with every error inside a session. The prior, a level that moves by 1 %, worth one session, is
    about the middle of what machines showed (0.1 % to 3 %): processes started within minutes may
    agree by luck, and a day later the machine is elsewhere (figures: benchmarks/costs).

    Args:
        errors: relative errors of networks with the level of their session taken out, any order,
            shape (n_errors,).
        levels: of the sessions, against the one that costs are told for, shape (n_sessions,),
            n_sessions >= 2.
        n_points: how many scores to return.

    Returns:
        Sorted scores, shape (n_points,): quantiles of the joint distribution.
    """
    n = len(levels)
    logs = np.log(levels)
    seen = float(((logs - logs.mean()) ** 2).sum())
    freedom = n - 1 + _LEVEL_SESSIONS
    variance = (seen + _LEVEL_SESSIONS * _LEVEL_STD**2) / freedom
    steps = (np.arange(101) + 0.5) / 101
    spread = sqrt(variance * (1 + 1 / n))
    moves = np.exp(logs.mean() + spread * student_t.ppf(steps, df=freedom))
    joint = np.sort(np.outer(moves, 1 + errors).ravel()) - 1
    places = (np.arange(n_points) + 0.5) / n_points
    widened: Floats = np.quantile(joint, places)
    return widened


def interval(scores: Floats, coverage: float) -> tuple[float, float]:
    """Return (low, high) scores that hold the next one with probability `coverage`."""
    one_sided = 1 - (1 - coverage) / 2
    return lower_quantile(scores, one_sided), upper_quantile(scores, one_sided)
