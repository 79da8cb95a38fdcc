"""``edgenas measure``: the latency of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgenas.cli.options import DeviceId, Json, Quiet
from edgenas.cli.screen import Watch, show, show_json


def measure(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX or TFLite file.")],
    device: DeviceId = "local",
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="Default: the one for the file's suffix.")
    ] = None,
    visits: Annotated[int, typer.Option(min=1, help="Visits, spread over the time.")] = 30,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs a visit.")] = 10,
    warmup: Annotated[int, typer.Option(min=0, help="Runs before them that do not count.")] = 2,
    spread: Annotated[float, typer.Option(min=0, help="Seconds over which to spread.")] = 3.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time a model file on a device.

    The latency is the least, over the visits, of a visit's median: what is left when the machine
    is in its fast state and nothing disturbs it.
    """
    from edgenas.core.measurement import MeasurementPlan
    from edgenas.study import api

    plan = MeasurementPlan(n_visits=visits, n_runs=runs, n_warmup=warmup, spread_s=spread)
    with Watch(quiet=quiet) as watch:
        found = api.measure(
            model, device=device, runtime=runtime, plan=plan, progress=watch.progress
        )
    median, p95 = found.percentile_ms(50), found.percentile_ms(95)
    if json:
        show_json(
            {
                "model": str(model),
                "latency_ms": found.latency_ms,
                "min_ms": float(found.samples_ms.min()),
                "median_ms": median,
                "p95_ms": p95,
                "samples_ms": found.samples_ms.tolist(),
            }
        )
        return
    show(f"{model}: {found.latency_ms:.4f} ms", style="bold")
    show(
        f"median {median:.4f}, 95th percentile {p95:.4f}, least {found.samples_ms.min():.4f} ms "
        f"over {found.samples_ms.size} runs"
    )
