"""Drift: the filter and the smoother against dense Gaussian conditioning, separation by trial."""

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.core.errors import UsageError
from edgenas.costs.drift import (
    DriftParts,
    autocorrelation,
    errors_at_other_moments,
    filter_level,
    fit_parts,
    length_bounds,
    separate,
    smooth_level,
)
from tests.costs.worlds import wander

Floats = npt.NDArray[np.float64]
PARTS = DriftParts(fast=0.05, fast_length=2.0, slow=0.1, slow_length=30.0, noise=0.02)


def series(seed: int, n: int, parts: DriftParts = PARTS) -> tuple[Floats, Floats, Floats]:
    """Returns moments, level and what is seen of it."""
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.uniform(0.2, 1.8, n))
    covariance = parts.covariance(at, at) + 1e-10 * np.eye(n)
    level = np.linalg.cholesky(covariance) @ rng.normal(size=n)
    return at, level, level + parts.noise * rng.normal(size=n)


def dense(at: Floats, seen: Floats, weights: Floats, asked: Floats) -> tuple[Floats, Floats]:
    known = PARTS.covariance(at, at) + np.diag(PARTS.noise**2 / weights)
    cross = PARTS.covariance(asked, at)
    mean = cross @ np.linalg.solve(known, seen)
    variance = PARTS.fast**2 + PARTS.slow**2 - np.diag(cross @ np.linalg.solve(known, cross.T))
    return mean, variance


def test_the_smoother_is_gaussian_conditioning() -> None:
    at, _, seen = series(0, 60)
    weights = np.random.default_rng(1).uniform(0.2, 1.5, 60)
    level, variance = smooth_level(at, seen, PARTS, weights=weights)
    expected, expected_variance = dense(at, seen, weights, at)
    assert level == pytest.approx(expected, abs=1e-9)
    assert variance == pytest.approx(expected_variance, abs=1e-9)


def test_the_filter_sees_only_what_came_strictly_before() -> None:
    at, _, seen = series(2, 40)
    asked = np.array([at[0] - 1, at[0], at[5], at[5] + 0.01, at[20] + 0.1, at[-1] + 100])
    level, variance = filter_level(at, seen, PARTS, asked_at=asked)
    for k, moment in enumerate(asked):
        past = at < moment
        expected, doubt = dense(at[past], seen[past], np.ones(past.sum()), asked[k : k + 1])
        assert level[k] == pytest.approx(expected[0], abs=1e-8)
        assert variance[k] == pytest.approx(doubt[0], abs=1e-8)
    changed = seen.copy()
    changed[6:] += 1.0
    again, _ = filter_level(at, changed, PARTS, asked_at=asked[:4])
    assert again == pytest.approx(level[:4], abs=1e-12)


def test_the_drift_that_made_a_series_is_found_again() -> None:
    at, _, seen = series(3, 500)
    found = fit_parts(at, seen)
    assert found.noise == pytest.approx(PARTS.noise, rel=0.4)
    assert found.fast == pytest.approx(PARTS.fast, rel=0.4)
    assert 0.5 < found.fast_length < 8
    assert found.slow_length > 8


def test_memory_by_hand() -> None:
    up = autocorrelation(np.array([1.0, 2.0, 3.0]))
    assert (up.lag_1, up.durbin_watson) == (0.0, 1.0)
    swing = autocorrelation(np.array([1.0, -1.0, 1.0, -1.0]))
    assert (swing.lag_1, swing.durbin_watson) == (-0.75, 3.0)
    assert autocorrelation(np.ones(5)).durbin_watson == 2.0
    ordered = autocorrelation(np.array([3.0, 1.0, 2.0]), np.array([2.0, 0.0, 1.0]))
    assert ordered == up


def visits(seed: int) -> tuple[Floats, list[str], Floats, dict[str, float], Floats]:
    """Returns a run of 12 artefacts and an anchor on a machine that drifts and is interrupted."""
    rng = np.random.default_rng(seed)
    truth = {f"net:{k}": float(1 + 0.3 * k) for k in range(12)} | {"anchor": 2.0}
    names: list[str] = []
    for _ in range(25):
        names += ["anchor", *rng.permutation([name for name in truth if name != "anchor"])]
    at = np.cumsum(rng.uniform(0.5, 1.5, len(names)))
    level = 0.15 * np.sin(at / 40) + 0.1 * (at > at[-1] / 2)
    ms = np.array([truth[name] for name in names]) * np.exp(level + 0.01 * rng.normal(size=len(at)))
    ms[rng.random(len(at)) < 0.03] *= 1.6  # something else ran
    return at, names, ms, truth, level


def test_artefacts_and_machine_are_told_apart() -> None:
    at, names, ms, truth, level = visits(0)
    found = separate(at, names, ms)
    ratios = np.array([found.artefact_ms[name] / truth[name] for name in truth])
    # All share the level of the machine, and differ by less than without its removal.
    assert np.std(ratios / ratios.mean()) < 0.006
    places = np.array(names)
    plain = np.array([np.mean(ms[places == name]) / truth[name] for name in truth])
    assert np.std(ratios / ratios.mean()) < 0.5 * np.std(plain / plain.mean())
    assert np.corrcoef(found.level, level)[0, 1] > 0.97
    assert found.before.lag_1 > 0.5
    assert abs(found.after.lag_1) < 0.25
    assert found.after.durbin_watson > found.before.durbin_watson
    assert found.weights.min() < 0.1  # interruptions are seen
    assert all(0 < error < 0.02 for error in found.error.values())


def test_a_steady_machine_is_left_alone() -> None:
    rng = np.random.default_rng(1)
    names = [f"net:{k % 5}" for k in range(100)]
    truth = np.array([1.0 + k % 5 for k in range(100)])
    found = separate(np.arange(100.0), names, truth * np.exp(0.01 * rng.normal(size=100)))
    for k in range(5):
        assert found.artefact_ms[f"net:{k}"] == pytest.approx(1.0 + k, rel=0.01)
    assert np.abs(found.level).max() < 0.02


@pytest.mark.parametrize(
    ("at", "names", "ms", "told"),
    [
        (np.arange(9.0), ["a"] * 9, np.ones(9), "at least 10"),
        (np.arange(12.0), ["a"] * 11, np.ones(12), "as many"),
        (np.arange(12.0)[::-1], ["a"] * 12, np.ones(12), "go back"),
        (np.arange(12.0), ["a"] * 12, np.zeros(12), "not a number"),
    ],
)
def test_visits_that_cannot_be_are_refused(
    at: Floats, names: list[str], ms: Floats, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        separate(at, names, ms)


def test_one_moment_shows_no_drift() -> None:
    with pytest.raises(UsageError, match="time stamps"):
        length_bounds(np.array([1.0, 1.0, 2.0]))


def test_errors_of_one_session_are_widened_to_those_of_any_moment() -> None:
    parts, at = DriftParts(0.02, 2.0, 0.06, 40.0, 0.01), np.arange(100.0)
    inside: dict[str, list[float]] = {"as timed": [], "widened": []}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        level = wander(parts, 3000, rng)
        noise = parts.noise * rng.normal(size=3000)
        errors = (1 + level) / (1 + level[:100].mean()) * (1 + noise) - 1
        later = errors[400:]
        widened = errors_at_other_moments(errors[:100], parts, at)
        assert len(widened) == 100
        assert (np.diff(widened) >= 0).all()
        for name, scores in (("as timed", errors[:100]), ("widened", widened)):
            low, high = np.quantile(scores, [0.05, 0.95])
            inside[name].append(float(((later >= low) & (later <= high)).mean()))
    assert 0.87 < np.mean(inside["widened"]) < 0.96
    assert np.mean(inside["as timed"]) < 0.82


def test_errors_of_a_machine_that_stands_still_stay_as_they_are() -> None:
    errors = np.random.default_rng(0).normal(0, 0.02, 50)
    still = DriftParts(1e-9, 1.0, 1e-9, 50.0, 0.02)
    found = errors_at_other_moments(errors, still, np.arange(50.0))
    assert found == pytest.approx(np.sort(errors), abs=1e-6)
