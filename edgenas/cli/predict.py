"""``edgenas predict``: architectures in as JSON lines, latencies out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgenas.cli.options import DeviceId, Precision, RuntimeName, Settings, SpaceName, space_of
from edgenas.cli.screen import show_json_line
from edgenas.core.errors import UsageError


def predict(
    space: SpaceName,
    source: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="JSON lines; '-' is standard input.")
    ] = Path("-"),
    runtime: RuntimeName = "onnxruntime",
    device: DeviceId = "local",
    precision: Precision = "float32",
    changes: Settings = None,
    coverage: Annotated[float, typer.Option(help="Probability of the intervals.")] = 0.9,
    run: Annotated[
        Path | None, typer.Option("--run", help="A run whose architectures may be named by id.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The output is JSON lines anyway.")] = False,
) -> None:
    """Predict latencies of architectures.

    A line is an object with 'genes' (option indices), 'config' (options by gene), 'id' (with
    --run), or the options by gene themselves, as 'edgenas spaces sample' prints them.
    """
    del json
    from edgenas.study import api
    from edgenas.study.architecture_lines import read_lines

    wanted = space_of(space, changes)
    rows = read_lines(_text(source), wanted, run=run)
    predictions = api.predict(
        wanted, rows, runtime=runtime, device=device, precision=precision, coverage=coverage
    )
    for arch, prediction in zip(wanted.architectures(rows), predictions, strict=True):
        show_json_line(
            {
                "id": arch.id,
                "latency_ms": round(prediction.value, 6),
                "low_ms": round(prediction.low, 6),
                "high_ms": round(prediction.high, 6),
                "confidence": coverage,
                "coverage": prediction.coverage,
            }
        )


def _text(source: Path) -> str:
    try:
        if str(source) == "-":
            return sys.stdin.read()
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {source}: {error}") from error
