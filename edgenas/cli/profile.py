"""``edgenas profile``: tables of a space on a device: latency, and other costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgenas.cli.options import (
    DeviceId,
    Json,
    KindNames,
    Precision,
    Quiet,
    RuntimeName,
    Settings,
    SpaceName,
    kinds_of,
    space_of,
)
from edgenas.cli.passports import show_passport
from edgenas.cli.screen import Watch, show, show_json

if TYPE_CHECKING:
    from edgenas.costs.kinds import Kind
    from edgenas.costs.table import CostTable
    from edgenas.spaces.base import SearchSpace


Missing = Annotated[
    bool,
    typer.Option(
        "--missing",
        help="Measure only operators that no table of this device and runtime has yet.",
    ),
]
Networks = Annotated[int | None, typer.Option(help="Whole networks that are measured.")]
SessionNetworks = Annotated[int | None, typer.Option(help="Networks that each process times.")]
Spread = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Minutes over which the measuring processes are spread: for a machine that others "
        "share, whose speed moves from one quarter of an hour to the next.",
    ),
]
Sessions = Annotated[
    int | None, typer.Option(help="Measuring processes; of other costs: times, far apart.")
]
Processes = Annotated[
    int | None,
    typer.Option(help="Of load, cold_start, peak_memory: processes that load each network."),
]
Endurance = Annotated[
    float | None,
    typer.Option(
        help="Of sustained_p95: seconds of load for each network (60: 30 networks take half an "
        "hour)."
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of tables to measure into.")]


def profile(
    space: SpaceName,
    runtime: RuntimeName = "onnxruntime",
    device: DeviceId = "local",
    precision: Precision = "float32",
    changes: Settings = None,
    kind: KindNames = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Measure anew, whatever is there; cut off, the same command goes on."
        ),
    ] = False,
    missing: Missing = False,
    networks: Networks = None,
    operator_visits: Annotated[int | None, typer.Option(help="Visits to each operator.")] = None,
    network_visits: Annotated[int | None, typer.Option(help="Visits to each network.")] = None,
    sessions: Sessions = None,
    session_networks: SessionNetworks = None,
    spread: Spread = None,
    runs: Annotated[int | None, typer.Option(help="Timed runs a visit.")] = None,
    processes: Processes = None,
    endurance: Endurance = None,
    seed: Annotated[int | None, typer.Option(help="Of networks and order.")] = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the table of a space on a device; go on where an earlier run was cut off.

    Latency is measured operator by operator and calibrated with whole networks. Other costs are
    measured of whole networks, to which operators' costs are fitted.
    """
    kinds = kinds_of(kind)
    shared = {"n_networks": networks, "n_sessions": sessions, "seed": seed}
    of_latency = {
        "n_operator_visits": operator_visits,
        "n_network_visits": network_visits,
        "n_session_networks": session_networks,
        "spread_s": None if spread is None else round(60 * spread),
        "n_runs": runs,
    }
    of_others = {"n_processes": processes, "load_s": endurance}
    _check_used(kinds, of_latency, of_others, missing=missing)
    wanted = space_of(space, changes)
    place: dict[str, Any] = {"runtime": runtime, "device": device, "precision": precision}
    tables: list[CostTable] = []
    with Watch(quiet=quiet) as watch:
        place |= {"out": out, "force": force, "progress": watch.progress}
        if "latency" in kinds:
            tables.append(_latencies(wanted, _given(shared | of_latency), place, missing=missing))
        tables += _others(wanted, kinds, _given(shared | of_others), place)
    _show(tables, json=json)


def _latencies(
    space: SearchSpace, chosen: dict[str, Any], place: Mapping[str, Any], *, missing: bool
) -> CostTable:
    from edgenas.profiling.workload import ProfileSettings
    from edgenas.study import api

    if missing:
        chosen.setdefault("n_networks", api.MISSING_NETWORKS)
    settings = ProfileSettings.for_space(space, **chosen)
    return api.profile(space, settings=settings, missing=missing, **place)


def _others(
    space: SearchSpace, kinds: Sequence[Kind], chosen: dict[str, Any], place: Mapping[str, Any]
) -> list[CostTable]:
    from edgenas.profiling.whole_networks import NetworkSettings
    from edgenas.study import api

    others = [kind for kind in kinds if kind != "latency"]
    if not others:
        return []
    found = api.profile_costs(space, others, settings=NetworkSettings(**chosen), **place)
    return list(found.values())


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _check_used(
    kinds: Sequence[Kind],
    of_latency: Mapping[str, Any],
    of_others: Mapping[str, Any],
    *,
    missing: bool,
) -> None:
    """Refuse options that nothing which is asked for would look at.

    Raises:
        UsageError: there is one.
    """
    from edgenas.core.errors import UsageError
    from edgenas.costs.kinds import SOURCES

    unused = []
    if "latency" not in kinds:
        names = {"n_session_networks": "session-networks", "n_runs": "runs", "spread_s": "spread"}
        names |= {"n_operator_visits": "operator-visits", "n_network_visits": "network-visits"}
        unused += [f"--{names[name]}" for name in _given(of_latency)]
        unused += ["--missing"] if missing else []
    sources = {SOURCES[kind] for kind in kinds}
    if of_others["n_processes"] is not None and "footprint" not in sources:
        unused.append("--processes")
    if of_others["load_s"] is not None and "endurance" not in sources:
        unused.append("--endurance")
    if unused:
        raise UsageError(f"{', '.join(unused)}: nothing of this is done for {', '.join(kinds)}")


def _show(tables: Sequence[CostTable], *, json: bool) -> None:
    if json:
        values = [
            {"table": table.source, "passport": table.passport.model_dump(mode="json")}
            for table in tables
        ]
        show_json(values[0] if len(values) == 1 else values)
        return
    for table in tables:
        show_passport(table)
        show()
        show(table.source)
