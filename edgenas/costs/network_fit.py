"""Operator costs of kinds that only whole networks show: energy, loading, memory, load's end.

Each kind has a prior that says what its costs grow with; the regression of `edgenas.costs.fit`
does the rest. Peaks of memory are no sums of operators. Weights are, and what the fit cannot
explain of the rest stands in the error on networks left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.ops import OpSpec
from edgenas.costs.counts import operator_counts
from edgenas.costs.energy import energy_prior
from edgenas.costs.features import driven_prior, operator_drivers, operator_features, similarity
from edgenas.costs.fit import Priced, fit_costs
from edgenas.costs.fit_table import costs_of, fitted_rows
from edgenas.costs.kinds import Kind
from edgenas.costs.passport import NetworkFitRecord
from edgenas.costs.repeated import Repeated
from edgenas.costs.rows import Row
from edgenas.costs.table import CostTable
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]

LEAST_NETWORKS = 20
"""Networks that a fit needs."""


def fit_networks(
    space: SearchSpace,
    kind: Kind,
    networks: Genes,
    costs: Floats,
    *,
    latency: CostTable | None = None,
) -> tuple[tuple[Row, ...], NetworkFitRecord]:
    """Fit the costs of a space's operators to what whole networks cost.

    Args:
        space: the space.
        kind: what the costs are of.
        networks: what was measured, shape (n_networks, n_genes).
        costs: in the kind's unit, shape (n_sessions, n_networks).
        latency: the space's latency table, which kinds in `ON_LATENCY` start from.

    Returns:
        One row an operator, and how it was fitted.

    Raises:
        UsageError: too few networks, shapes that do not fit, costs that are not above 0, or no
            table of latencies.
        MissingCostError: `latency` lacks an operator of the space.
    """
    if len(networks) < LEAST_NETWORKS:
        raise UsageError(f"{len(networks)} networks; at least {LEAST_NETWORKS} are needed")
    sessions = Repeated.of(costs, len(networks))
    ops = space.distinct_ops()
    counts = operator_counts(space, networks, ops)
    typical = sessions.typical
    alike = similarity(operator_features(ops))
    if kind == "sustained_p95":
        mean, std, overhead = costs_of(_needed(latency, kind), ops)
        fitted = fit_costs(counts, typical, mean, std, similarity=alike, overhead_ms=overhead)
    else:
        prior = _priced(kind, ops, counts, typical, latency)
        fitted = fit_costs(counts, typical, prior, similarity=alike)
    errors = sessions.costs / fitted.left_out_ms - 1
    record = NetworkFitRecord(
        **sessions.record(
            fitted, sessions.costs, fitted.left_out_ms, errors, moving=kind != "peak_memory"
        ),
        cost_range=(float(typical.min()), float(typical.max())),
        overhead_cost=fitted.overhead_ms,
    )
    return fitted_rows(ops, counts, fitted), record


def _priced(
    kind: Kind,
    ops: list[OpSpec],
    counts: Floats,
    network_costs: Floats,
    latency: CostTable | None,
) -> Priced:
    """Return what makes mean costs and the overhead from the networks that are seen."""
    if kind == "energy":
        times, _, _ = costs_of(_needed(latency, kind), ops)
        return lambda seen: (energy_prior(ops, times, counts[seen], network_costs[seen]), 0.0)
    drivers = _drivers(kind, ops, latency)
    return lambda seen: driven_prior(drivers, counts[seen], network_costs[seen])


def _drivers(kind: Kind, ops: Sequence[OpSpec], latency: CostTable | None) -> Floats:
    """Return what the costs of a kind grow with, shape (n_ops, n_drivers).

    Loading reads weights and makes a kernel an operator; a cold start runs the network once more;
    memory holds weights and, as far as operators have a share in it, activations.
    """
    *_, moved, weights, n_primitives = operator_drivers(ops).T
    if kind == "load":
        return np.column_stack([weights, n_primitives])
    if kind == "cold_start":
        times, _, _ = costs_of(_needed(latency, kind), list(ops))
        return np.column_stack([weights, n_primitives, times])
    if kind == "peak_memory":
        return np.column_stack([weights, moved, n_primitives])
    raise UsageError(f"costs of {kind} are not fitted to whole networks of their own")


def _needed(latency: CostTable | None, kind: Kind) -> CostTable:
    if latency is None:
        raise UsageError(f"the fit of {kind} starts from a table of latencies; none was given")
    return latency
