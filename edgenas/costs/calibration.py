"""Operator costs fitted to whole networks, with the operators' own times as the prior.

An operator timed alone pays for its borders (a call of the engine, layout changes of what goes
in and out) that a network pays once. With n operators, times t and corrections d, a network takes

    y = overhead + sum_j (t_j - c0 - c_in * in_j - c_out * out_j + d_j) + noise

where in_j, out_j are the KiB at an operator's borders. All of overhead, c0, c_in, c_out and d are
Gaussian a priori and follow in closed form: Bayesian linear regression, written as a Gaussian
process on the corrections (Rasmussen & Williams 2006, equations 2.37-2.42, explicit basis). The
covariance of d has three parts, each relative to t: one common to all operators, one that
similar operators share, one that is each operator's own. Their sizes maximise the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, prod

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from edgenas.core.counts import n_macs
from edgenas.core.ops import OpSpec
from edgenas.spaces.blocks import expand

Floats = npt.NDArray[np.float64]

FLOOR = 0.02
"""Least cost of an operator, as a share of its isolated time: costs below would be noise."""

_OVERHEAD_PRIOR = 0.02  # of the mean sum of isolated times
_BORDER_PRIOR = 0.1  # of the median operator, at a border of mean size
_N_FOLDS = 10
_LENGTH = 1.5  # of the shared correction, in standard deviations of the features


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Standard deviations relative to an operator's time (noise: to a network's time)."""

    common: float
    similar: float
    own: float
    noise: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Costs of operators inside a network.

    `cost_ms`, `std_ms`: shape (n_operators,). A network takes `overhead_ms` plus the costs of its
    operators. `scores` are (measured - predicted) / predicted of networks left out of the fit,
    `left_out_ms` what was predicted for them, shape (n_networks,).
    """

    cost_ms: Floats
    std_ms: Floats
    overhead_ms: float
    boundary: tuple[float, float, float]
    hyperparameters: Hyperparameters
    n_floored: int
    scores: Floats
    left_out_ms: Floats


class _Problem:
    """The regression's fixed arrays: isolated times, borders, and their products with counts."""

    def __init__(self, ops: Sequence[OpSpec], isolated_ms: Floats, counts: Floats) -> None:
        self.isolated_ms, self.counts = isolated_ms, counts
        graphs = [expand(op) for op in ops]
        self.borders = np.array(
            [
                [1.0, prod(graph.in_shape) / 256, prod(graph.out_shape) / 256]  # float32 KiB
                for graph in graphs
            ]
        )
        basis = np.column_stack([np.ones(len(counts)), -counts @ self.borders])
        # Wide enough for any engine seen, narrow enough that overhead and borders, which are
        # nearly collinear, do not trade large opposite values (benchmarks/costs has the figures).
        border_ms = _BORDER_PRIOR * float(np.median(isolated_ms))
        scale = np.array(
            [
                _OVERHEAD_PRIOR * float((counts @ isolated_ms).mean()),
                *(border_ms / np.maximum(self.borders.mean(axis=0), 1e-9)),
            ]
        )
        self.prior = scale**2
        self.basis = basis
        scaled = counts * isolated_ms  # corrections are relative to the operator's time
        features = _features(ops)
        shared = np.exp(-0.5 * cdist(features, features, "sqeuclidean") / _LENGTH**2)
        self.shared = shared
        self.k_common = np.outer(scaled.sum(axis=1), scaled.sum(axis=1))
        self.k_similar = scaled @ shared @ scaled.T
        self.k_own = scaled @ scaled.T
        self.k_basis = (basis * self.prior) @ basis.T

    def covariance(self, parts: Hyperparameters) -> Floats:
        """Covariance of noiseless networks, shape (n, n)."""
        total: Floats = (
            self.k_basis
            + parts.common**2 * self.k_common
            + parts.similar**2 * self.k_similar
            + parts.own**2 * self.k_own
        )
        return total

    def operator_covariance(self, parts: Hyperparameters) -> Floats:
        """Prior covariance of the corrections, shape (n_operators, n_operators)."""
        relative: Floats = parts.common**2 + parts.similar**2 * self.shared
        relative[np.diag_indices_from(relative)] += parts.own**2
        relative *= np.outer(self.isolated_ms, self.isolated_ms)
        return relative


def calibrate(
    ops: Sequence[OpSpec], isolated_ms: Floats, counts: Floats, network_ms: Floats
) -> Calibration:
    """Fit operator costs to whole networks.

    Args:
        ops: the operators.
        isolated_ms: their times alone, shape (n_operators,).
        counts: how often each network runs each operator, shape (n_networks, n_operators).
        network_ms: the networks' times, shape (n_networks,).
    """
    problem = _Problem(ops, isolated_ms, counts)
    parts = _evidence_maximum(problem, network_ms)
    left_out = np.empty(len(network_ms))
    folds = np.random.default_rng(0).permutation(len(network_ms)) % _N_FOLDS
    for fold in range(_N_FOLDS):
        seen = folds != fold
        cost, _, overhead, _, _ = _posterior(problem, parts, network_ms, seen)
        left_out[~seen] = overhead + counts[~seen] @ cost
    everything = np.ones(len(network_ms), dtype=bool)
    cost, std, overhead, boundary, floored = _posterior(problem, parts, network_ms, everything)
    return Calibration(
        cost_ms=cost,
        std_ms=std,
        overhead_ms=overhead,
        boundary=boundary,
        hyperparameters=parts,
        n_floored=floored,
        scores=np.sort((network_ms - left_out) / left_out),
        left_out_ms=left_out,
    )


def _posterior(
    problem: _Problem, parts: Hyperparameters, network_ms: Floats, seen: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats, float, tuple[float, float, float], int]:
    """Return operator costs, their deviations, overhead, border costs, how many were floored."""
    counts, y = problem.counts[seen], network_ms[seen]
    covariance = problem.covariance(parts)[np.ix_(seen, seen)]
    factor = cho_factor(covariance + np.diag((parts.noise * y) ** 2))
    solved = cho_solve(factor, y - counts @ problem.isolated_ms)
    beta = problem.prior * (problem.basis[seen].T @ solved)
    prior = problem.operator_covariance(parts)
    cross = prior @ counts.T
    cost = problem.isolated_ms - problem.borders @ beta[1:] + cross @ solved
    variance = np.diag(prior) - np.einsum("ij,ji->i", cross, cho_solve(factor, cross.T))
    floor = FLOOR * problem.isolated_ms
    floored = int((cost < floor).sum())
    cost = np.maximum(cost, floor)
    # What the floor added, and nothing else, is taken back from the overhead.
    overhead = float(np.mean((y - counts @ cost) / y) / np.mean(1 / y)) if floored else beta[0]
    boundary = (float(beta[1]), float(beta[2]), float(beta[3]))
    return cost, np.sqrt(np.maximum(variance, 0)), float(overhead), boundary, floored


def _evidence_maximum(problem: _Problem, network_ms: Floats) -> Hyperparameters:
    residual = network_ms - problem.counts @ problem.isolated_ms

    def negative_evidence(logs: Floats) -> float:
        parts = Hyperparameters(*np.exp(logs))
        covariance = problem.covariance(parts) + np.diag((parts.noise * network_ms) ** 2)
        try:
            factor = cho_factor(covariance)
        except np.linalg.LinAlgError:
            return 1e12
        solved = cho_solve(factor, residual)
        return float(0.5 * residual @ solved + np.log(np.diag(factor[0])).sum())

    start = np.log([0.2, 0.1, 0.05, 0.01])
    bounds = [
        (log(1e-3), log(2)),
        (log(1e-3), log(1)),
        (log(1e-3), log(0.5)),
        (log(1e-3), log(0.2)),
    ]
    best = minimize(negative_evidence, start, method="L-BFGS-B", bounds=bounds)
    return Hyperparameters(*(float(value) for value in np.exp(best.x)))


def _features(ops: Sequence[OpSpec]) -> Floats:
    """Standardised features that say which operators are alike, shape (n, n_features)."""
    rows = []
    for op in ops:
        graph = expand(op)
        attrs = dict(op.attrs)
        rows.append(
            [
                log(max(n_macs(graph), 1)),
                log(prod(graph.in_shape)),
                log(prod(graph.out_shape)),
                float(graph.in_shape[-1]) if len(graph.in_shape) > 1 else 0.0,
                float(attrs.get("kernel", 1)),
                float(attrs.get("stride", 1)),
                float(attrs.get("se", 0)),
                # Kinds never correlate by chance: they are far apart on an axis of their own.
                10.0 * sorted({other.kind for other in ops}).index(op.kind),
            ]
        )
    features = np.array(rows)
    features -= features.mean(axis=0)
    features /= np.maximum(features.std(axis=0), 1e-9)
    return features
