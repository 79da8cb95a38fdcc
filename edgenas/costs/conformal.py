"""Prediction intervals that hold without assumptions on the model: conformal prediction.

Scores are relative errors of networks that the prediction did not see; their empirical quantiles,
at the ranks that make finite samples honest, bound the next network's error. Lei et al. 2018,
doi:10.1080/01621459.2017.1307116; out-of-fold scores as in Vovk 2015,
doi:10.1007/s10472-013-9368-4 (cross-conformal).
"""

from __future__ import annotations

from math import ceil, floor

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

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


def interval(scores: Floats, coverage: float) -> tuple[float, float]:
    """Return (low, high) scores that hold the next one with probability `coverage`."""
    one_sided = 1 - (1 - coverage) / 2
    return lower_quantile(scores, one_sided), upper_quantile(scores, one_sided)
