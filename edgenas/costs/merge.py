"""Several tables of one device and engine made one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from edgenas import spaces
from edgenas.core.errors import MissingCostError, TableError, TableMismatchError
from edgenas.core.version import __version__
from edgenas.costs.passport import (
    CalibrationRecord,
    ErrorReport,
    FitRecord,
    NetworkFitRecord,
    ParentRecord,
    Passport,
    SpaceIdentity,
)
from edgenas.costs.rows import Row
from edgenas.costs.table import CostTable
from edgenas.spaces.base import SearchSpace

Prefer = Literal["newest"]

_SAME = 1e-5  # relative: rows are written with six digits


def merge(
    tables: Sequence[CostTable], *, space: SearchSpace | None = None, prefer: Prefer | None = None
) -> CostTable:
    """Return one table with the rows of all.

    Where a parent is of the wanted space and all its rows are kept, its calibration holds on;
    otherwise no network of the space was timed with these rows, so the calibrations are pooled
    and predictions say that they are interpolated.

    Args:
        tables: two or more of the same kind, device, runtime, version, threads, delegate and
            precision.
        space: what the result is to serve; default: the first table's.
        prefer: which row stays where tables disagree; None refuses.

    Raises:
        TableMismatchError: they are not of the same device and engine.
        TableError: two tables disagree about a row; fewer than two tables.
        MissingCostError: together they still lack an operator of the space.
    """
    if len(tables) < 2:
        raise TableError("merging takes two tables or more")
    for other in tables[1:]:
        _check_same(tables[0], other)
    wanted = space or spaces.from_parameters(tables[0].passport.space.parameters)
    chosen = _chosen_rows(tables, prefer)
    rows = [row for row, _ in chosen.values()]
    identity = SpaceIdentity(
        name=wanted.name, fingerprint=wanted.fingerprint, parameters=wanted.parameters
    )
    own = tables[0].passport
    fit = _fit(tables, chosen, wanted)
    passport = Passport(
        kind=own.kind,
        unit=own.unit,
        provenance="modelled" if _any_modelled(tables) else "merged",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool_version=__version__,
        space=identity,
        device=own.device,
        runtime=own.runtime,
        calibration=fit if isinstance(fit, CalibrationRecord) else None,
        network_fit=fit if isinstance(fit, NetworkFitRecord) else None,
        parents=[
            parent_record(table, sum(owner is table for _, owner in chosen.values()))
            for table in tables
        ],
        checksum="",
    )
    merged = CostTable(rows, passport, source="the merged table")
    missing = merged.missing(wanted)
    if missing:
        command = own.command(" --missing", wanted.command_options)
        raise MissingCostError(
            f"together the tables still lack {len(missing)} operators of {wanted.name}, "
            f"{missing[0].key} among them; measure them with '{command}', or name another "
            "space that the result is to serve"
        )
    return merged


def _any_modelled(tables: Sequence[CostTable]) -> bool:
    """Return whether some of the costs were never measured; whoever uses the result is told."""
    return any(table.passport.provenance == "modelled" for table in tables)


def parent_record(table: CostTable, n_rows: int) -> ParentRecord:
    """Return the record of a table that `n_rows` rows were taken from."""
    own = table.passport
    return ParentRecord(
        checksum=own.checksum,
        provenance=own.provenance,
        created=own.created,
        space=own.space.name,
        n_rows=n_rows,
    )


def _check_same(first: CostTable, other: CostTable) -> None:
    a, b = first.passport, other.passport
    facts = [
        ("kind", a.kind, b.kind),
        ("device", a.device.match_key, b.device.match_key),
        *(
            (name, getattr(a.runtime, name), getattr(b.runtime, name))
            for name in ("name", "version", "precision", "threads", "delegate", "settings")
        ),
    ]
    wrong = [f"{what} is {x} and {y}" for what, x, y in facts if x != y]
    wrong += [
        f"{table.source} is published and was never held against networks"
        for table in (first, other)
        if table.passport.fit is None
    ]
    if wrong:
        raise TableMismatchError(
            f"{first.source} and {other.source} are not of the same device and engine: "
            f"{'; '.join(wrong)}; their costs do not belong in one table"
        )


def _chosen_rows(
    tables: Sequence[CostTable], prefer: Prefer | None
) -> dict[str, tuple[Row, CostTable]]:
    """Return every operator's row and the table that it is from, in the tables' order."""
    chosen: dict[str, tuple[Row, CostTable]] = {}
    for table in tables:
        for key, row in table.rows.items():
            if key not in chosen:
                chosen[key] = (row, table)
                continue
            there, owner = chosen[key]
            if _equal(there, row):
                continue
            if prefer is None:
                raise TableError(
                    f"{owner.source} and {table.source} disagree about {key}: {there.cost:.6g} "
                    f"and {row.cost:.6g} {table.passport.unit}; '--prefer newest' takes the row "
                    "of the table that was made last"
                )
            if datetime.fromisoformat(table.passport.created) > datetime.fromisoformat(
                owner.passport.created
            ):
                chosen[key] = (row, table)
    return chosen


def _equal(a: Row, b: Row) -> bool:
    return bool(np.isclose(a.cost, b.cost, rtol=_SAME, atol=0))


def _fit(
    tables: Sequence[CostTable], chosen: dict[str, tuple[Row, CostTable]], space: SearchSpace
) -> FitRecord:
    """Return the calibration of the parent that the result repeats, or all of them pooled."""
    keys = [op.key for op in space.distinct_ops() if op.key in chosen]
    for table in tables:
        fit = table.passport.fit
        if fit is None or table.passport.space.fingerprint != space.fingerprint:
            continue
        if all(key in table.rows and _equal(chosen[key][0], table.rows[key]) for key in keys):
            return fit
    weights = [sum(chosen[key][1] is table for key in keys) for table in tables]
    fits = [table.passport.fit for table in tables]
    used = [(fit, n) for fit, n in zip(fits, weights, strict=True) if fit is not None and n]
    return _pooled([fit for fit, _ in used], [n for _, n in used], tables)


def _pooled(
    fits: Sequence[FitRecord], weights: Sequence[int], tables: Sequence[CostTable]
) -> FitRecord:
    """Return fits as one: overheads by the rows used, errors of all, scores of all together.

    The tables divided the networks' time between overhead and operators each in its own way; how
    far the overheads differ from the pooled one, relative to a middling network, widens the scores.
    """
    share = np.array(weights) / sum(weights)
    overhead = float(share @ [fit.overhead for fit in fits])
    low = max(fit.value_range[0] for fit in fits)
    high = min(fit.value_range[1] for fit in fits)
    if low >= high:  # ranges that do not meet: the whole extent, since networks mix their rows
        low = min(fit.value_range[0] for fit in fits)
        high = max(fit.value_range[1] for fit in fits)
    scores = np.sort(np.concatenate([_widened(fit, overhead) for fit in fits]))
    ratios = [ratio for fit in fits for ratio in fit.session_ratios or []]
    spaces_of = dict.fromkeys(table.passport.space.name for table in tables)
    values = {
        "n_networks": sum(fit.n_networks for fit in fits),
        "space": " and ".join(spaces_of),
        "hyperparameters": {},
        "n_floored": sum(fit.n_floored for fit in fits),
        "session_ratios": ratios or None,
        "scores": scores.round(6).tolist(),
        "held_out": _worst([fit.held_out for fit in fits]),
        "naive_sum": _worst([fit.naive_sum for fit in fits]),
        "noise_ceiling": _worst([fit.noise_ceiling for fit in fits]),
    }
    if isinstance(fits[0], NetworkFitRecord):
        return NetworkFitRecord(cost_range=(low, high), overhead_cost=overhead, **values)
    return CalibrationRecord(
        latency_range_ms=(low, high),
        overhead_ms=overhead,
        boundary_ms=0.0,
        boundary_in_ms_per_kib=0.0,
        boundary_out_ms_per_kib=0.0,
        **values,
    )


def _widened(fit: FitRecord, overhead: float) -> np.ndarray:
    scores = np.array(fit.scores)
    middle = float(np.sqrt(fit.value_range[0] * fit.value_range[1]))
    shift = abs(overhead - fit.overhead) / middle
    center = float(np.median(scores))
    return scores + np.sign(scores - center) * shift


def _worst(reports: Sequence[ErrorReport | None]) -> ErrorReport | None:
    """Return the report with the largest error; None if one is missing."""
    known = [report for report in reports if report is not None]
    return max(known, key=lambda report: report.mape) if len(known) == len(reports) else None
