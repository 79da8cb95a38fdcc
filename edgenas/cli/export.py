"""``edgenas export``: a run's pick as model files, checked, timed and bundled."""

from __future__ import annotations

import typer

from edgenas.cli.compile import BUDGET_BROKEN
from edgenas.cli.options import Json, Pick, Quiet, RunPath
from edgenas.cli.results import show_files, show_pick, show_proof
from edgenas.cli.screen import Watch, say, show_json


def export(run: RunPath, pick: Pick = None, json: Json = False, quiet: Quiet = False) -> None:
    """Fine-tune the pick of a run, write its files, check, time and bundle them."""
    from edgenas.study import api

    with Watch(quiet=quiet) as watch:
        result = api.export(run, pick, progress=watch.progress, on_step=watch.on_step)
    if json:
        show_json(result.as_dict())
    else:
        show_pick(result)
        show_proof(result)
        show_files(result)
    if result.budget_kept is False:
        say("error: the budget is broken; see the proof", style="bold red")
        raise typer.Exit(BUDGET_BROKEN)
