"""``edgenas report``: a run's page."""

from __future__ import annotations

from edgenas.cli.options import Json, Quiet, RunPath
from edgenas.cli.screen import Watch, show, show_json


def report(run: RunPath, json: Json = False, quiet: Quiet = False) -> None:
    """Write report.html of a run, doing first what the run lacks."""
    from edgenas.study import api

    with Watch(quiet=quiet) as watch:
        result = api.report(run, progress=watch.progress, on_step=watch.on_step)
    if json:
        show_json({"folder": str(result.folder), "report": str(result.report)})
    else:
        show(str(result.report))
