"""``edgenas compile``: the whole chain."""

from __future__ import annotations

import typer

from edgenas.cli.options import (
    AcceptMismatch,
    JobPath,
    JobPrecision,
    Json,
    Out,
    Quiet,
    TableNames,
    accepted,
    tables_of,
)
from edgenas.cli.results import show_caveats, show_files, show_front, show_proof
from edgenas.cli.screen import Watch, say, show_json

BUDGET_BROKEN = 3


def compile_(
    job: JobPath,
    out: Out,
    precision: JobPrecision = None,
    table: TableNames = None,
    accept_mismatch: AcceptMismatch = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a job from its data set and device to model files, proof and report.

    Run the same command again to go on where it stopped; what is done and unchanged is skipped.
    """
    from edgenas.study.api import compile_job, with_precision, with_tables

    wanted = with_precision(job, precision)
    wanted = with_tables(wanted, tables_of(table), accepted(accept_mismatch))
    with Watch(quiet=quiet) as watch:
        result = compile_job(wanted, out, progress=watch.progress, on_step=watch.on_step)
    if json:
        show_json(result.as_dict())
    else:
        show_front(result)
        show_proof(result)
        show_caveats(result)
        show_files(result)
    if result.budget_kept is False:
        say("error: the budget is broken; see the proof", style="bold red")
        raise typer.Exit(BUDGET_BROKEN)
