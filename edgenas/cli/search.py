"""``edgenas search``: a job up to its front."""

from __future__ import annotations

from edgenas.cli.options import JobPath, Json, Out, Quiet
from edgenas.cli.results import show_front
from edgenas.cli.screen import Watch, show, show_json


def search(job: JobPath, out: Out, json: Json = False, quiet: Quiet = False) -> None:
    """Profile, train and search as a job says; print the front."""
    from edgenas.study import api

    with Watch(quiet=quiet) as watch:
        result = api.search(job, out, progress=watch.progress, on_step=watch.on_step)
    if json:
        show_json(result.as_dict())
        return
    show_front(result)
    show()
    show(f"now choose: edgenas pick {result.folder} --pick 'latency_ms<=2 @ 90%'")
