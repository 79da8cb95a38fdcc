"""From the journal of a profiling run to a table with its passport and samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgenas.core.measurement import Measurement
from edgenas.core.version import __version__
from edgenas.costs.accuracy import error_report
from edgenas.costs.calibration import Calibration, calibrate
from edgenas.costs.conformal import with_sessions
from edgenas.costs.known import Known
from edgenas.costs.passport import (
    CalibrationRecord,
    DeviceIdentity,
    DriftRecord,
    EnvironmentRecord,
    Passport,
    PlanRecord,
    RuntimeIdentity,
    SpaceIdentity,
    StateRecord,
    ThrottlePause,
)
from edgenas.costs.samples import SampledVisit
from edgenas.costs.samples import write_samples as write
from edgenas.costs.table import CostTable, Row, samples_path
from edgenas.hardware.device import Device
from edgenas.hardware.fingerprint import Fingerprint
from edgenas.profiling.sessions import Sessions, Steadied, least_runs, without_drift
from edgenas.profiling.workload import ANCHOR, ProfileSettings, Workload
from edgenas.runtimes.base import RUNTIMES
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]
_BETTER = 0.95  # times the spread of what was left out, for the drift to be removed
_SLOW = 1.10  # an anchor visit this far above the fastest one was in a slow state


class Record(Protocol):
    """What `tabulate` reads of a finished journal."""

    head: dict[str, Any]
    identity: dict[str, Any]
    visits: dict[int, dict[str, Any]]
    pauses: list[dict[str, Any]]
    states: list[dict[str, Any]]
    duration_s: float


def engine_settings(device: Device, runtime: str) -> dict[str, Any]:
    """Return the settings of `runtime` on `device` by name: threads, affinity, delegate, ..."""
    return RUNTIMES.get(runtime)().settings(device.description).model_dump(mode="json")


def decisive_settings(device: Device, runtime: str) -> dict[str, Any]:
    """Return the settings that decide times and have no place of their own in a passport.

    Where another processor than the CPU computes, which one it is stands among them: the same
    board can be had with several.
    """
    settings = RUNTIMES.get(runtime)().settings(device.description)
    found = settings.decisive
    if settings.on_gpu:
        there = device.fingerprint
        found["accelerators"] = list(there.gpus) or [there.board or there.cpu_name]
    return found


def measurements(record: Record) -> dict[str, Measurement]:
    """Return the samples of every artefact in the order of its visits."""
    samples: dict[str, list[list[float]]] = {}
    for k in sorted(record.visits):
        visit = record.visits[k]
        samples.setdefault(visit["key"], []).append(visit["ms"])
    return {key: Measurement(key, np.array(rows)) for key, rows in samples.items()}


def tabulate(
    workload: Workload,
    record: Record,
    device: Device,
    fingerprint: Fingerprint,
    settings: ProfileSettings,
) -> CostTable:
    """Fit operator costs to the networks and describe how good the result is."""
    measured = measurements(record)
    retimed = {key: measured[f"op:{key}"].latency_ms for key in workload.known.retimed}
    known = workload.known.at_level(retimed)
    alone = _alone(workload, known, measured)
    isolated = np.array([isolated_ms for isolated_ms, _ in alone])
    counts = workload.counts()
    pools: list[list[str]] = record.head["pools"]
    times_ms = {key: one.latency_ms for key, one in measured.items()}
    sessions = least_runs(workload, pools, times_ms, settings)
    fitted = calibrate(workload.ops, isolated, counts, sessions.network_ms(len(counts)))
    steadied, removed = without_drift(workload, pools, record.visits, settings), False
    if steadied is not None:
        other = calibrate(workload.ops, isolated, counts, steadied.sessions.network_ms(len(counts)))
        # Drift is removed where that makes networks that were left out agree better.
        removed = float(np.std(other.scores)) < _BETTER * float(np.std(fitted.scores))
        if removed:
            sessions, fitted = steadied.sessions, other
    network_ms = sessions.network_ms(len(counts))
    passport = Passport(
        **made_of(workload.space, device, fingerprint, record),
        provenance="measured",
        plan=_plan(settings, n_pools=len(pools), sessions=sessions),
        drift=_drift(measured[ANCHOR], steadied, removed=removed),
        calibration=_calibration_record(fitted, sessions, network_ms, counts @ isolated),
        parents=list(known.parents),
        checksum="",
    )
    return CostTable(_rows(workload, alone, fitted), passport)


def made_of(
    space: SearchSpace, device: Device, fingerprint: Fingerprint, record: Record
) -> dict[str, Any]:
    """Return what every passport of a finished journal says of itself, by its keys."""
    options = engine_settings(device, record.identity["runtime"])
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "tool_version": __version__,
        "space": SpaceIdentity(
            name=space.name, fingerprint=space.fingerprint, parameters=space.parameters
        ),
        "device": DeviceIdentity(
            slug=fingerprint.slug,
            match_key=fingerprint.match_key,
            fingerprint=asdict(fingerprint),
        ),
        "runtime": RuntimeIdentity(
            name=record.identity["runtime"],
            version=record.head["engine"]["version"],
            delegate=options.get("delegate"),
            precision=record.identity["precision"],
            threads=options["threads"],
            affinity=record.head["engine"]["affinity"],
            settings=decisive_settings(device, record.identity["runtime"]),
        ),
        "duration_s": record.duration_s,
        "environment": _environment(record),
    }


def _plan(settings: ProfileSettings, *, n_pools: int, sessions: Sessions) -> PlanRecord:
    """Return the plan as it was carried out; how many networks there were, the calibration says."""
    planned = {name: n for name, n in settings.as_dict().items() if name != "n_networks"}
    done = {"n_pools": n_pools, "n_sessions": len(sessions.shared_ms)}
    return PlanRecord.model_validate(planned | done | {"n_session_networks": len(sessions.rows)})


def _alone(
    workload: Workload, known: Known, measured: dict[str, Measurement]
) -> list[tuple[float, int]]:
    """Return every operator's time alone, ms, and its visits: measured, or known from before."""
    found = []
    for op, key in zip(workload.ops, workload.op_keys, strict=True):
        row = known.rows.get(op.key)
        if row is not None and row.isolated is not None:
            found.append((row.isolated, row.n_visits))
        else:
            found.append((measured[key].latency_ms, len(measured[key].samples_ms)))
    return found


def _rows(workload: Workload, alone: list[tuple[float, int]], fitted: Calibration) -> Iterator[Row]:
    for op, (isolated_ms, n_visits), cost, std in zip(
        workload.ops, alone, fitted.cost_ms, fitted.std_ms, strict=True
    ):
        yield Row(op.key, float(cost), float(std), isolated_ms, n_visits)


def _drift(anchor: Measurement, steadied: Steadied | None, *, removed: bool) -> DriftRecord:
    visits = np.median(anchor.samples_ms, axis=1)
    return DriftRecord(
        n_anchor_visits=len(visits),
        anchor_min_ms=round(float(visits.min()), 6),
        anchor_median_ms=round(float(np.median(visits)), 6),
        anchor_max_ms=round(float(visits.max()), 6),
        slow_share=round(float((visits > _SLOW * visits.min()).mean()), 6),
        autocorrelation=None if steadied is None else round(steadied.before.lag_1, 4),
        autocorrelation_without_drift=None if steadied is None else round(steadied.after.lag_1, 4),
        removed=removed,
    )


def _environment(record: Record) -> EnvironmentRecord | None:
    if not record.states:
        return None
    return EnvironmentRecord(
        start=StateRecord.model_validate(record.states[0]),
        end=StateRecord.model_validate(record.states[-1]),
        throttle_pauses=[ThrottlePause.model_validate(pause) for pause in record.pauses],
    )


def _calibration_record(
    fitted: Calibration, sessions: Sessions, network_ms: Floats, naive_ms: Floats
) -> CalibrationRecord:
    """Describe the fit; errors and scores are of networks that it did not see."""
    parts = fitted.hyperparameters
    again_ms, n_sessions = sessions.shared_ms, len(sessions.shared_ms)
    left_out = fitted.left_out_ms[sessions.rows]
    naive = naive_ms[sessions.rows]
    inside = sessions.errors(fitted.left_out_ms)
    return CalibrationRecord(
        n_networks=len(network_ms),
        latency_range_ms=(float(network_ms.min()), float(network_ms.max())),
        overhead_ms=fitted.overhead_ms,
        boundary_ms=fitted.boundary[0],
        boundary_in_ms_per_kib=fitted.boundary[1],
        boundary_out_ms_per_kib=fitted.boundary[2],
        hyperparameters={
            "common": parts.common,
            "similar": parts.similar,
            "own": parts.own,
            "noise": parts.noise,
        },
        n_floored=fitted.n_floored,
        session_ratios=[round(float(level), 6) for level in sessions.levels],
        scores=with_sessions(inside, sessions.levels).round(6).tolist(),
        held_out=error_report(again_ms.ravel(), np.tile(left_out, n_sessions)),
        naive_sum=error_report(again_ms.ravel(), np.tile(naive, n_sessions)),
        noise_ceiling=error_report(again_ms[1:].ravel(), again_ms[:-1].ravel()),
    )


def write_samples(path: Path, record: Record) -> None:
    """Write every timed run beside the table at `path`: visit, seconds since the start, key, ms."""
    visits = (
        SampledVisit(k, visit["at_s"], visit["key"], tuple(visit["ms"]))
        for k, visit in sorted(record.visits.items())
    )
    write(samples_path(path), "latency", visits)
