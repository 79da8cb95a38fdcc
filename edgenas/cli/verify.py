"""``edgenas verify``: a bundle proven again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from edgenas.cli.options import DeviceId, Json, Quiet
from edgenas.cli.screen import Watch, say, show, show_json, show_table

if TYPE_CHECKING:
    from edgenas.study.verify import Verification

_WORDS = {True: ("passed", "green"), False: ("FAILED", "bold red"), None: ("told", "yellow")}


def verify(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A folder that 'edgenas export' made.")
    ],
    device: DeviceId = "local",
    visits: Annotated[int, typer.Option(min=1, help="Visits of the timing.")] = 30,
    spread: Annotated[float, typer.Option(min=0, help="Seconds over which to spread.")] = 20.0,
    processes: Annotated[
        int, typer.Option(min=1, help="Measuring processes that share the visits.")
    ] = 4,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove a bundle again: its files, its model's answers here and on a device, its latency.

    Budget, interval and earlier latency are judged on the device of the manifest; of another one
    the latency is told.
    """
    from dataclasses import replace

    from edgenas.study import api
    from edgenas.study.verify import PLAN

    plan = replace(PLAN, n_visits=visits, spread_s=spread, n_processes=processes)
    with Watch(quiet=quiet) as watch:
        result = api.verify(bundle, device=device, plan=plan, progress=watch.progress)
    if json:
        show_json(result.as_dict())
    else:
        _show(result)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _show(result: Verification) -> None:
    index = result.index
    title = f"{result.bundle}: {index.model}, {index.target}, {index.precision}"
    rows: list[list[str | Text]] = [
        [Text(*_WORDS[finding.passed]), finding.name, finding.asked, finding.found]
        for finding in result.findings
    ]
    show_table(title, ["", "check", "asked", "found"], rows, left=4)
    show()
    for finding in result.findings:
        if finding.passed is False:
            say(f"error: {finding.name}: {finding.found}; {finding.remedy}", style="bold red")
    if result.exit_code:
        return
    if result.was_run:
        show("the bundle is what was made, as far as it could be tried here", style="green")
    else:
        show(
            "the bundle holds what was made; its file was NOT run: neither this machine nor the "
            "device opens it",
            style="yellow",
        )
