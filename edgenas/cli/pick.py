"""``edgenas pick``: one member of a run's front."""

from __future__ import annotations

from edgenas.cli.options import Json, Pick, Quiet, RunPath
from edgenas.cli.results import show_front, show_pick
from edgenas.cli.screen import Watch, show, show_json


def pick(run: RunPath, pick: Pick = None, json: Json = False, quiet: Quiet = False) -> None:
    """Choose from the front of a run; the run remembers the choice."""
    from edgenas.study import api

    with Watch(quiet=quiet) as watch:
        result = api.pick(run, pick, progress=watch.progress, on_step=watch.on_step)
    if json:
        show_json(result.as_dict())
        return
    show_front(result)
    show_pick(result)
    show()
    show(f"now write the files: edgenas export {result.folder}")
