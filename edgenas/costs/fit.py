"""Operator costs from whole networks' timings alone, or with a table as what is known before.

The engine of `edgenas.costs.regression`, with noise of heavy tails (`edgenas.costs.conditioning`)
and, where the moments of the timings are given, with the machine's drift in the same fit. The
columns may be operators, or options of a space's factors for engines that cannot be looked into:
anything that a network's time is a sum of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import UsageError
from edgenas.costs.conditioning import (
    FLOOR,
    N_ROUNDS,
    TAIL,
    PriorOf,
    floored,
    folds,
    left_out,
    past_only,
    reweigh,
    started,
)
from edgenas.costs.drift import (
    Autocorrelation,
    DriftParts,
    autocorrelation,
    filter_level,
    length_bounds,
)
from edgenas.costs.regression import DRIFT, NOISE, Amplitude, Mask, Prior, Regression, design_of

Floats = npt.NDArray[np.float64]
Priced = Callable[[Mask], tuple[Floats, float]]
"""Makes mean costs, ms, shape (n_ops,), and the overhead, ms, from the networks that a mask of
shape (n_networks,) picks, and from no other."""

__all__ = ["FLOOR", "Fitted", "Priced", "fit_costs", "fit_prior", "floored", "folds"]

_MOST_EVIDENCE = 300  # networks from which hyperparameters are estimated
_DOUBT = 1.5  # of every hyperparameter, in its logarithm: decides only where networks are few
_BELIEFS = {
    "common": Amplitude(0.1, 1e-3, 2, _DOUBT),
    "similar": Amplitude(0.2, 1e-3, 2, _DOUBT),
    "own": Amplitude(0.05, 1e-3, 1, _DOUBT),
    "overhead": Amplitude(0.05, 1e-3, 1, _DOUBT),
    NOISE: Amplitude(0.02, 1e-4, 0.5, _DOUBT),
}
_BELIEVED_STD = Amplitude(1.0, 0.03, 30, _DOUBT)  # a multiple of the deviations that were given


@dataclass(frozen=True, slots=True)
class Fitted:
    """Costs that networks taught, and how sure they are.

    `cost_ms`, `std_ms`: shape (n_ops,). A network takes `overhead_ms` plus its operators' costs.
    Costs are at the mean level of the machine. `covariance`: of overhead and costs, shape
    (1 + n_ops, 1 + n_ops), ms^2. `drift_share`: how much slower than that level the machine was
    at each network, shape (n,), zeros without moments. `left_out_ms`: what networks were predicted
    when they were left out of the fit, and `left_out_level`: the machine's level then, 1 at its
    mean, as the others show it; both in the order of the networks. `scores`: their sorted
    (measured - predicted) / predicted, that drift removed. `before`, `after`: memory of those
    errors with the drift left in and taken out, in the order of the moments (or of the networks).
    `prior_of` makes the prior from some of the networks.
    """

    cost_ms: Floats
    std_ms: Floats
    overhead_ms: float
    covariance: Floats
    hyperparameters: dict[str, float]
    n_floored: int
    scores: Floats
    left_out_ms: Floats
    left_out_level: Floats
    drift_share: Floats
    weights: Floats
    before: Autocorrelation
    after: Autocorrelation
    regression: Regression
    prior_of: PriorOf

    @property
    def noise(self) -> float:
        """Standard deviation of a typical network's noise, as a share."""
        return self.hyperparameters[NOISE]

    @property
    def drift(self) -> DriftParts | None:
        """The model of the drift; None: no moments were given."""
        if self.regression.at is None:
            return None
        found = self.hyperparameters
        return DriftParts(
            found["fast"],
            found["fast_length"],
            found["slow"],
            found["slow_length"],
            found[NOISE],
        )

    def predict(self, counts: Floats) -> Floats:
        """Return networks' times at the machine's mean level, ms; counts (n, n_ops)."""
        predicted: Floats = self.overhead_ms + counts @ self.cost_ms
        return predicted

    def std_of(self, counts: Floats) -> Floats:
        """Return how unsure the networks' costs are, ms, without the noise of a timing."""
        design = np.column_stack([np.ones(len(counts)), counts])
        variance = np.einsum("ij,jk,ik->i", design, self.covariance, design)
        std: Floats = np.sqrt(np.maximum(variance, 0.0))
        return std

    def forward(
        self, counts: Floats, at: Floats, *, costs_from: Literal["all", "past"] = "all"
    ) -> Floats:
        """Return the times that networks would show at given moments, from what came before.

        Args:
            counts: shape (n, n_ops).
            at: when each is to be timed, shape (n,).
            costs_from: `all`: costs are those of the whole fit, only the machine's level is
                followed forwards; `past`: all that is told rests on timings strictly before each
                moment, but for the hyperparameters, which are those of the whole fit.

        Returns:
            Shape (n,), ms; with `past` NaN where fewer than ten networks were timed before.

        Raises:
            UsageError: the fit has no moments.
        """
        source, parts = self.regression, self.drift
        if source.at is None or parts is None:
            raise UsageError("the fit knows no moments; give times_at to fit_costs")
        if costs_from == "past":
            return past_only(self.prior_of, source, self.hyperparameters, counts, at)
        order = np.argsort(source.at, kind="stable")
        residuals = source.network_ms / self.predict(source.design[:, 1:]) - 1
        level, _ = filter_level(
            source.at[order],
            residuals[order],
            parts,
            asked_at=at,
            weights=self.weights[order],
        )
        predicted: Floats = self.predict(counts) * (1 + level)
        return predicted


def fit_costs(  # noqa: PLR0913
    counts: Floats,
    network_ms: Floats,
    prior_ms: Floats | Priced,
    prior_std: Floats | None = None,
    *,
    similarity: Floats | None = None,
    overhead_ms: float = 0.0,
    times_at: Floats | None = None,
) -> Fitted:
    """Fit costs of operators (or of factors' options) to whole networks.

    Args:
        counts: how often each network runs each operator, shape (n_networks, n_ops).
        network_ms: the networks' times, shape (n_networks,).
        prior_ms: what the operators are thought to cost, shape (n_ops,), above 0; only their
            proportions count, because the level is taken from the networks. Where it was found with
            these networks: what makes it (and the overhead) from some of them, so that networks
            that are left out have no part in it.
        prior_std: how unsure each of them is, in the unit of `prior_ms`, shape (n_ops,); a fitted
            multiple of it is used. Without it every operator is as unsure in proportion to its
            cost.
        similarity: how much of their corrections operators share, shape (n_ops, n_ops).
        overhead_ms: what a network is thought to take beside its operators, where `prior_ms` does
            not make it.
        times_at: when each network was timed, shape (n_networks,): removes drift.

    Raises:
        UsageError: shapes that do not fit, too few networks, times or priors not above 0.
    """
    design = design_of(counts, network_ms)
    priced = _constant(prior_ms, overhead_ms) if isinstance(prior_ms, np.ndarray) else prior_ms
    found, _ = priced(np.ones(len(network_ms), dtype=bool))
    _check_prior(counts, found, prior_std, times_at)
    amplitudes = _amplitudes(prior_std, similarity, times_at)

    def prior_of(seen: Mask) -> Prior:
        mean, overhead = priced(seen)
        ratio = float(np.median(network_ms[seen] / (overhead + counts[seen] @ mean)))
        std = None if prior_std is None else ratio * prior_std
        typical_ms = float(np.median(network_ms[seen]))
        return Prior(
            mean_ms=ratio * np.concatenate([[overhead], mean]),
            given=np.zeros((len(mean) + 1,) * 2),
            parts=_parts(ratio * mean, std, similarity, typical_ms),
            amplitudes=amplitudes,
        )

    return fit_prior(prior_of, design, network_ms, times_at=times_at)


def _constant(mean: Floats, overhead: float) -> Priced:
    def priced(_: Mask) -> tuple[Floats, float]:
        return mean, overhead

    return priced


def fit_prior(
    prior: Prior | PriorOf, design: Floats, network_ms: Floats, *, times_at: Floats | None = None
) -> Fitted:
    """Fit weights of any prior to whole networks; see `fit_costs` for the arrays.

    Args:
        prior: of the overhead and the costs, or what makes it from some of the networks.
        design: from `edgenas.costs.regression.design_of`.
        network_ms: shape (n_networks,).
        times_at: shape (n_networks,).
    """

    def prior_of(seen: Mask) -> Prior:
        return prior if isinstance(prior, Prior) else prior(seen)

    everything = np.ones(len(network_ms), dtype=bool)
    regression = started(prior_of(everything), design, network_ms, times_at)
    values: dict[str, float] = {}
    for k in range(N_ROUNDS + 1):
        values = _fewer(regression).maximise(values)
        if k < N_ROUNDS:
            reweigh(regression, values)
    return _fitted(regression, values, prior_of)


def _fewer(regression: Regression) -> Regression:
    """Return a regression on as many networks as hyperparameters need; drift needs neighbours."""
    n = len(regression.network_ms)
    if n <= _MOST_EVIDENCE or regression.at is not None or regression.weights is None:
        return regression
    rows = np.random.default_rng(0).choice(n, _MOST_EVIDENCE, replace=False)
    return Regression(
        regression.prior,
        regression.design[rows],
        regression.network_ms[rows],
        regression.level_ms[rows],
        weights=regression.weights[rows],
    )


def _parts(
    mean: Floats, std: Floats | None, similarity: Floats | None, typical_ms: float
) -> dict[str, Floats]:
    """Return the parts of the prior covariance; row and column 0 are the overhead's."""

    def among_operators(block: Floats) -> Floats:
        return np.pad(block, ((1, 0), (1, 0)))

    outer = np.outer(mean, mean)
    overhead = np.zeros((len(mean) + 1,) * 2)
    overhead[0, 0] = typical_ms**2
    parts = {
        "common": among_operators(outer),
        "own": among_operators(np.diag(mean**2 if std is None else std**2)),
        "overhead": overhead,
    }
    if similarity is not None:
        parts["similar"] = among_operators(outer * similarity)
    return parts


def _amplitudes(
    std: Floats | None, similarity: Floats | None, at: Floats | None
) -> Mapping[str, Amplitude]:
    beliefs = {k: v for k, v in _BELIEFS.items() if k != "similar" or similarity is not None}
    if std is not None:
        beliefs["own"] = _BELIEVED_STD
    if at is not None:
        least, middle, most = length_bounds(at)
        for name, low, high in zip(DRIFT, (least, middle), (middle, most), strict=True):
            beliefs[name] = Amplitude(0.05, 1e-3, 0.5, _DOUBT)
            start = float(np.sqrt(low * high))
            beliefs[f"{name}_length"] = Amplitude(start, low, high, _DOUBT)
    return beliefs


def _fitted(regression: Regression, values: dict[str, float], prior_of: PriorOf) -> Fitted:
    posterior = regression.posterior(values)
    # Reweighted networks look surer than they are: Student t noise with n degrees of freedom tells
    # (n + 1) / (n + 3) of what normal noise of the same scale does (Lange et al. 1989).
    unsure = {**values, NOISE: values[NOISE] * sqrt((TAIL + 3) / (TAIL + 1))}
    covariance = regression.posterior(unsure).covariance
    weights, n_floored = floored(posterior.mean_ms, regression)
    _, drift, _ = regression.split(values)
    cost = np.maximum(regression.design @ weights, 1e-9)
    drift = drift * regression.level_ms / cost  # a share of it
    mean_level = 1 + float(drift.mean())
    weights, drift = weights * mean_level, (1 + drift) / mean_level - 1
    times = regression.network_ms
    predicted, level = left_out(prior_of, regression, values)
    errors = np.stack([times, times / level]) / predicted - 1
    order = slice(None) if regression.at is None else np.argsort(regression.at, kind="stable")
    trust = np.ones(len(times)) if regression.weights is None else regression.weights
    return Fitted(
        cost_ms=weights[1:],
        std_ms=mean_level * np.sqrt(np.maximum(np.diag(covariance)[1:], 0.0)),
        overhead_ms=float(weights[0]),
        covariance=mean_level**2 * covariance,
        hyperparameters=values,
        n_floored=n_floored,
        scores=np.sort(errors[1]),
        left_out_ms=predicted,
        left_out_level=level,
        drift_share=drift,
        weights=trust,
        before=autocorrelation(errors[0, order]),
        after=autocorrelation(errors[1, order]),
        regression=regression,
        prior_of=prior_of,
    )


def _check_prior(counts: Floats, mean: Floats, std: Floats | None, times_at: Floats | None) -> None:
    n, n_ops = counts.shape
    shapes = [("prior_ms", mean, n_ops), ("prior_std", std, n_ops), ("times_at", times_at, n)]
    for name, given, length in shapes:
        if given is not None and given.shape != (length,):
            raise UsageError(f"{name} has shape {given.shape}; expected ({length},)")
    if not (np.isfinite(mean) & (mean > 0)).all():
        raise UsageError("prior_ms has a cost that is 0, negative or not a number")
    if std is not None and not (np.isfinite(std) & (std >= 0)).all():
        raise UsageError("prior_std has a deviation that is negative or not a number")
