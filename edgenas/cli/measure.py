"""``edgenas measure``: latency, memory, energy of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgenas.cli.options import DeviceId, Json, Precision, Quiet
from edgenas.cli.screen import Watch, show, show_json

if TYPE_CHECKING:
    from edgenas.study.measuring import MeasuredModel


def measure(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="An ONNX or TFLite file, or an engine.")
    ],
    device: DeviceId = "local",
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="Default: the one for the file's suffix.")
    ] = None,
    precision: Precision = "float32",
    visits: Annotated[int, typer.Option(min=1, help="Visits, spread over the time.")] = 30,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs a visit.")] = 10,
    warmup: Annotated[int, typer.Option(min=0, help="Runs before them that do not count.")] = 2,
    spread: Annotated[float, typer.Option(min=0, help="Seconds over which to spread.")] = 3.0,
    processes: Annotated[
        int, typer.Option(min=1, help="Measuring processes that share the visits.")
    ] = 3,
    footprint: Annotated[
        bool, typer.Option("--footprint", help="Load time, cold start and peak memory too.")
    ] = False,
    endurance: Annotated[
        float | None,
        typer.Option("--endurance", min=3, help="Run it back to back for so many seconds too."),
    ] = None,
    energy: Annotated[
        bool, typer.Option("--energy", help="Energy of an inference too, by the device's meter.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time a model file on a device.

    The latency is the least run: what is left when the machine is in its fast state and nothing
    disturbs it.
    """
    from edgenas.core.measurement import MeasurementPlan
    from edgenas.hardware.device import load_device
    from edgenas.study.measuring import measure_model

    plan = MeasurementPlan(
        n_visits=visits, n_runs=runs, n_warmup=warmup, spread_s=spread, n_processes=processes
    )
    with Watch(quiet=quiet) as watch:
        found = measure_model(
            model,
            load_device(device),
            runtime=runtime,
            precision=precision,
            plan=plan,
            footprint=footprint,
            endurance_s=endurance,
            energy=energy,
            progress=watch.progress,
        )
    if json:
        show_json({"model": str(model), **_values(found)})
    else:
        _show(model, found)


def _values(found: MeasuredModel) -> dict[str, Any]:
    latency = found.latency
    values: dict[str, Any] = {
        "latency_ms": latency.latency_ms,
        "median_ms": latency.percentile_ms(50),
        "p95_ms": latency.percentile_ms(95),
        "process_ms": list(latency.process_ms),
        "samples_ms": latency.samples_ms.tolist(),
    }
    if found.footprint is not None:
        values["footprint"] = {
            "load_ms": found.footprint.load_ms,
            "build_ms": found.footprint.build_ms,
            "first_ms": found.footprint.first_ms,
            "cold_start_ms": found.footprint.cold_start_ms,
            "peak_memory_kib": found.footprint.peak_memory_kib,
        }
    if found.endurance is not None:
        values["endurance"] = {
            "duration_s": found.endurance.duration_s,
            "n_runs": found.endurance.n_runs,
            "early_ms": found.endurance.early_ms,
            "p50_ms": found.endurance.p50_ms,
            "p95_ms": found.endurance.p95_ms,
        }
    if found.energy is not None:
        values["energy"] = {
            "energy_mj": found.energy.energy_mj,
            "low_mj": found.energy.low,
            "high_mj": found.energy.high,
            "idle_mw": found.energy.idle_mw,
            "meter": found.energy.meter,
            "n_samples": found.energy.n_samples,
            "provenance": found.energy.provenance,
        }
    return values


def _show(model: Path, found: MeasuredModel) -> None:
    latency = found.latency
    show(f"{model}: {latency.latency_ms:.4f} ms", style="bold")
    show(
        f"median {latency.percentile_ms(50):.4f}, 95th percentile {latency.percentile_ms(95):.4f} "
        f"ms over {latency.samples_ms.size} runs"
    )
    least = latency.process_ms
    if len(least) > 1:
        show(f"{len(least)} processes: least runs {min(least):.4f} to {max(least):.4f} ms")
    if found.footprint is not None:
        one = found.footprint
        cold = "not told" if one.cold_start_ms is None else f"{one.cold_start_ms:.1f} ms"
        peak = "not told" if one.peak_memory_kib is None else f"{one.peak_memory_kib} KiB"
        show(f"load {one.load_ms:.1f} ms, cold start {cold}, peak memory {peak}")
    if found.endurance is not None:
        long = found.endurance
        show(
            f"under load for {long.duration_s:.0f} s: early median {long.early_ms:.4f}, then "
            f"median {long.p50_ms:.4f}, 95th percentile {long.p95_ms:.4f} ms ({long.n_runs} runs)"
        )
    if found.energy is not None:
        energy = found.energy
        show(
            f"energy {energy.energy_mj:.4g} mJ [{energy.low:.4g}, {energy.high:.4g}] an inference "
            f"({energy.provenance}, {energy.meter})"
        )
