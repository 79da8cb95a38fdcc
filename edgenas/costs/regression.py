"""Bayesian linear regression of networks' times on operator costs, with drift in the same fit.

A network i that runs operator j n_ij times, at time t_i, takes

    y_i = b + sum_j n_ij c_j + s_i (d(t_i) + e_i)

with an overhead b, operator costs c_j, a relative drift d and relative noise e; s_i is about what
the network takes and turns shares into milliseconds. Overhead and costs (the weights) and the drift
are Gaussian a priori, so all of them follow in closed form (Rasmussen & Williams 2006, equations
2.37-2.42 and 5.8-5.9). The prior covariance of the weights is a given part and parts whose
amplitudes, like the noise and the drift's amplitudes and lengths, maximise the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize

from edgenas.core.errors import UsageError

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

NOISE = "noise"
DRIFT = ("fast", "slow")
"""Names of the two components of the drift; their lengths are `fast_length`, `slow_length`."""


@dataclass(frozen=True, slots=True)
class Amplitude:
    """Where the search for a hyperparameter starts, its bounds, and what is believed of it.

    `doubt`: standard deviation of its logarithm around the start a priori; None: nothing is
    believed, the evidence alone decides.
    """

    start: float
    low: float
    high: float
    doubt: float | None = None


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of the weights before any network was timed.

    The weights are the overhead and then the operators' costs: `mean_ms` has shape (1 + n_ops,),
    `given` and each of `parts` shape (1 + n_ops, 1 + n_ops). `amplitudes` has an entry for every
    part, for the noise and for what the drift needs.
    """

    mean_ms: Floats
    given: Floats
    parts: Mapping[str, Floats]
    amplitudes: Mapping[str, Amplitude]

    def covariance(self, values: Mapping[str, float]) -> Floats:
        """Return the prior covariance of the weights, ms^2."""
        total = self.given.copy()
        for name, part in self.parts.items():
            total += values[name] ** 2 * part
        return total


@dataclass(frozen=True, slots=True)
class Posterior:
    """What the networks taught: mean and covariance of the weights; `solved` is K^-1 (y - mean)."""

    mean_ms: Floats
    covariance: Floats
    solved: Floats


@dataclass(slots=True)
class Regression:
    """The regression's fixed arrays.

    Args:
        prior: of the weights.
        design: shape (n, 1 + n_ops): a column of ones, then how often each operator runs.
        network_ms: shape (n,).
        level_ms: about what each network takes, shape (n,); not `network_ms` itself when there is
            drift, because a drift in proportion to the times explains them all.
        at: when each was timed, shape (n,); without it there is no drift.
        weights: trust in each network, shape (n,): its noise variance is divided by it.
    """

    prior: Prior
    design: Floats
    network_ms: Floats
    level_ms: Floats
    at: Floats | None = None
    weights: Floats | None = None
    _given: Floats = field(init=False)
    _parts: dict[str, Floats] = field(init=False)
    _distance: Floats = field(init=False)

    def __post_init__(self) -> None:
        self._given = self.design @ self.prior.given @ self.design.T
        self._parts = {
            name: self.design @ part @ self.design.T for name, part in self.prior.parts.items()
        }
        at = np.zeros(len(self.network_ms)) if self.at is None else self.at
        self._distance = np.abs(at[:, None] - at[None])

    @property
    def residual_ms(self) -> Floats:
        """Times less what the prior mean says, shape (n,)."""
        residual: Floats = self.network_ms - self.design @ self.prior.mean_ms
        return residual

    def noise_variance(self, values: Mapping[str, float]) -> Floats:
        """Return the variance of each network's noise, ms^2, shape (n,)."""
        variance: Floats = (values[NOISE] * self.level_ms) ** 2
        return variance if self.weights is None else variance / self.weights

    def costs_covariance(self, values: Mapping[str, float]) -> Floats:
        """Return the prior covariance of the networks' costs without drift and noise, (n, n)."""
        total = self._given.copy()
        for name, part in self._parts.items():
            total += values[name] ** 2 * part
        return total

    def drift_covariance(self, values: Mapping[str, float]) -> Floats:
        """Return the prior covariance of the networks' drift, ms^2, shape (n, n)."""
        total = np.zeros((len(self.network_ms),) * 2)
        for component in self._components(values).values():
            total += component
        return total

    def _covariance(self, values: Mapping[str, float]) -> Floats:
        """Return the prior covariance of the networks' times, ms^2, shape (n, n)."""
        total = self.costs_covariance(values) + self.drift_covariance(values)
        total[np.diag_indices_from(total)] += self.noise_variance(values)
        return total

    def _components(self, values: Mapping[str, float]) -> dict[str, Floats]:
        """Return the drift's components; each is of mean 0 over the networks.

        A constant drift cannot be told from costs that are higher throughout.
        """
        if self.at is None:
            return {}
        scale = np.outer(self.level_ms, self.level_ms)
        return {
            name: values[name] ** 2
            * scale
            * centred(np.exp(-self._distance / values[f"{name}_length"]))
            for name in DRIFT
        }

    def _length_slope(self, values: Mapping[str, float], name: str) -> Floats:
        """Return the derivative of a component with respect to the logarithm of its length."""
        ratio = self._distance / values[f"{name}_length"]
        slope: Floats = np.outer(self.level_ms, self.level_ms) * centred(ratio * np.exp(-ratio))
        return values[name] ** 2 * slope

    def maximise(self, start: Mapping[str, float] | None = None) -> dict[str, float]:
        """Return the hyperparameters of greatest evidence."""
        names = list(self.prior.amplitudes)
        limits = self.prior.amplitudes
        first = [(start or {}).get(name, limits[name].start) for name in names]
        bounds = [(np.log(limits[name].low), np.log(limits[name].high)) for name in names]
        best = minimize(
            self._negative_evidence,
            np.log(first),
            args=(names,),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 100},
        )
        return dict(zip(names, (float(value) for value in np.exp(best.x)), strict=True))

    def _negative_evidence(self, logs: Floats, names: Sequence[str]) -> tuple[float, Floats]:
        """Return -log evidence (equation 5.8), up to a constant, and its gradient (5.9)."""
        values = dict(zip(names, np.exp(logs), strict=True))
        noise, components = self.noise_variance(values), self._components(values)
        total = self.costs_covariance(values) + sum(components.values()) + np.diag(noise)
        try:
            factor = cho_factor(total, lower=True)
        except LinAlgError:
            return 1e12, np.zeros(len(names))
        solved = cho_solve(factor, self.residual_ms)
        evidence = 0.5 * self.residual_ms @ solved + np.log(np.diag(factor[0])).sum()
        inner = cho_solve(factor, np.eye(len(total))) - np.outer(solved, solved)
        slopes = {NOISE: float(np.diag(inner) @ noise)}
        for name, part in self._parts.items():
            slopes[name] = values[name] ** 2 * float((inner * part).sum())
        for name, component in components.items():
            slopes[name] = float((inner * component).sum())
            slopes[f"{name}_length"] = 0.5 * float((inner * self._length_slope(values, name)).sum())
        gradient = np.array([slopes[name] for name in names])
        for k, name in enumerate(names):
            belief = self.prior.amplitudes[name]
            if belief.doubt is not None:
                off = (logs[k] - np.log(belief.start)) / belief.doubt
                evidence += 0.5 * off**2
                gradient[k] += off / belief.doubt
        return float(evidence), gradient

    def posterior(self, values: Mapping[str, float], seen: Mask | None = None) -> Posterior:
        """Return the weights given the networks that are `seen` (all)."""
        pick = np.arange(len(self.network_ms)) if seen is None else np.flatnonzero(seen)
        factor = cho_factor(self._covariance(values)[np.ix_(pick, pick)], lower=True)
        solved = cho_solve(factor, self.residual_ms[pick])
        prior = self.prior.covariance(values)
        cross = prior @ self.design[pick].T
        return Posterior(
            mean_ms=self.prior.mean_ms + cross @ solved,
            covariance=prior - cross @ cho_solve(factor, cross.T),
            solved=solved,
        )

    def means(self, values: Mapping[str, float]) -> tuple[Floats, Floats]:
        """Return the mean of the weights, and K^-1 (y - mean): what `posterior` costs more for."""
        solved = cho_solve(cho_factor(self._covariance(values), lower=True), self.residual_ms)
        taught = self.design.T @ solved
        mean = self.prior.mean_ms + self.prior.given @ taught
        for name, part in self.prior.parts.items():
            mean += values[name] ** 2 * (part @ taught)
        return mean, solved

    def drift_at(self, values: Mapping[str, float], at: Floats, solved: Floats) -> Floats:
        """Return the drift at any moments, a share, shape (n_asked,), from the networks' times.

        Args:
            values: the hyperparameters.
            at: the moments, shape (n_asked,).
            solved: K^-1 (y - mean), see `means`.
        """
        if self.at is None:
            return np.zeros(len(at))
        distance = np.abs(at[:, None] - self.at[None])
        shared, own = np.zeros_like(distance), np.zeros_like(self._distance)
        for name in DRIFT:
            size, length = values[name] ** 2, values[f"{name}_length"]
            shared += size * np.exp(-distance / length)
            own += size * np.exp(-self._distance / length)
        # As in `_components`, drift is what differs from its mean over the networks.
        shared += own.mean() - own.mean(axis=0) - shared.mean(axis=1, keepdims=True)
        share: Floats = shared @ (self.level_ms * solved)
        return share

    def split(self, values: Mapping[str, float]) -> tuple[Floats, Floats, Floats]:
        """Return every network's cost, its drift (a share), and the variance of both's sum.

        Each has shape (n,); the drift is known from times before and after.
        """
        costs, drift = self.costs_covariance(values), self.drift_covariance(values)
        factor = cho_factor(costs + drift + np.diag(self.noise_variance(values)), lower=True)
        solved = cho_solve(factor, self.residual_ms)
        both = costs + drift
        variance = np.diag(both) - np.einsum("ij,ji->i", both, cho_solve(factor, both))
        cost: Floats = self.design @ self.prior.mean_ms + costs @ solved
        return cost, drift @ solved / self.level_ms, np.maximum(variance, 0.0)


def centred(covariance: Floats) -> Floats:
    """Return the covariance of what is left when the mean of all is taken off."""
    rows = covariance - covariance.mean(axis=0)
    left: Floats = rows - rows.mean(axis=1, keepdims=True)
    return left


def design_of(counts: Floats, network_ms: Floats) -> Floats:
    """Return the design matrix: a column of ones before the counts.

    Raises:
        UsageError: shapes do not fit, a time is not a number above 0, or fewer than three
            networks were timed.
    """
    if counts.ndim != 2 or network_ms.shape != (len(counts),):
        raise UsageError(
            f"counts of shape {counts.shape} and times of shape {network_ms.shape}: expected "
            "(n_networks, n_operators) and (n_networks,)"
        )
    if len(counts) < 3:
        raise UsageError(f"{len(counts)} networks were timed; a fit needs at least 3")
    if not (np.isfinite(network_ms) & (network_ms > 0)).all():
        raise UsageError("a network's time is 0, negative or not a number; time it again")
    return np.column_stack([np.ones(len(counts)), counts])
