"""Fits to some of the networks: what they must not see changes nothing, what they see teaches."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.costs.conditioning import LEAST_BEFORE, conditioned, folds, left_out, past_only
from edgenas.costs.features import driven_prior
from edgenas.costs.fit import Fitted, fit_costs
from tests.costs.worlds import world

Floats = npt.NDArray[np.float64]
DRIVERS = np.abs(np.random.default_rng(99).normal(1, 0.4, (40, 4)))


def fitted(counts: Floats, times: Floats, at: Floats | None = None) -> Fitted:
    """Returns a fit whose prior is priced by the networks themselves."""
    return fit_costs(
        counts, times, lambda seen: driven_prior(DRIVERS, counts[seen], times[seen]), times_at=at
    )


@pytest.mark.parametrize("moments", [False, True])
def test_a_network_left_out_is_not_seen(moments: bool) -> None:
    counts, times, at, _ = world(20, 40, drift=0.05 if moments else 0.0)
    one = fitted(counts, times, at if moments else None)
    changed = times.copy()
    changed[7] *= 1.5
    other = fitted(counts, changed, at if moments else None)
    predicted, level = left_out(other.prior_of, other.regression, one.hyperparameters)
    assert predicted[7] == pytest.approx(one.left_out_ms[7], rel=1e-9)
    assert level[7] == pytest.approx(one.left_out_level[7], rel=1e-9)
    fold = next(out for out in folds(40, 10) if out[7])
    assert (np.abs(predicted / one.left_out_ms - 1)[~fold] > 1e-6).all()
    assert bool((level == 1).all()) is not moments


def test_errors_of_networks_left_out_are_those_of_new_networks() -> None:
    """With few networks a prior that had seen them would promise too much."""
    stated, met = [], []
    for seed in range(6):
        counts, times, _, _ = world(30 + seed, 320, noise=0.005)
        found = fitted(counts[:20], times[:20])
        stated.append(np.abs(found.scores).mean())
        met.append(np.abs(times[20:] / found.predict(counts[20:]) - 1).mean())
    assert np.mean(stated) > 0.9 * np.mean(met)


def test_what_is_seen_teaches_as_a_fit_does() -> None:
    counts, times, at, _ = world(21, 120, drift=0.1)
    found = fitted(counts, times, at)
    everything = np.ones(120, dtype=bool)
    again = conditioned(
        found.prior_of(everything), found.regression, everything, found.hyperparameters
    )
    design = found.regression.design
    assert again.cost_ms(design) == pytest.approx(found.predict(counts), rel=0.01)
    assert again.level(at) - 1 == pytest.approx(found.drift_share, abs=0.01)


@pytest.mark.parametrize(
    "change",
    [lambda times: times * 3, lambda times: np.roll(times, 5), lambda times: times**2],
    ids=["level", "order", "shape"],
)
def test_the_past_does_not_know_what_comes(change: Callable[[Floats], Floats]) -> None:
    counts, times, at, _ = world(22, 60, drift=0.1)
    one = fitted(counts, times, at)
    later = times.copy()
    later[30:] = change(times[30:])
    other = fitted(counts, later, at)
    asked = np.array([3.0, 9.0, 9.5, 30.0, 31.0, 80.0])
    ways = [
        past_only(fit.prior_of, fit.regression, one.hyperparameters, counts[:6], asked)
        for fit in (one, other)
    ]
    assert ways[1][:4] == pytest.approx(ways[0][:4], rel=1e-9, nan_ok=True)
    assert (np.abs(ways[1][4:] / ways[0][4:] - 1) > 1e-4).all()
    # Strictly before 9 there are nine networks, before 9.5 ten.
    assert np.isnan(ways[0]).tolist() == [True, True, False, False, False, False]
    assert LEAST_BEFORE == 10
