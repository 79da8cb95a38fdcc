"""Costs from some of the networks: all but those left out, or those timed before a moment.

What such a fit takes from the networks that it must not see are the hyperparameters alone: how
large corrections, noise and drift are. Its prior, its levels and how far it trusts each
network are made anew. Noise has heavy tails: Student t by reweighting (Lange et al. 1989,
doi:10.1080/01621459.1989.10478852).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.costs.regression import NOISE, Mask, Prior, Regression

Floats = npt.NDArray[np.float64]
PriorOf = Callable[[Mask], Prior]
"""Makes a prior from the networks that a mask of shape (n_networks,) picks, and from no other."""

FLOOR = 0.02
"""Least cost of an operator, as a share of its prior mean: costs below would be noise."""
TAIL = 4.0
"""Degrees of freedom of the noise."""
N_ROUNDS = 3
"""Of reweighting."""
LEAST_BEFORE = 10
"""Networks that a forecast from the past alone needs: as a rule more than prices in its prior."""

_N_FOLDS = 10
_LEAST_MS = 1e-9


def started(prior: Prior, design: Floats, network_ms: Floats, at: Floats | None) -> Regression:
    """Return a regression at the levels of its prior, every network trusted alike."""
    level = np.maximum(design @ prior.mean_ms, _LEAST_MS)
    return Regression(prior, design, network_ms, level, at, np.ones(len(network_ms)))


def reweigh(regression: Regression, values: Mapping[str, float]) -> None:
    """Set the networks' weights and levels by what the fit says of them now."""
    times, level = regression.network_ms, regression.level_ms
    cost, drift, doubt = regression.split(values)
    off = (times - cost - level * drift) ** 2 + doubt
    regression.weights = (TAIL + 1) / (TAIL + off / (values[NOISE] * level) ** 2)
    level = np.maximum(cost, 0.1 * level)
    # A drift in proportion to the level is the same as a level that is higher throughout.
    regression.level_ms = level * float(np.median(times / level))


def floored(weights: Floats, regression: Regression) -> tuple[Floats, int]:
    """Return weights whose costs are at least their floor, and how many had to be raised.

    What that adds to the networks is taken back from the overhead.
    """
    mean = regression.prior.mean_ms[1:]
    # What is expected to cost nothing is a correction, and may be of either sign.
    floor = np.where(mean > 0, FLOOR * mean, -np.inf)
    raised = np.maximum(weights[1:], floor)
    n_floored = int((weights[1:] < floor).sum())
    added = regression.design[:, 1:] @ (raised - weights[1:])
    level = regression.level_ms
    taken = float((added / level**2).sum() / (1 / level**2).sum())
    return np.concatenate([[weights[0] - taken], raised]), n_floored


@dataclass(frozen=True, slots=True)
class Conditioned:
    """What some networks teach; `weights` are overhead and costs, ms, shape (1 + n_ops,)."""

    regression: Regression
    values: Mapping[str, float]
    weights: Floats
    solved: Floats

    def cost_ms(self, design: Floats) -> Floats:
        """Return networks' times at the mean level of the networks that were seen, ms."""
        cost: Floats = np.maximum(design @ self.weights, _LEAST_MS)
        return cost

    def level(self, at: Floats) -> Floats:
        """Return the machine's level at any moments, 1 at its mean, shape (n_asked,)."""
        own = self.regression
        # The regression's drift is a share of its levels, which are costs times a common factor.
        factor = float(np.median(own.level_ms / self.cost_ms(own.design)))
        level: Floats = 1 + factor * own.drift_at(self.values, at, self.solved)
        return level


def conditioned(
    prior: Prior, source: Regression, seen: Mask, values: Mapping[str, float]
) -> Conditioned:
    """Fit the networks of `source` that are `seen`, with the hyperparameters given."""
    at = None if source.at is None else source.at[seen]
    regression = started(prior, source.design[seen], source.network_ms[seen], at)
    for _ in range(N_ROUNDS):
        reweigh(regression, values)
    mean, solved = regression.means(values)
    weights, _ = floored(mean, regression)
    return Conditioned(regression, values, weights, solved)


def folds(n: int, k: int) -> Sequence[Mask]:
    """Return `k` masks of shape (n,), each True where a network is left out; deterministic."""
    number = np.random.default_rng(0).permutation(n) % k
    return [number == fold for fold in range(min(k, n))]


def left_out(
    prior_of: PriorOf, source: Regression, values: Mapping[str, float]
) -> tuple[Floats, Floats]:
    """Return what networks left out were predicted, ms, and the machine's level then.

    Both have shape (n,) and come from the other networks; without moments the level is 1.
    """
    n = len(source.network_ms)
    predicted, level = np.empty(n), np.ones(n)
    for out in folds(n, _N_FOLDS):
        others = conditioned(prior_of(~out), source, ~out, values)
        predicted[out] = others.cost_ms(source.design[out])
        if source.at is not None:
            level[out] = others.level(source.at[out])
    return predicted, level


def past_only(
    prior_of: PriorOf,
    source: Regression,
    values: Mapping[str, float],
    counts: Floats,
    at: Floats,
) -> Floats:
    """Return the times that networks would show at moments, from networks timed before each, ms.

    Args:
        prior_of: makes the prior.
        source: the networks that were timed; it has moments.
        values: the hyperparameters.
        counts: of the networks that are asked about, shape (n_asked, n_ops).
        at: when each is to be timed, shape (n_asked,).

    Returns:
        Shape (n_asked,); NaN where fewer than `LEAST_BEFORE` networks were timed before.
    """
    timed_at = np.zeros(0) if source.at is None else source.at
    order = np.argsort(timed_at, kind="stable")
    n_before = np.searchsorted(timed_at[order], at, side="left")
    design = np.column_stack([np.ones(len(counts)), counts])
    predicted = np.full(len(at), np.nan)
    for n in np.unique(n_before[n_before >= LEAST_BEFORE]):
        seen = np.zeros(len(timed_at), dtype=bool)
        seen[order[:n]] = True
        past = conditioned(prior_of(seen), source, seen, values)
        asked = n_before == n
        predicted[asked] = past.cost_ms(design[asked]) * past.level(at[asked])
    return predicted
