"""``edgenas predict``: architectures in as JSON lines, their costs out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgenas.cli.options import (
    AcceptMismatch,
    DeviceId,
    KindName,
    Precision,
    RuntimeName,
    Settings,
    SpaceName,
    TableName,
    accepted,
    space_of,
    text_of,
)
from edgenas.cli.screen import show_json_line


def predict(
    space: SpaceName,
    source: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="JSON lines; '-' is standard input.")
    ] = Path("-"),
    runtime: RuntimeName = "onnxruntime",
    device: DeviceId = "local",
    precision: Precision = "float32",
    changes: Settings = None,
    kind: KindName = "latency",
    table: TableName = None,
    accept_mismatch: AcceptMismatch = None,
    coverage: Annotated[float, typer.Option(help="Probability of the intervals.")] = 0.9,
    run: Annotated[
        Path | None, typer.Option("--run", help="A run whose architectures may be named by id.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The output is JSON lines anyway.")] = False,
) -> None:
    """Predict latencies of architectures, or other costs.

    A line is an object with 'genes' (option indices), 'config' (options by gene), 'id' (with
    --run), or the options by gene themselves, as 'edgenas spaces sample' prints them.
    """
    del json
    from edgenas.costs.kinds import UNITS, column_of, kind_named
    from edgenas.study import api
    from edgenas.study.architecture_lines import read_lines

    wanted, of = space_of(space, changes), kind_named(kind)
    unit = UNITS[of].lower()
    rows = read_lines(text_of(source), wanted, run=run)
    predictions = api.predict(
        wanted,
        rows,
        runtime=runtime,
        device=device,
        precision=precision,
        table=table,
        kind=of,
        accept=accepted(accept_mismatch),
        coverage=coverage,
    )
    for arch, prediction in zip(wanted.architectures(rows), predictions, strict=True):
        show_json_line(
            {
                "id": arch.id,
                column_of(of): round(prediction.value, 6),
                f"low_{unit}": None if prediction.low is None else round(prediction.low, 6),
                f"high_{unit}": None if prediction.high is None else round(prediction.high, 6),
                "confidence": coverage,
                "coverage": prediction.coverage,
                "provenance": prediction.provenance,
                "mismatch": list(prediction.mismatch),
            }
        )
