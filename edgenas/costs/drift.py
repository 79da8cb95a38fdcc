"""Drift of a machine's speed: its model, its removal from samples, and how it is told from noise.

Log times of a machine wander: `log y = log(cost) + d(t) + noise`. The level d is the sum of two
stationary Markov processes, a fast and a slow one (Uhlenbeck & Ornstein 1930,
doi:10.1103/PhysRev.36.823), so a Kalman filter follows it in one pass: `filter_level` uses the
past only, `smooth_level` both sides (de Jong 1989). `separate`
splits the visits of a profiling run into what each artefact takes and what the machine did then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.stats import norm

from edgenas.core.errors import UsageError

Floats = npt.NDArray[np.float64]

_TAIL = 4.0  # degrees of freedom of the noise: visits that were interrupted count for little
_LEAST_VISITS = 10
_MOST_VISITS = 4000  # in a row, from which the drift's model is fitted: its cost is theirs


@dataclass(frozen=True, slots=True)
class DriftParts:
    """Standard deviations of the two components, as shares, and the times that they last.

    Lengths are in the unit of the time stamps; `noise` is the share that has no memory.
    """

    fast: float
    fast_length: float
    slow: float
    slow_length: float
    noise: float

    def covariance(self, at: Floats, other_at: Floats) -> Floats:
        """Return the prior covariance of the level between moments, shape (n, n_other)."""
        distance = np.abs(at[:, None] - other_at[None])
        total: Floats = self.fast**2 * np.exp(-distance / self.fast_length)
        total += self.slow**2 * np.exp(-distance / self.slow_length)
        return total


def errors_at_other_moments(errors: Floats, parts: DriftParts, at: Floats) -> Floats:
    """Return relative errors to expect at a moment that was not seen, sorted, shape (n,).

    The errors hold the levels at `at`, and costs are told for the mean of those, which was off the
    machine's own mean by chance: with a variance V that follows from the model. Around the mean of
    `at` the levels there vary by V less than around the machine's, and the level of a moment far
    away by V more. So the errors are joined with a normal move of variance 2 V.

    Args:
        errors: (measured - predicted) / predicted of networks left out, the drift not removed,
            shape (n,).
        parts: the drift's model.
        at: when they were measured, shape (n,).
    """
    spread = sqrt(2 * float(parts.covariance(at, at).mean()))
    steps = (np.arange(101) + 0.5) / 101
    joint = np.sort(np.outer(np.exp(spread * norm.ppf(steps)), 1 + errors).ravel()) - 1
    # As many as there were: ranks of fewer scores promise less.
    widened: Floats = np.quantile(joint, (np.arange(len(errors)) + 0.5) / len(errors))
    return widened


@dataclass(frozen=True, slots=True)
class Autocorrelation:
    """How a series remembers itself: 0 and 2 for noise, towards 1 and 0 for slow drift."""

    lag_1: float
    durbin_watson: float


def autocorrelation(residuals: Floats, at: Floats | None = None) -> Autocorrelation:
    """Return the correlation of neighbours and Durbin and Watson's statistic (1950).

    Args:
        residuals: shape (n,), n >= 3, in the order of `at` (or of measurement, without it).
        at: when each was measured.
    """
    series = residuals if at is None else residuals[np.argsort(at, kind="stable")]
    centred = series - series.mean()
    total = float((centred**2).sum())
    if total <= 0:
        return Autocorrelation(0.0, 2.0)
    return Autocorrelation(
        lag_1=float((centred[1:] * centred[:-1]).sum() / total),
        durbin_watson=float((np.diff(centred) ** 2).sum() / total),
    )


def length_bounds(at: Floats) -> tuple[float, float, float]:
    """Return the least, the dividing and the greatest length of drift that `at` can show."""
    stamps = np.sort(np.unique(at))
    if len(stamps) < 3:
        raise UsageError(f"{len(stamps)} different time stamps; drift needs at least 3")
    gap, span = float(np.median(np.diff(stamps))), float(stamps[-1] - stamps[0])
    return gap, sqrt(gap * span), span


@dataclass(slots=True)
class _Pass:
    """One pass of the filter: before each observation, mean and covariance of both components."""

    mean: Floats  # (n, 2)
    covariance: Floats  # (n, 3): variances of fast and slow, and between them
    surprise: Floats  # (n,)
    variance: Floats  # (n,): of the surprise


def _filter(at: Floats, residuals: Floats, noise: Floats, parts: DriftParts) -> _Pass:
    """Run the Kalman filter; `noise` is each observation's variance, `at` is ascending."""
    n = len(at)
    mean, covariance = np.empty((n, 2)), np.empty((n, 3))
    surprise, variance = np.empty(n), np.empty(n)
    fast, slow, p, q, r = 0.0, 0.0, parts.fast**2, parts.slow**2, 0.0
    before = float(at[0]) if n else 0.0
    for k, (now, seen, doubt) in enumerate(
        zip(at.tolist(), residuals.tolist(), noise.tolist(), strict=True)
    ):
        keep_fast = exp(-(now - before) / parts.fast_length)
        keep_slow = exp(-(now - before) / parts.slow_length)
        fast, slow, r = fast * keep_fast, slow * keep_slow, r * keep_fast * keep_slow
        p = keep_fast**2 * p + (1 - keep_fast**2) * parts.fast**2
        q = keep_slow**2 * q + (1 - keep_slow**2) * parts.slow**2
        mean[k], covariance[k] = (fast, slow), (p, q, r)
        total, off = p + q + 2 * r + doubt, seen - fast - slow
        surprise[k], variance[k] = off, total
        gain_fast, gain_slow = (p + r) / total, (q + r) / total
        fast, slow = fast + gain_fast * off, slow + gain_slow * off
        p, q, r = (
            p - gain_fast * (p + r),
            q - gain_slow * (q + r),
            r - gain_fast * (q + r),
        )
        before = now
    return _Pass(mean, covariance, surprise, variance)


def smooth_level(
    at: Floats, residuals: Floats, parts: DriftParts, *, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return the level at each observation and its variance, known from both sides.

    Args:
        at: ascending moments, shape (n,).
        residuals: relative or logarithmic residuals, shape (n,).
        parts: the drift's model.
        weights: trust in each observation; its noise variance is divided by it.
    """
    noise = _noise(len(at), parts, weights)
    done = _filter(at, residuals, noise, parts)
    n = len(at)
    level, variance = np.empty(n), np.empty(n)
    back = np.zeros(2)  # de Jong's r and N, carried from the future to the past
    certain = np.zeros((2, 2))
    for k in range(n - 1, -1, -1):
        p, q, r = done.covariance[k]
        prior = np.array([[p, r], [r, q]])
        gain = prior.sum(axis=1) / done.variance[k]
        keep = np.eye(2) - gain[:, None]  # I - K H with H = (1, 1)
        back = done.surprise[k] / done.variance[k] + keep.T @ back
        certain = 1 / done.variance[k] + keep.T @ certain @ keep
        level[k] = (done.mean[k] + prior @ back).sum()
        variance[k] = prior.sum() - (prior @ certain @ prior).sum()
        if k:
            step = at[k] - at[k - 1]
            decay = np.exp([-step / parts.fast_length, -step / parts.slow_length])
            back = decay * back
            certain = decay[:, None] * certain * decay[None]
    return level, np.maximum(variance, 0.0)


def filter_level(
    at: Floats,
    residuals: Floats,
    parts: DriftParts,
    *,
    asked_at: Floats,
    weights: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Return the level at `asked_at` and its variance, from observations strictly before each.

    Args:
        at: ascending moments of the observations, shape (n,).
        residuals: their residuals, shape (n,).
        parts: the drift's model.
        asked_at: any moments, shape (n_asked,).
        weights: trust in each observation.
    """
    noise = _noise(len(at), parts, weights)
    # A moment that is asked for is an observation that is infinitely uncertain.
    stamps = np.concatenate([asked_at, at])
    order = np.lexsort((np.repeat([0, 1], [len(asked_at), len(at)]), stamps))
    done = _filter(
        stamps[order],
        np.concatenate([np.zeros(len(asked_at)), residuals])[order],
        np.concatenate([np.full(len(asked_at), 1e12), noise])[order],
        parts,
    )
    level, variance = np.empty(len(stamps)), np.empty(len(stamps))
    level[order] = done.mean.sum(axis=1)
    variance[order] = done.covariance @ np.array([1.0, 1.0, 2.0])
    return level[: len(asked_at)], variance[: len(asked_at)]


def fit_parts(at: Floats, residuals: Floats, *, weights: Floats | None = None) -> DriftParts:
    """Return the drift of greatest likelihood.

    Args:
        at: ascending moments, shape (n,).
        residuals: of mean about 0, shape (n,).
        weights: trust in each observation.
    """
    least, middle, most = length_bounds(at)
    spread = max(float(np.std(residuals)), 1e-6)
    low, high = log(1e-2 * spread), log(10 * spread)
    start = [log(0.5 * spread)] * 3 + [log(sqrt(least * middle)), log(sqrt(middle * most))]
    bounds = [(low, high)] * 3 + [(log(least), log(middle)), (log(middle), log(most))]

    def unlikely(logs: Floats) -> float:
        parts = _parts_of(logs)
        done = _filter(at, residuals, _noise(len(at), parts, weights), parts)
        return float(0.5 * (done.surprise**2 / done.variance + np.log(done.variance)).sum())

    best = minimize(unlikely, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40})
    return _parts_of(best.x)


def _parts_of(logs: Floats) -> DriftParts:
    fast, slow, noise, fast_length, slow_length = (float(value) for value in np.exp(logs))
    return DriftParts(fast, fast_length, slow, slow_length, noise)


def _noise(n: int, parts: DriftParts, weights: Floats | None) -> Floats:
    variance = np.full(n, parts.noise**2)
    return variance if weights is None else variance / weights


@dataclass(frozen=True, slots=True)
class Separated:
    """Visits split into artefacts and machine.

    `artefact_ms`: what each artefact takes at the machine's mean level, by name, and its standard
    error as a share; `level`: the machine's level at each visit, as a share, shape (n,); `weights`:
    how far each visit was trusted; `before`, `after`: memory of the residuals with the drift
    left in and taken out.
    """

    artefact_ms: dict[str, float]
    error: dict[str, float]
    level: Floats
    weights: Floats
    parts: DriftParts
    before: Autocorrelation
    after: Autocorrelation


def separate(
    at_s: Floats, artefacts: Sequence[str], visit_ms: Floats, *, n_rounds: int = 8
) -> Separated:
    """Split visits into what each artefact takes and the level of the machine.

    Artefacts and level are found together: one is re-estimated with the other held, which climbs
    to their joint mode. Visits that were interrupted count for little (Student t noise by
    reweighting, Lange et al. 1989, doi:10.1080/01621459.1989.10478852). An artefact that is visited
    often, the anchor, thereby ties the level down between the others.

    Args:
        at_s: when each visit was, ascending, shape (n,).
        artefacts: what was visited, n names.
        visit_ms: what the visit showed (its median run), shape (n,).
        n_rounds: how often both are re-estimated after the drift's model is fitted.

    Raises:
        UsageError: too few visits, moments that go back, or times that are not above 0.
    """
    _check_visits(at_s, artefacts, visit_ms)
    names, place = np.unique(np.array(artefacts), return_inverse=True)
    logs = np.log(visit_ms)
    weights, level = np.ones(len(logs)), np.zeros(len(logs))
    own = np.array([np.median(logs[place == k]) for k in range(len(names))])
    raw = logs - own[place]
    most = min(len(logs), _MOST_VISITS)
    stretch = slice((len(logs) - most) // 2, (len(logs) + most) // 2)
    parts = fit_parts(at_s[stretch], np.clip(raw, *_fences(raw))[stretch])
    for k in range(n_rounds):
        level, doubt = smooth_level(at_s, logs - own[place], parts, weights=weights)
        level -= np.average(level, weights=weights)
        total = np.bincount(place, weights, len(names))
        own = np.bincount(place, weights * (logs - level), len(names)) / total
        off = ((logs - own[place] - level) ** 2 + doubt) / parts.noise**2
        weights = (_TAIL + 1) / (_TAIL + off)
        if k == 1:
            now = logs - own[place]
            parts = fit_parts(at_s[stretch], now[stretch], weights=weights[stretch])
    clean = logs - own[place] - level
    total = np.bincount(place, weights, len(names))
    fences = _fences(raw)
    return Separated(
        artefact_ms={str(name): float(ms) for name, ms in zip(names, np.exp(own), strict=True)},
        error={
            str(name): float(parts.noise / sqrt(trust))
            for name, trust in zip(names, total, strict=True)
        },
        level=np.expm1(level),
        weights=weights,
        parts=parts,
        before=autocorrelation(np.clip(raw, *fences)),
        after=autocorrelation(np.clip(clean, *_fences(clean))),
    )


def _fences(values: Floats) -> tuple[float, float]:
    """Return limits that keep single interruptions from deciding a moment of second order."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    width = 4 * max(float(high - low), 1e-9)
    return float(middle - width), float(middle + width)


def _check_visits(at_s: Floats, artefacts: Sequence[str], visit_ms: Floats) -> None:
    if not (len(at_s) == len(artefacts) == len(visit_ms) >= _LEAST_VISITS):
        raise UsageError(
            f"{len(at_s)} moments, {len(artefacts)} names and {len(visit_ms)} times; as many of "
            f"each are needed, at least {_LEAST_VISITS}"
        )
    if (np.diff(at_s) < 0).any():
        raise UsageError("the visits' moments go back in time; sort them")
    if not (np.isfinite(visit_ms) & (visit_ms > 0)).all():
        raise UsageError("a visit's time is 0, negative or not a number")
