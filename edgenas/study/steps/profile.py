"""Step 1: a latency table for every runtime that the job needs, made or found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgenas.core.errors import CostError, MissingCostError, TableMismatchError
from edgenas.core.files import write_bytes
from edgenas.core.paths import search_path
from edgenas.costs.store import find_table, table_path, user_tables
from edgenas.costs.table import CostTable, passport_path
from edgenas.hardware.device import Device
from edgenas.profiling.profile import profile
from edgenas.profiling.progress import Progress
from edgenas.profiling.tabulate import engine_settings
from edgenas.runtimes import RUNTIMES
from edgenas.spaces.base import SearchSpace
from edgenas.study.chain import Step
from edgenas.study.context import Run


def existing_table(
    device: Device, runtime: str, space: SearchSpace, *, precision: str, shipped: bool = True
) -> CostTable | None:
    """Return the installed table that serves this device as it is now, None if there is none.

    Raises:
        TableError: there is one, and it is damaged; it is not silently replaced.
    """
    fingerprint = device.fingerprint
    try:
        table = find_table(
            space,
            slug=fingerprint.slug,
            match_key=fingerprint.match_key,
            runtime=runtime,
            precision=precision,
            runtime_version=RUNTIMES.get(runtime)().version(),
            shipped=shipped,
        )
    except (TableMismatchError, MissingCostError):
        return None
    except CostError:
        places = [
            table_path(
                folder,
                slug=fingerprint.slug,
                runtime=runtime,
                precision=precision,
                space=space.name,
            )
            for folder in (search_path("latency_tables") if shipped else (user_tables(),))
        ]
        if any(place.is_file() for place in places):
            raise
        return None
    return table if _same_settings(table, device, runtime) else None


def _same_settings(table: CostTable, device: Device, runtime: str) -> bool:
    """Return whether the device still runs the engine as it did when the table was made."""
    options, measured = engine_settings(device, runtime), table.passport.runtime
    return (options["threads"], options.get("delegate")) == (measured.threads, measured.delegate)


def _inputs(run: Run) -> dict[str, Any]:
    """The tables decide; how they were made stands in their passports."""
    return {
        "space": run.space.fingerprint,
        "device": run.device.fingerprint.match_key,
        "precision": run.job.device.precision,
        "tables": {name: _checksum(run, name) for name in run.runtimes},
    }


def _installed(run: Run, runtime: str) -> CostTable | None:
    """Return the table that the job lets the run use instead of profiling, if there is one."""
    return existing_table(
        run.device,
        runtime,
        run.space,
        precision=run.job.device.precision,
        shipped=run.job.profile.tables == "any",
    )


def _checksum(run: Run, runtime: str) -> str | None:
    """Return the checksum of the table to use; the run's own copy if no other is installed."""
    table = _installed(run, runtime)
    if table is None and run.table_path(runtime).is_file():
        try:
            table = run.table(runtime)
        except CostError:
            return None
        if table.passport.runtime.version != RUNTIMES.get(runtime)().version():
            return None
    return table.passport.checksum if table is not None else None


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    precision = run.job.device.precision
    outputs: list[Path] = []
    for runtime in run.runtimes:
        table = _installed(run, runtime)
        if table is None:
            table = profile(
                run.device,
                runtime,
                run.space,
                run.job.profile.to_settings(run.space),
                user_tables(),
                precision=precision,
                progress=progress,
            )
        source, copy = Path(table.source), run.table_path(runtime)
        write_bytes(copy, source.read_bytes())
        write_bytes(passport_path(copy), passport_path(source).read_bytes())
        outputs += [copy, passport_path(copy)]
    run.forget_tables()
    return outputs


def _summary(run: Run) -> str:
    parts = []
    for runtime in run.runtimes:
        calibration = run.models[runtime].table.passport.calibration
        held_out = calibration.held_out
        parts.append(
            f"{runtime}: {len(run.models[runtime].table.rows)} operators, error on "
            f"{held_out.n_networks} timings of unseen networks {held_out.mape:.1%} "
            f"(measured again: {calibration.noise_ceiling.mape:.1%})"
        )
    return "; ".join(parts)


PROFILE = Step(
    name="profile",
    needs=(),
    version=1,
    inputs=_inputs,
    make=_make,
    summary=_summary,
    check=lambda run: run.check_feasible(),
)
