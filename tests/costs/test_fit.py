"""Costs from whole networks: true costs come back, drift goes, intervals hold, nothing leaks."""

from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.core.errors import UsageError
from edgenas.costs import conformal
from edgenas.costs.fit import FLOOR, Fitted, fit_costs
from tests.costs.worlds import world

Floats = npt.NDArray[np.float64]


@cache
def fitted(seed: int) -> Fitted:
    counts, times, _, cost = world(seed)
    guess = cost * np.random.default_rng(seed + 100).uniform(0.6, 1.6, 40)
    return fit_costs(counts, times, guess, overhead_ms=2.0)


@pytest.mark.parametrize("seed", [1, 2])
def test_new_networks_are_predicted(seed: int) -> None:
    counts, _, _, cost = world(seed)
    rng = np.random.default_rng(seed + 7)
    new = np.zeros((300, 40))
    for layer in range(8):
        new[np.arange(300), 5 * layer + rng.integers(0, 5, 300)] = 1
    truth = 2 + new @ cost
    found = fitted(seed)
    errors = np.abs(found.predict(new) / truth - 1)
    assert errors.mean() < 0.008
    # What it says of its own doubt is about as large as its errors.
    standard = (found.predict(new) - truth) / found.std_of(new)
    assert 0.6 < np.sqrt((standard**2).mean()) < 1.6
    assert 0.005 < found.noise < 0.02
    measured = truth * (1 + 0.01 * rng.standard_t(5, 300))
    low, high = conformal.interval(found.scores, 0.9)
    inside = (measured >= found.predict(new) * (1 + low)) & (
        measured <= found.predict(new) * (1 + high)
    )
    assert 0.83 <= inside.mean() <= 0.97
    assert found.drift is None
    assert counts.shape[0] == len(found.scores) == len(found.left_out_ms)


def test_interruptions_do_not_bend_the_costs() -> None:
    counts, times, _, _ = world(3)
    broken = times.copy()
    broken[::20] *= 2
    clean = fit_costs(counts, times, np.ones(40), overhead_ms=2.0)
    found = fit_costs(counts, broken, np.ones(40), overhead_ms=2.0)
    assert found.predict(counts) == pytest.approx(clean.predict(counts), rel=0.02)
    assert found.weights[::20].max() < 0.1


def test_drift_is_removed_from_the_costs() -> None:
    counts, times, at, cost = world(4, drift=0.1)
    plain = fit_costs(counts, times, np.ones(40), overhead_ms=2.0)
    found = fit_costs(counts, times, np.ones(40), overhead_ms=2.0, times_at=at)
    truth = 2 + counts @ cost

    def spread(one: Fitted) -> float:
        ratio = one.predict(counts) / truth
        return float(np.std(ratio / ratio.mean()))

    assert spread(found) < 0.5 * spread(plain)
    assert found.before.lag_1 > 0.7
    assert abs(found.after.lag_1) < 0.3
    assert found.drift_share.mean() == pytest.approx(0, abs=1e-6)
    true_level = 0.1 * (np.sin(at / 25) + (at > 100))
    assert np.corrcoef(found.drift_share, true_level)[0, 1] > 0.98
    assert np.abs(found.scores).mean() < 0.6 * np.abs(plain.scores).mean()


def test_forecasts_follow_the_machine_and_never_look_ahead() -> None:
    counts, times, at, _ = world(5, 260, drift=0.1)
    train = np.arange(0, 260, 2)
    test = np.arange(1, 260, 2)
    found = fit_costs(counts[train], times[train], np.ones(40), times_at=at[train])

    def error(predicted: Floats, rows: npt.NDArray[np.intp] = test) -> float:
        return float(np.abs(predicted / times[rows] - 1).mean())

    level_only = found.forward(counts[test], at[test])
    past = found.forward(counts[test], at[test], costs_from="past")
    assert error(level_only) < 0.6 * error(found.predict(counts[test]))
    late = test[-50:]
    assert error(past[-50:], late) < 0.6 * error(found.predict(counts[late]), late)
    # Times after a moment change nothing at that moment, with the hyperparameters held.
    changed = np.where(at[train] < 130, times[train], 50.0)
    other = fit_costs(counts[train], changed, np.ones(40), times_at=at[train])
    other = replace(other, hyperparameters=found.hyperparameters)
    again = other.forward(counts[test], at[test], costs_from="past")
    before = at[test] < 130
    assert again[before] == pytest.approx(past[before], rel=1e-9, nan_ok=True)
    assert again[~before] != pytest.approx(past[~before], rel=1e-3)
    # The first ten training networks were timed at 0, 2, ..., 18.
    assert (np.isnan(past) == (at[test] <= 18)).all()


def test_a_belief_decides_where_networks_say_nothing() -> None:
    counts, times, _, cost = world(6)
    counts, never = counts.copy(), 7
    keep = counts[:, never] == 0
    similarity = np.eye(40)
    similarity[never, 8] = similarity[8, never] = 0.99
    guess = cost.copy()
    guess[[never, 8]] *= 0.5
    alone = fit_costs(counts[keep], times[keep], guess, overhead_ms=2.0)
    shared = fit_costs(counts[keep], times[keep], guess, similarity=similarity, overhead_ms=2.0)
    unsure = alone.std_ms / alone.regression.prior.mean_ms[1:]
    assert unsure[never] > np.median(unsure)
    wanted = 2 * guess[never]
    assert abs(shared.cost_ms[never] - wanted) < abs(alone.cost_ms[never] - wanted)


def test_sure_operators_have_no_correction_of_their_own() -> None:
    counts, times, _, cost = world(8, 60)
    guess = cost * np.random.default_rng(1).uniform(0.7, 1.3, 40)
    std = np.full(40, 0.5)
    guess[0], std[0] = cost[0], 1e-4
    found = fit_costs(counts, times, guess, std, overhead_ms=2.0)
    # It moves with what all operators have in common, and by nothing of its own.
    assert found.std_ms[0] < 0.5 * np.median(found.std_ms[1:])


@pytest.mark.parametrize("factor", [0.1, 20.0])
def test_a_prior_of_another_speed_teaches_the_same(factor: float) -> None:
    counts, times, _, cost = world(8, 60)
    rng = np.random.default_rng(1)
    guess, std = cost * rng.uniform(0.7, 1.3, 40), rng.uniform(0.05, 0.5, 40)
    one = fit_costs(counts, times, guess, std, overhead_ms=2.0)
    other = fit_costs(counts, times, factor * guess, factor * std, overhead_ms=2 * factor)
    assert other.hyperparameters == pytest.approx(one.hyperparameters, rel=1e-4)
    assert other.cost_ms == pytest.approx(one.cost_ms, rel=1e-4)


def test_a_network_left_out_has_no_part_in_its_prior() -> None:
    counts, times, _, _ = world(13, 60)
    masks = []

    def priced(seen: npt.NDArray[np.bool_]) -> tuple[Floats, float]:
        masks.append(seen)
        return np.full(40, float(times[seen].mean()) / 8), 1.0

    found = fit_costs(counts, times, priced)
    folded = [mask for mask in masks if not mask.all()]
    assert len(folded) == 10
    assert (np.sum([~mask for mask in folded], axis=0) == 1).all()
    assert found.prior_of(folded[0]).mean_ms[1] != found.prior_of(folded[1]).mean_ms[1]


def test_costs_have_a_floor_and_the_sum_stays_right() -> None:
    counts, times, _, cost = world(9)
    cheap = cost.copy()
    cheap[:5] = 1e-3  # one layer is nearly free, whatever its option
    times = 2 + counts @ cheap
    found = fit_costs(counts, times, np.full(40, 1.5))
    assert (found.cost_ms >= FLOOR * found.regression.prior.mean_ms[1:] * (1 - 1e-9)).all()
    assert abs(float((found.predict(counts) / times - 1).mean())) < 0.01


def test_many_networks_need_few_for_their_hyperparameters() -> None:
    counts, times, _, cost = world(10, 500)
    found = fit_costs(counts, times, np.ones(40), overhead_ms=2.0)
    assert np.abs(found.predict(counts) / (2 + counts @ cost) - 1).mean() < 0.006


def test_the_same_numbers_give_the_same_fit() -> None:
    counts, times, at, _ = world(11, 50, drift=0.05)
    one, other = (fit_costs(counts, times, np.ones(40), times_at=at) for _ in range(2))
    assert one.cost_ms.tolist() == other.cost_ms.tolist()
    assert one.scores.tolist() == other.scores.tolist()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prior_ms": np.ones(39)}, "prior_ms has shape"),
        ({"prior_ms": np.zeros(40)}, "0, negative"),
        ({"prior_std": np.full(40, -1.0)}, "prior_std"),
        ({"times_at": np.arange(3.0)}, "times_at has shape"),
        ({"times_at": np.zeros(20)}, "time stamps"),
        ({"network_ms": np.zeros(20)}, "time it again"),
    ],
)
def test_arguments_that_cannot_be_are_refused(change: dict[str, Floats], told: str) -> None:
    counts, times, _, _ = world(12, 20)
    given = {"network_ms": times, "prior_ms": np.ones(40), **change}
    with pytest.raises(UsageError, match=told):
        fit_costs(
            counts,
            given["network_ms"],
            given["prior_ms"],
            given.get("prior_std"),
            times_at=given.get("times_at"),
        )


def test_without_moments_nothing_is_forecast() -> None:
    with pytest.raises(UsageError, match="times_at"):
        fitted(1).forward(np.zeros((1, 40)), np.zeros(1))
