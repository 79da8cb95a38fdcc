"""``edgenas tables merge``, ``import`` and ``fit``: tables made without measuring operators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgenas.cli.options import Json, Settings, space_of, text_of
from edgenas.cli.passports import show_passport
from edgenas.cli.screen import show, show_json, show_json_line
from edgenas.core.precision import Precision

if TYPE_CHECKING:
    from edgenas.costs.importers import Imported
    from edgenas.costs.table import CostTable

Target = Annotated[
    Path | None, typer.Option("--out", "-o", help="The CSV file; default: among your tables.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]
PrecisionOf = Annotated[Precision, typer.Option("--precision", help="Of the networks.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="On how many threads.")]
Delegate = Annotated[str | None, typer.Option("--delegate", help="With which delegate.")]
Next = Annotated[
    int | None, typer.Option("--next", min=1, help="Then say which so many networks to time next.")
]
NextBy = Annotated[
    Literal["variance", "reduction"],
    typer.Option(help="Those that the fit is least sure of, or that make it surest of all others."),
]
Pool = Annotated[
    int, typer.Option("--pool", min=1, help="How many random networks they are chosen from.")
]
NextOut = Annotated[
    Path | None, typer.Option("--next-out", help="The file of JSON lines that they are written to.")
]


def merge(
    tables: Annotated[list[str], typer.Argument(metavar="TABLE TABLE...", help="Two or more.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The CSV file to write.")],
    prefer: Annotated[
        Literal["newest"] | None, typer.Option(help="Whose row stays where tables disagree.")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="What the result is to serve; default: the first's space.")
    ] = None,
    changes: Settings = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make one table of several of the same device and engine."""
    from edgenas.costs.merge import merge as join
    from edgenas.costs.store import locate
    from edgenas.costs.table import CostTable

    wanted = space_of(space, changes) if space else None
    parents = [CostTable.load(locate(name)) for name in tables]
    merged = join(parents, space=wanted, prefer=prefer)
    _save(merged, out, force=force)
    _show_made(merged, json=json)


def import_(
    format_: Annotated[
        str, typer.Argument(metavar="FORMAT", help="ofa, proxylessnas, nsganetv2 or csv.")
    ],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The published files.")],
    space: Annotated[str, typer.Option("--space", help="Whose operators are wanted.")],
    device_name: Annotated[str, typer.Option("--device-name", help="What was measured.")],
    changes: Settings = None,
    runtime: Annotated[str, typer.Option(help="What ran it, if the source tells.")] = "unknown",
    runtime_version: Annotated[str, typer.Option(help="Its version.")] = "unknown",
    precision: PrecisionOf = "float32",
    threads: Threads = None,
    delegate: Delegate = None,
    note: Annotated[str, typer.Option(help="Source and licence, in words.")] = "",
    columns: Annotated[
        Path | None, typer.Option(help="For csv: the YAML file that says what the columns are.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out what does not fit, and say what that is.")
    ] = False,
    duplicates: Annotated[
        Literal["refuse", "mean"], typer.Option(help="What several files give one operator.")
    ] = "refuse",
    out: Target = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make a table of costs that others published."""
    from edgenas.costs import importers

    result = importers.import_table(
        importers.importer_of(format_, columns),
        files,
        space_of(space, changes),
        importers.Published(
            device_name, runtime, runtime_version, precision, threads, delegate, note
        ),
        partial=partial,
        duplicates=duplicates,
    )
    _save(result.table, out, force=force)
    _show_imported(result, json=json)


def fit(
    timings: Annotated[Path, typer.Argument(metavar="TIMINGS", help="JSON lines; '-': stdin.")],
    space: Annotated[str, typer.Option("--space", help="The networks' space.")],
    changes: Settings = None,
    device: Annotated[
        str | None, typer.Option("--device", help="The device, where it can be reached.")
    ] = None,
    device_name: Annotated[
        str | None, typer.Option("--device-name", help="What it is called, where it cannot.")
    ] = None,
    runtime: Annotated[str, typer.Option(help="What ran the networks.")] = "onnxruntime",
    runtime_version: Annotated[str | None, typer.Option(help="Its version.")] = None,
    precision: PrecisionOf = "float32",
    threads: Threads = None,
    delegate: Delegate = None,
    prior: Annotated[
        str | None, typer.Option(help="A table that is believed until networks say otherwise.")
    ] = None,
    transfer: Annotated[
        bool, typer.Option("--transfer", help="Carry --prior over with a few networks.")
    ] = False,
    next_: Next = None,
    next_by: NextBy = "variance",
    pool: Pool = 1000,
    next_out: NextOut = None,
    out: Target = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make a table from the times of whole networks, and say which ones to time next."""
    from edgenas.core.errors import UsageError
    from edgenas.costs.store import load_kind, locate
    from edgenas.hardware.device import load_device
    from edgenas.study import fitting

    if (device is None) == (device_name is None):
        raise UsageError("name either --device, which can be asked, or --device-name")
    _check_next(next_, next_out, force=force)
    wanted = space_of(space, changes)
    timed = fitting.read_timings(text_of(timings), wanted)
    identity = fitting.identity_of(
        load_device(device) if device is not None else device_name or "",
        runtime,
        version=runtime_version,
        precision=precision,
        threads=threads,
        delegate=delegate,
    )
    believed = load_kind(locate(prior), "latency") if prior else None
    found = fitting.fit_timings(wanted, timed, prior=believed, transfer=transfer)
    chosen = None
    if next_ is not None:
        rows = fitting.networks_to_time(wanted, timed, found, next_, by=next_by, n_pool=pool)
        chosen = fitting.entries_of(wanted, rows)
    table = fitting.table_of(wanted, found, identity, prior=believed)
    _save(table, out, force=force)
    _show_fitted(table, chosen, next_out, json=json)


def _check_next(n: int | None, out: Path | None, *, force: bool) -> None:
    from edgenas.core.errors import UsageError

    if out is not None and n is None:
        raise UsageError("--next-out is where the networks of --next N go; give --next, too")
    if out is not None and out.exists() and not force:
        raise UsageError(f"{out} is there already; --force replaces it")


def _show_fitted(
    table: CostTable, chosen: list[dict[str, Any]] | None, out: Path | None, *, json: bool
) -> None:
    """Show a fitted table and the networks to time next; write those to `out` if it is given."""
    from json import dumps

    from edgenas.core.files import write_text

    if chosen is not None and out is not None:
        write_text(out, "".join(f"{dumps(entry)}\n" for entry in chosen))
    if json:
        show_json(_made(table) | ({} if chosen is None else {"next": chosen}))
        return
    _show_made(table, json=False)
    fit = table.passport.calibration
    before = None if fit is None else fit.autocorrelation
    after = None if fit is None else fit.autocorrelation_without_drift
    if before is not None and after is not None:
        show(
            f"errors of networks timed one after the other correlate by {before:.2f}, and by "
            f"{after:.2f} with the machine's drift taken out"
        )
    if chosen is None:
        return
    show()
    show(f"{len(chosen)} networks to time next{':' if out is None else f': {out}'}")
    for entry in chosen if out is None else []:
        show_json_line(entry)


def _save(table: CostTable, out: Path | None, *, force: bool) -> None:
    """Save a table at `out`, by default among the user's own.

    Raises:
        UsageError: the name is no table's, or something is there already.
    """
    from edgenas.core.errors import UsageError
    from edgenas.costs.store import table_path, user_tables

    own = table.passport
    path = out or table_path(
        user_tables(),
        slug=own.device.slug,
        runtime=own.runtime.name,
        precision=own.runtime.precision,
        space=own.space.name,
        kind=own.kind,
    )
    if path.suffix != ".csv":
        raise UsageError(f"{path}: a table's name ends in .csv")
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; --force replaces it")
    table.save(path)
    table.source = str(path)


def _made(table: CostTable) -> dict[str, Any]:
    return {"table": table.source, "passport": table.passport.model_dump(mode="json")}


def _show_made(table: CostTable, *, json: bool) -> None:
    if json:
        show_json(_made(table))
        return
    show_passport(table)
    show()
    show(table.source)


def _show_imported(result: Imported, *, json: bool) -> None:
    if json:
        show_json(
            {
                **_made(result.table),
                "unused": [{"file": e.file, "key": e.key} for e in result.unused],
                "missing": [op.key for op in result.missing],
            }
        )
        return
    for what, keys in (
        ("entries are of no operator of the space", [entry.key for entry in result.unused]),
        ("operators have no entry, the table refuses them", [op.key for op in result.missing]),
    ):
        if keys:
            show(f"{len(keys)} {what}:", style="yellow")
            for key in keys:
                show(f"  {key}")
    _show_made(result.table, json=False)
