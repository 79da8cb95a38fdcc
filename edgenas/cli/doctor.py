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
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what works here, what is missing and what brings it, and how noisy this machine is."""
    del quiet
    from edgenas.study.doctor import examine

    diagnosis = examine(device, noise=noise)
    if json:
        show_json(
            {
                "works": diagnosis.works,
                "device": diagnosis.device,
                "findings": [asdict(finding) for finding in diagnosis.findings],
            }
        )
    else:
        show(f"{diagnosis.version} on {diagnosis.device}", style="bold")
        rows: list[list[str | Text]] = [
            [
                Text(*_MARKS[finding.severity]),
                finding.name,
                finding.measured,
                finding.remedy,
            ]
            for finding in diagnosis.findings
        ]
        show_table("", ["", "what", "found", "remedy"], rows, left=4)
        show()
        if diagnosis.works:
            show("the whole chain works here: edgenas compile JOB.yaml --out DIR", style="green")
        else:
            show("the chain does not work here: see the warnings", style="bold red")
    raise typer.Exit(diagnosis.exit_code)
