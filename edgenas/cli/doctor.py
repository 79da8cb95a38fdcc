"""``edgenas doctor``: what works here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from edgenas.cli.options import DeviceId, Json, Quiet
from edgenas.cli.screen import show, show_json, show_table

_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "warning": ("warning", "bold red")}


def doctor(
    device: DeviceId = "local",
    noise: Annotated[
        bool, typer.Option("--noise/--no-noise", help="Time a network to see how noisy it is.")
    ] = True,
    restore: Annotated[
        bool,
        typer.Option(
            "--restore", help="First put back what a run that was cut off left changed there."
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what works, what is missing and what brings it, and how well a device can be measured."""
    from edgenas.study.doctor import examine
    from edgenas.study.doctor import restore as put_back

    undone = put_back(device) if restore else ()
    if restore and not (json or quiet):
        show(f"put back: {', '.join(undone) or 'nothing was left changed'}")
    diagnosis = examine(device, noise=noise)
    if json:
        show_json(
            {
                "works": diagnosis.works,
                "exit_code": diagnosis.exit_code,
                "restored": list(undone),
                "device": diagnosis.device,
                "findings": [asdict(observation) for observation in diagnosis.observations],
            }
        )
    else:
        show(f"{diagnosis.version} on {diagnosis.device}", style="bold")
        rows: list[list[str | Text]] = [
            [
                Text(*_MARKS[observation.severity]),
                observation.name,
                observation.measured,
                observation.remedy,
            ]
            for observation in diagnosis.observations
        ]
        show_table("", ["", "what", "found", "remedy"], rows, left=4)
        show()
        if diagnosis.works:
            show("the whole chain works here: edgenas compile JOB.yaml --out DIR", style="green")
        elif diagnosis.exit_code == 0:
            show("the device can be measured; the chain needs what the warnings name", style="bold")
        else:
            show("the chain does not work here: see the warnings", style="bold red")
    raise typer.Exit(diagnosis.exit_code)
