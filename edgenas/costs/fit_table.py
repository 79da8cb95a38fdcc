"""Rows and records of tables whose costs come from whole networks: fitted or transferred."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.ops import OpSpec
from edgenas.costs.counts import operator_counts
from edgenas.costs.drift import errors_at_other_moments
from edgenas.costs.features import driven_prior, operator_drivers, operator_features, similarity
from edgenas.costs.fit import Fitted, Priced, fit_costs
from edgenas.costs.kinds import UNITS
from edgenas.costs.passport import CalibrationRecord
from edgenas.costs.repeated import Repeated
from edgenas.costs.rows import Row
from edgenas.costs.table import CostTable
from edgenas.costs.transfer import Transferred, transfer_costs
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FittedTable:
    """What a table is made of: one row an operator of the space, and how it was fitted.

    No row was timed alone: `isolated` is None and `n_visits` counts the networks
    that ran the operator. `ratio`: how much slower the device is than the prior table's.
    """

    rows: tuple[Row, ...]
    calibration: CalibrationRecord
    fitted: Fitted
    ratio: float | None = None


def fit_table(
    space: SearchSpace,
    networks: Genes,
    timings_ms: Floats,
    *,
    prior_table: CostTable | None = None,
    times_at: Floats | None = None,
) -> FittedTable:
    """Fit the costs of a space's operators to whole networks alone.

    Args:
        space: the space.
        networks: what was timed, shape (n_networks, n_genes).
        timings_ms: shape (n_networks,), or (n_sessions, n_networks) where every network was
            timed in several sessions, each a process of its own: only then do intervals know how
            much a session moves all networks.
        prior_table: costs that are believed until networks say otherwise; without it, costs are
            thought to grow with MACs, traffic, weights and number of primitives.
        times_at: when each network was timed, shape (n_networks,), with one session only; the
            machine's drift is then removed from the costs, and intervals know how far it moves
            a network that is timed at another moment.

    Raises:
        UsageError: shapes that do not fit, times that are not above 0, a prior table that holds
            something else than latencies.
        MissingCostError: `prior_table` lacks an operator of the space.
    """
    sessions = Repeated.of(timings_ms, len(networks))
    if times_at is not None and len(sessions.costs) > 1:
        raise UsageError("times_at goes with one session; several sessions show drift themselves")
    ops = space.distinct_ops()
    counts, typical = operator_counts(space, networks, ops), sessions.typical
    prior: Floats | Priced
    std: Floats | None = None
    overhead = 0.0
    if prior_table is None:
        prior = _priced(ops, counts, typical)
    else:
        prior, std, overhead = costs_of(prior_table, ops)
    fitted = fit_costs(
        counts,
        typical,
        prior,
        std,
        similarity=similarity(operator_features(ops)),
        overhead_ms=overhead,
        times_at=times_at,
    )
    left_out = fitted.left_out_ms
    errors = sessions.costs / left_out - 1
    if fitted.drift is not None and times_at is not None:
        errors = errors_at_other_moments(errors[0], fitted.drift, times_at)[None]
    steady = sessions.costs / fitted.left_out_level  # no drift: as they were timed
    record = _record(fitted, sessions, steady, left_out, errors)
    return FittedTable(fitted_rows(ops, counts, fitted), record, fitted)


def _priced(ops: list[OpSpec], counts: Floats, network_ms: Floats) -> Priced:
    """Return what makes the prior of operators that no table knows."""
    drivers = operator_drivers(ops)
    return lambda seen: driven_prior(drivers, counts[seen], network_ms[seen])


def transfer_table(
    source: CostTable, space: SearchSpace, networks: Genes, timings_ms: Floats
) -> FittedTable:
    """Carry a table to a sibling device or another engine version with a few networks.

    Args:
        source: the table.
        space: its space.
        networks: what was timed on the target, shape (n_networks, n_genes); about ten.
        timings_ms: shape (n_networks,) or (n_sessions, n_networks), as for `fit_table`.

    Raises:
        UsageError: fewer than five networks, shapes that do not fit, times not above 0, a source
            that holds something else than latencies.
        MissingCostError: `source` lacks an operator of the space.
    """
    sessions = Repeated.of(timings_ms, len(networks))
    ops = space.distinct_ops()
    counts = operator_counts(space, networks, ops)
    cost, std, overhead = costs_of(source, ops)
    moved: Transferred = transfer_costs(
        cost,
        counts,
        sessions.typical,
        kinds=[op.kind for op in ops],
        source_std=std,
        source_overhead_ms=overhead,
        similarity=similarity(operator_features(ops)),
    )
    times = sessions.costs
    errors = np.outer(sessions.levels, 1 + moved.scores) - 1
    record = _record(moved.fitted, sessions, times, moved.left_out_ms, errors)
    return FittedTable(fitted_rows(ops, counts, moved.fitted), record, moved.fitted, moved.ratio)


def costs_of(table: CostTable, ops: list[OpSpec]) -> tuple[Floats, Floats | None, float]:
    """Return latencies, their deviations if all are known, and the overhead.

    Raises:
        UsageError: the table holds something else than latencies.
        MissingCostError: it lacks one of the operators.
    """
    kind = table.passport.kind
    if kind != "latency":
        raise UsageError(
            f"{table.source} holds {kind} in {UNITS[kind]}; a table of latencies is needed"
        )
    rows = [table[op] for op in ops]
    stds = [row.std for row in rows]
    known = [std for std in stds if std is not None]
    fit = table.passport.fit
    return (
        np.array([row.cost for row in rows]),
        np.array(known) if len(known) == len(stds) else None,
        0.0 if fit is None else fit.overhead,
    )


def fitted_rows(ops: list[OpSpec], counts: Floats, fitted: Fitted) -> tuple[Row, ...]:
    """Return a row an operator; `n_visits` counts the networks that ran it."""
    seen = (counts > 0).sum(axis=0)
    return tuple(
        Row(op.key, float(cost), float(std), None, int(n))
        for op, cost, std, n in zip(ops, fitted.cost_ms, fitted.std_ms, seen, strict=True)
    )


def _record(
    fitted: Fitted, sessions: Repeated, steady_ms: Floats, left_out_ms: Floats, errors: Floats
) -> CalibrationRecord:
    """Describe the fit; `errors` are of networks left out, shape (n_sessions, n)."""
    network_ms, drifted = sessions.typical, fitted.drift is not None
    return CalibrationRecord(
        **sessions.record(fitted, steady_ms, left_out_ms, errors),
        latency_range_ms=(float(network_ms.min()), float(network_ms.max())),
        overhead_ms=fitted.overhead_ms,
        boundary_ms=0.0,
        boundary_in_ms_per_kib=0.0,
        boundary_out_ms_per_kib=0.0,
        autocorrelation=round(fitted.before.lag_1, 4) if drifted else None,
        autocorrelation_without_drift=round(fitted.after.lag_1, 4) if drifted else None,
    )
