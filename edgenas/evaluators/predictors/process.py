"""A Gaussian process over options, sizes and counts: additive terms and their interactions.

Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, chapters 2 and 5. The
covariance of two architectures is

    v1 <a, a'>  +  v2 exp(-l1 |o - o'|^2 - l2 |s - s'|^2)  +  v3 exp(-l3 |c - c'|^2)

with o the options, s the sizes, a both of them, c the counts. Its seven numbers (the noise is the
last) are the most probable ones given the accuracies, under broad log-normal priors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from edgenas.evaluators.predictors.features import Features, Floats, Singles, standardised
from edgenas.evaluators.predictors.regression import Arrays, Regression

START = np.array([0.0, -1.0, 0.0, -1.0, -1.0, -1.0, -3.0])
"""Prior means of the logarithms of v1, v2, l1, l2, v3, l3 and the noise's variance."""

_PRIOR_STD = 2.0
_MOST_ROWS = 500  # that the covariance's numbers are fitted to; all rows are used after that
_JITTER = 1e-6


@dataclass(frozen=True, slots=True)
class Projection:
    """Takes features to standardised options and sizes: `table @ features + shift`."""

    table: Floats  # (n_coordinates, n_features)
    shift: Floats  # (n_coordinates,)
    n_options: int

    @classmethod
    def of(cls, features: Features, rows: Singles) -> Projection:
        """Return the projection that standardises over `rows`."""
        n = features.n_options
        whole = np.vstack([np.eye(n), features.sizes[features.sizes.any(axis=1)]])
        values = rows[:n].T.astype(np.float64) @ whole.T
        parts = [standardised(values[:, :n]), standardised(values[:, n:])]
        scale, shift = (np.concatenate(both) for both in zip(*parts, strict=True))
        table = np.zeros((len(whole), len(rows)))
        table[:, :n] = whole * scale[:, None]
        return cls(table, shift, n)

    def __call__(self, rows: Singles) -> Floats:
        """Return the coordinates of architectures, shape (n, n_coordinates)."""
        moved: Floats = rows.T.astype(np.float64) @ self.table.T + self.shift
        return moved


@dataclass(frozen=True, slots=True)
class Distances:
    """Between two sets of architectures: products and squared distances, each (n, m)."""

    product: Floats
    options: Floats
    sizes: Floats
    counts: Floats

    @classmethod
    def between(
        cls, left: tuple[Floats, Floats], right: tuple[Floats, Floats], n_options: int
    ) -> Distances:
        """Return them for (coordinates, counts) of two sets."""
        (a, c), (b, d) = left, right
        n = n_options
        sizes = cdist(a[:, n:], b[:, n:], "sqeuclidean") if a.shape[1] > n else np.zeros(1)
        return cls(
            a @ b.T,
            cdist(a[:, :n], b[:, :n], "sqeuclidean"),
            np.broadcast_to(sizes, (len(a), len(b))),
            cdist(c, d, "sqeuclidean"),
        )

    def terms(self, numbers: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the three terms of the covariance."""
        v1, v2, l1, l2, v3, l3 = np.exp(numbers[:6])
        return (
            v1 * self.product,
            v2 * np.exp(-l1 * self.options - l2 * self.sizes),
            v3 * np.exp(-l3 * self.counts),
        )

    def covariance(self, numbers: Floats) -> Floats:
        """Return the covariance, without noise."""
        first, second, third = self.terms(numbers)
        return first + second + third


class GaussianProcess(Regression):
    """See the module; `numbers` are the logarithms that `START` lists.

    Predictions cost a product with the architectures that it was fitted to: about as many
    multiplications an architecture as those times the features.
    """

    kind: ClassVar[str] = "gaussian_process"

    def __init__(
        self,
        projection: Projection,
        numbers: Floats,
        *,
        coordinates: Floats,
        counts: Floats,
        weights: Floats,
    ) -> None:
        self.projection, self.numbers = projection, numbers
        self.coordinates, self.counts, self.weights = coordinates, counts, weights
        v1, v2, l1, l2, v3, l3 = np.exp(numbers[:6])
        stretch = np.sqrt(np.where(np.arange(len(projection.table)) < projection.n_options, l1, l2))
        linear = v1 * (weights @ coordinates)
        self._linear = linear @ projection.table
        self._level = float(linear @ projection.shift)
        self._table = (projection.table * stretch[:, None]).astype(np.float32)
        self._shift = (projection.shift * stretch).astype(np.float32)[:, None]
        self._support = _supports(coordinates * stretch)
        self._near = _supports(counts * np.sqrt(l3))
        self._count_scale = np.float32(np.sqrt(l3))
        self._weights = np.stack([v2 * weights, v3 * weights]).astype(np.float32)

    @classmethod
    def fit(cls, features: Features, rows: Singles, target: Floats, *, seed: int) -> Self:
        """Return the process (see `Regression.fit`)."""
        projection = Projection.of(features, rows)
        coordinates, counts = projection(rows), rows[features.n_options :].T.astype(np.float64)
        n = features.n_options
        some = np.random.default_rng(seed).permutation(len(target))[:_MOST_ROWS]
        part = (coordinates[some], counts[some])
        numbers = most_probable(Distances.between(part, part, n), target[some])
        whole = (coordinates, counts)
        covariance = Distances.between(whole, whole, n).covariance(numbers)
        covariance[np.diag_indices(len(target))] += np.exp(numbers[6]) + _JITTER
        weights = cho_solve((cholesky(covariance, lower=True), True), target)
        return cls(projection, numbers, coordinates=coordinates, counts=counts, weights=weights)

    def __call__(self, rows: Singles) -> Floats:
        """Return the mean of the process (see `Regression.__call__`)."""
        n = self.projection.n_options
        result = self._linear @ rows + self._level
        places = (
            (self._support, self._table @ rows + self._shift),
            (self._near, self._count_scale * rows[n:]),
        )
        for (support, place), weights in zip(places, self._weights, strict=True):
            near = support @ _lifted(place)
            np.exp(near, out=near)
            result += weights @ near
        return np.asarray(result, dtype=np.float64)

    @property
    def noise(self) -> float:
        """Variance of one evaluation, in units of the targets'."""
        return float(np.exp(self.numbers[6]))

    def covariance(self, left: Singles, right: Singles) -> Floats:
        """Return the prior covariance of two sets of architectures, shape (n, m)."""
        return self._distances(self._located(left), self._located(right)).covariance(self.numbers)

    def _located(self, rows: Singles) -> tuple[Floats, Floats]:
        return self.projection(rows), rows[self.projection.n_options :].T.astype(np.float64)

    def _distances(self, left: tuple[Floats, Floats], right: tuple[Floats, Floats]) -> Distances:
        return Distances.between(left, right, self.projection.n_options)

    def arrays(self) -> Arrays:
        """Return all that prediction needs (see `Regression.arrays`)."""
        return {
            "numbers": self.numbers,
            "table": self.projection.table,
            "shift": self.projection.shift,
            "n_options": np.array([self.projection.n_options], dtype=np.int32),
            "coordinates": self.coordinates,
            "counts": self.counts,
            "weights": self.weights,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the process whose `arrays` these are."""
        floats = {name: np.asarray(value, dtype=np.float64) for name, value in arrays.items()}
        projection = Projection(floats["table"], floats["shift"], int(arrays["n_options"][0]))
        return cls(
            projection,
            floats["numbers"],
            coordinates=floats["coordinates"],
            counts=floats["counts"],
            weights=floats["weights"],
        )


def _supports(points: Floats) -> Singles:
    """Return rows whose products with `_lifted` columns are minus the squared distances."""
    norms = (points**2).sum(axis=1, keepdims=True)
    return np.hstack([2 * points, -norms, -np.ones_like(norms)]).astype(np.float32)


def _lifted(places: Singles) -> Singles:
    """Return columns of places with 1 and their squared length below them."""
    lifted = np.empty((len(places) + 2, places.shape[1]), dtype=np.float32)
    lifted[:-2], lifted[-2] = places, 1
    np.einsum("ij,ij->j", places, places, out=lifted[-1])
    return lifted


def most_probable(distances: Distances, target: Floats) -> Floats:
    """Return the covariance's numbers that the targets and the prior make most probable."""
    found = minimize(
        _loss,
        START,
        args=(distances, target),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-12.0, 6.0)] * len(START),
        options={"maxiter": 60},
    )
    return np.asarray(found.x, dtype=np.float64)


def _loss(numbers: Floats, distances: Distances, target: Floats) -> tuple[float, Floats]:
    """Return the negative log posterior and its gradient (Rasmussen & Williams, eq. 5.8, 5.9)."""
    terms = distances.terms(numbers)
    noise = np.exp(numbers[6])
    covariance = terms[0] + terms[1] + terms[2]
    covariance[np.diag_indices(len(target))] += noise + _JITTER
    away = (numbers - START) / _PRIOR_STD
    try:
        factor = cholesky(covariance, lower=True)
    except LinAlgError:
        return 1e10, np.zeros(len(numbers))
    inverse = cho_solve((factor, True), np.eye(len(target)))
    weights = inverse @ target
    loss = 0.5 * float(target @ weights) + float(np.log(np.diag(factor)).sum())
    slope = 0.5 * (inverse - np.outer(weights, weights))
    l1, l2, l3 = np.exp(numbers[[2, 3, 5]])
    second, third = slope * terms[1], slope * terms[2]
    gradient = np.array(
        [
            (slope * terms[0]).sum(),
            second.sum(),
            -l1 * (second * distances.options).sum(),
            -l2 * (second * distances.sizes).sum(),
            third.sum(),
            -l3 * (third * distances.counts).sum(),
            noise * np.trace(slope),
        ]
    )
    return loss + 0.5 * float(away @ away), gradient + away / _PRIOR_STD
