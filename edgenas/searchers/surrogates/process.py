"""A Gaussian process over groups of features: one term for each, and one for all together.

Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, chapters 2 and 5. With d_i the
squared distance in group i, the covariance of two architectures is

    sum_i v_i exp(-l_i d_i)  +  v exp(-sum_i m_i d_i)

so that what a group says alone is learned from few evaluations, and what they say together from
more. Its numbers are the most probable ones given the values, under broad log-normal priors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from edgenas.searchers.problem import Floats
from edgenas.searchers.surrogates.base import Normal

_PRIOR_STD = 2.0
_JITTER = 1e-6
_N_STEPS = 60


def prior_means(n_groups: int) -> Floats:
    """Return the prior means of the logarithms of all v_i, all l_i, v, all m_i and the noise."""
    groups = np.ones(n_groups)
    return np.concatenate([-1.0 * groups, -1.5 * groups, [0.0], -2.0 * groups, [-4.0]])


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """A fitted process; `numbers` are the logarithms that `prior_means` lists.

    The values are standardised: `mean` and `spread` are theirs.
    """

    numbers: Floats
    blocks: list[Floats]
    factor: Floats
    weights: Floats
    mean: float
    spread: float

    @classmethod
    def fit(cls, blocks: list[Floats], values: Floats, numbers: Floats) -> GaussianProcess:
        """Return the process given values of shape (n,).

        Args:
            blocks: features in groups, each (n, n_features).
            values: where all are equal, that is what is expected everywhere.
            numbers: see `most_probable`.
        """
        target, mean, spread = _standardised(values)
        distances = _distances(blocks, blocks)
        covariance = _covariance(numbers, distances)[0]
        covariance[np.diag_indices(len(target))] += np.exp(numbers[-1]) + _JITTER
        factor = cholesky(covariance, lower=True)
        weights = cho_solve((factor, True), target)
        return cls(numbers, blocks, factor, weights, mean, spread)

    def __call__(self, blocks: list[Floats]) -> Normal:
        """Return what it expects (see `Model`)."""
        covariance = _covariance(self.numbers, _distances(blocks, self.blocks))[0]
        n = len(self.blocks)
        prior = np.exp(self.numbers[:n]).sum() + np.exp(self.numbers[2 * n])
        seen = solve_triangular(self.factor, covariance.T, lower=True)
        variance = np.maximum(prior - (seen**2).sum(axis=0), 1e-9) + np.exp(self.numbers[-1])
        return Normal(
            self.mean + self.spread * (covariance @ self.weights),
            self.spread * np.sqrt(variance),
        )


def _covariance(numbers: Floats, distances: list[Floats]) -> tuple[Floats, list[Floats], Floats]:
    """Return the covariance without noise, its terms by group, and the joint term."""
    n = len(distances)
    scales = np.exp(numbers)
    terms = [scales[i] * np.exp(-scales[n + i] * distances[i]) for i in range(n)]
    together = sum((scales[2 * n + 1 + i] * distances[i] for i in range(n)), np.zeros(1))
    joint = scales[2 * n] * np.exp(-together)
    return sum(terms, joint), terms, joint


def most_probable(blocks: list[Floats], values: Floats) -> Floats:
    """Return the numbers that the values and the prior make most probable (see the module)."""
    target, _, _ = _standardised(values)
    start = prior_means(len(blocks))
    found = minimize(
        _loss,
        start,
        args=(_distances(blocks, blocks), target),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-12.0, 6.0)] * len(start),
        options={"maxiter": _N_STEPS},
    )
    return np.asarray(found.x, dtype=np.float64)


def _standardised(values: Floats) -> tuple[Floats, float, float]:
    mean, spread = float(values.mean()), float(values.std()) or 1.0
    return (values - mean) / spread, mean, spread


def _distances(left: list[Floats], right: list[Floats]) -> list[Floats]:
    return [cdist(a, b, "sqeuclidean") for a, b in zip(left, right, strict=True)]


def _loss(numbers: Floats, distances: list[Floats], target: Floats) -> tuple[float, Floats]:
    """Return the negative log posterior and its gradient (Rasmussen & Williams, eq. 5.8, 5.9)."""
    n = len(distances)
    scales = np.exp(numbers)
    covariance, terms, joint = _covariance(numbers, distances)
    covariance[np.diag_indices(len(target))] += scales[-1] + _JITTER
    away = (numbers - prior_means(n)) / _PRIOR_STD
    try:
        factor = cholesky(covariance, lower=True)
    except LinAlgError:
        return 1e10, np.zeros(len(numbers))
    inverse = cho_solve((factor, True), np.eye(len(target)))
    weights = inverse @ target
    loss = 0.5 * float(target @ weights) + float(np.log(np.diag(factor)).sum())
    slope = 0.5 * (inverse - np.outer(weights, weights))
    parts, whole = [slope * term for term in terms], slope * joint
    gradient = np.array(
        [
            *(part.sum() for part in parts),
            *(-scales[n + i] * (parts[i] * distances[i]).sum() for i in range(n)),
            whole.sum(),
            *(-scales[2 * n + 1 + i] * (whole * distances[i]).sum() for i in range(n)),
            scales[-1] * np.trace(slope),
        ]
    )
    return loss + 0.5 * float(away @ away), gradient + away / _PRIOR_STD
