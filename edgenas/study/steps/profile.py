"""Step 1: every table that the job needs, made or found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgenas.core.errors import (
    CostError,
    MissingCostError,
    NoTableError,
    TableMismatchError,
)
from edgenas.core.files import write_bytes, write_text
from edgenas.core.schema import dump_yaml
from edgenas.costs.kinds import Kind
from edgenas.costs.known import NOTHING_KNOWN, Known, known_rows
from edgenas.costs.store import find_table, user_tables
from edgenas.costs.table import CostTable, passport_path
from edgenas.hardware.device import Device
from edgenas.profiling.conditions import conditions_of
from edgenas.profiling.networks import profile_networks
from edgenas.profiling.profile import profile
from edgenas.profiling.progress import Progress
from edgenas.profiling.retrying import N_RETRIES
from edgenas.spaces.base import SearchSpace
from edgenas.study.chain import Step
from edgenas.study.context import Run
from edgenas.study.other_devices import RECORD, copy_path, other_table
from edgenas.study.table_names import TableName


def existing_table(  # noqa: PLR0913
    device: Device,
    runtime: str,
    space: SearchSpace,
    *,
    precision: str,
    shipped: bool = True,
    kind: Kind = "latency",
) -> CostTable | None:
    """Return the installed table that serves this device as it is now, None if there is none.

    Raises:
        TableError: there is one, and it is damaged; it is not silently replaced.
    """
    asked = conditions_of(device, runtime, precision=precision)
    try:
        return find_table(space, asked, slug=device.fingerprint.slug, shipped=shipped, kind=kind)
    except (NoTableError, TableMismatchError, MissingCostError):
        return None


def _inputs(run: Run) -> dict[str, Any]:
    """The tables decide; how they were made stands in their passports."""
    also = {
        label: {"named": name, "checksum": _other(run, label).passport.checksum}
        for label, name in run.job.device.also.items()
    }
    return {
        "space": run.space.fingerprint,
        "device": run.device.fingerprint.match_key,
        "precision": run.job.device.precision,
        "tables": {str(name): _checksum(run, name) for name in run.needed_tables},
        "accept_mismatch": sorted(run.job.device.accept_mismatch),
        **({"also": also} if also else {}),
    }


def _other(run: Run, label: str) -> CostTable:
    """Return the table of another device."""
    return other_table(run.folder, label, run.job.device.also[label])


def _ready(run: Run, name: TableName) -> CostTable | None:
    """Return the table that the job names or lets the run use instead of profiling, if any."""
    if str(name) in run.job.device.tables:
        return run.given_table(name)
    return existing_table(
        run.device,
        name.runtime,
        run.space,
        precision=run.job.device.precision,
        shipped=run.job.profile.tables == "any",
        kind=name.kind,
    )


def _usable(run: Run, name: TableName) -> CostTable | None:
    """Return the table to use; the run's own copy if no other is installed."""
    table = _ready(run, name)
    if table is None and run.table_path(name.runtime, name.kind).is_file():
        try:
            table = run.table(name)
        except CostError:
            return None
    return table


def _checksum(run: Run, name: TableName) -> str | None:
    table = _usable(run, name)
    return table.passport.checksum if table is not None else None


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    found = {name: _usable(run, name) for name in run.needed_tables}
    for name, table in found.items():
        if table is None and name.kind == "latency":
            found[name] = profile(
                run.device,
                name.runtime,
                run.space,
                run.job.profile.to_settings(run.space),
                user_tables(),
                precision=run.job.device.precision,
                known=_known(run, name.runtime),
                n_retries=N_RETRIES,
                progress=progress,
            )
    missing = [name.kind for name, table in found.items() if table is None]
    own = run.job.device.runtime
    made = profile_networks(
        run.device,
        own,
        run.space,
        missing,
        user_tables(),
        settings=run.job.profile.networks.to_settings(),
        precision=run.job.device.precision,
        latency=found[TableName(own)],
        n_retries=N_RETRIES,
        progress=progress,
    )
    tables = {name: table or made[name.kind] for name, table in found.items()}
    copies = {run.table_path(name.runtime, name.kind): table for name, table in tables.items()}
    copies |= {copy_path(run.folder, label): _other(run, label) for label in run.job.device.also}
    outputs = [path for copy, table in copies.items() for path in _keep(table, copy)]
    run.forget_tables()
    return outputs


def _known(run: Run, runtime: str) -> Known:
    """Return what the job takes from tables of other spaces in place of timing it."""
    if not run.job.profile.missing:
        return NOTHING_KNOWN
    asked = conditions_of(run.device, runtime, precision=run.job.device.precision)
    shipped = run.job.profile.tables == "any"
    return known_rows(run.space, asked, slug=run.device.fingerprint.slug, shipped=shipped)


def _keep(table: CostTable, copy: Path) -> list[Path]:
    """Keep a table in the run; return its files."""
    write_bytes(copy, Path(table.source).read_bytes())
    # Not the file's: a table that was cut off between its rows and their passport still loads.
    write_text(passport_path(copy), dump_yaml(table.passport.model_dump(mode="json")))
    return [copy, passport_path(copy)]


def _summary(run: Run) -> str:
    parts = []
    for name, model in run.all_models.items():
        fit = model.table.passport.fit
        text = f"{name}: {len(model.table.rows)} operators"
        if fit is not None:
            held_out, ceiling = fit.held_out, fit.noise_ceiling
            text += (
                f", error on {held_out.n_networks} measurements of unseen "
                f"networks {held_out.mape:.1%}"
            )
            text += "" if ceiling is None else f" (measured again: {ceiling.mape:.1%})"
        parts.append("; ".join([text, *model.caveats]))
    return "; ".join(parts)


PROFILE = Step(
    name=RECORD,
    needs=(),
    version=1,
    inputs=_inputs,
    make=_make,
    summary=_summary,
    check=lambda run: run.check_feasible(),
)
