"""``edgenas search``: a job up to its front."""

from __future__ import annotations

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
from edgenas.cli.results import show_caveats, show_front
from edgenas.cli.screen import Watch, show, show_json


def search(
    job: JobPath,
    out: Out,
    precision: JobPrecision = None,
    table: TableNames = None,
    accept_mismatch: AcceptMismatch = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Profile, train and search as a job says; print the front."""
    from edgenas.study import api

    wanted = api.with_precision(job, precision)
    wanted = api.with_tables(wanted, tables_of(table), accepted(accept_mismatch))
    with Watch(quiet=quiet) as watch:
        result = api.search(wanted, out, progress=watch.progress, on_step=watch.on_step)
    if json:
        show_json(result.as_dict())
        return
    show_front(result)
    show_caveats(result)
    show()
    show(f"now choose: edgenas pick {result.folder} --pick 'latency_ms<=2 @ 90%'")
