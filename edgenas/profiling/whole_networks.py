"""What is measured of whole networks and files: footprint, energy, the end of a long load."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from edgenas.core.errors import UsageError
from edgenas.costs.kinds import SOURCES, Kind, Source
from edgenas.costs.network_fit import LEAST_NETWORKS
from edgenas.hardware.device import Device
from edgenas.profiling.endurance import measure_endurance
from edgenas.profiling.energy import EnergyPlan, measure_energy
from edgenas.profiling.footprint import measure_footprints
from edgenas.profiling.progress import Progress, silent
from edgenas.profiling.retrying import with_retries

Values = Mapping[str, Any]
"""What one measurement of a file found, by name, as a journal holds it."""

_UNTOLD: dict[Kind, str] = {
    "peak_memory": " (the memory of a GPU is no process's own, trtexec tells none)"
}
_APART_S = 4.0  # between two loads of a file: a machine stays slow for seconds
_N_NETWORKS: dict[Source, int] = {"footprint": 60, "energy": 40, "endurance": 30}
_N_SESSIONS: dict[Source, int] = {"footprint": 2, "energy": 1, "endurance": 1}


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """How many networks are measured, and how; None is chosen by what is measured.

    Each of `n_sessions` times every network is measured: loaded in `n_processes` processes of
    its own; or run back to back for `run_s`, with `idle_s` of rest, for its energy; or kept under
    load for `load_s`, of which the last third counts.
    """

    n_networks: int | None = None
    n_sessions: int | None = None
    n_processes: int = 5
    run_s: float = 10.0
    idle_s: float = 5.0
    load_s: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        least: dict[str, float] = {"n_networks": LEAST_NETWORKS, "n_sessions": 1, "n_processes": 1}
        for name, value in least.items():
            given = getattr(self, name)
            if given is not None and given < value:
                raise UsageError(f"{name} is {given}; at least {value} are needed")
        for name in ("run_s", "idle_s", "load_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise UsageError(f"{name} is {getattr(self, name)}; a time above 0 is needed")

    def of(self, source: Source) -> NetworkSettings:
        """Return the settings with what was left out chosen for a measurement."""
        return replace(
            self,
            n_networks=self.n_networks or _N_NETWORKS[source],
            n_sessions=self.n_sessions or _N_SESSIONS[source],
            n_processes=self.n_processes if source == "footprint" else 1,
        )


DEFAULT = NetworkSettings()


@dataclass(frozen=True, slots=True)
class MeasuredCost:
    """A cost of a file in its kind's unit; an energy has an interval and a meter too."""

    value: float
    low: float | None = None
    high: float | None = None
    provenance: str = "measured"
    meter: str | None = None


def measure_costs(  # noqa: PLR0913
    device: Device,
    runtime: str,
    paths: Mapping[str, Path],
    kinds: Sequence[Kind],
    *,
    settings: NetworkSettings = DEFAULT,
    precision: str = "float32",
    n_retries: int = 0,
    progress: Progress = silent,
) -> dict[str, dict[Kind, MeasuredCost]]:
    """Return costs of files of a precision, by the caller's keys, measured as for tables of them.

    Raises:
        UsageError: the device or the engine does not tell one of them.
        DeviceError: the device or the engine failed; nothing is returned for any file.
    """
    found: dict[str, dict[Kind, MeasuredCost]] = {key: {} for key in paths}
    with device.claim():
        for source in dict.fromkeys(SOURCES[kind] for kind in kinds):
            own = [kind for kind in kinds if SOURCES[kind] == source]
            chosen = settings.of(source)
            done: list[dict[str, Values]] = []

            def attempt(
                source: Source = source,
                chosen: NetworkSettings = chosen,
                done: list[dict[str, Values]] = done,
            ) -> None:
                while len(done) < chosen.n_processes:
                    progress(f"{source} on {runtime}", len(done), chosen.n_processes)
                    if done:
                        time.sleep(_APART_S)
                    done.append(MEASURES[source](device, runtime, paths, chosen, precision))
                progress(f"{source} on {runtime}", len(done), chosen.n_processes)

            with_retries(device, attempt, done.__len__, n_retries=n_retries)
            for key in paths:
                values = [visit[key] for visit in done]
                for kind in own:
                    check_told(kind, values, f"{device.id}, {runtime}")
                    found[key][kind] = _measured(kind, values)
    return found


def reduced(kind: Kind, values: Sequence[Values]) -> float | None:
    """Return a cost from several measurements of one file, None if they do not tell it.

    Of loads the least counts, as of latencies: whatever disturbs them makes them longer. Of memory
    it is the most.
    """
    each = [single(kind, one) for one in values]
    known = [value for value in each if value is not None]
    if len(known) < len(each) or not known:
        return None
    if SOURCES[kind] == "footprint":
        return max(known) if kind == "peak_memory" else min(known)
    return median(known)


def single(kind: Kind, values: Values) -> float | None:
    """Return a cost as one measurement found it, None if that does not tell it."""
    if kind == "load":
        return float(values["load_ms"])
    if kind == "cold_start":
        first_ms = values["first_ms"]
        return None if first_ms is None else float(values["load_ms"] + first_ms)
    if kind == "peak_memory":
        peak_kib = values["peak_memory_kib"]
        return None if peak_kib is None else peak_kib / 1024
    if kind == "energy":
        return float(values["energy_mj"])
    return float(values["p95_ms"])


def check_told(kind: Kind, values: Sequence[Values], where: str) -> None:
    """Refuse measurements that do not tell a cost, or tell one that cannot be.

    Raises:
        UsageError: they do not.
    """
    cost = reduced(kind, values)
    if cost is None or not (math.isfinite(cost) and cost > 0):
        found = "is not told" if cost is None else f"is {cost:g}"
        raise UsageError(
            f"the {kind} of a model on {where} {found}: nothing can be said of it here"
            f"{_UNTOLD.get(kind, '')}; ask for other kinds of costs, or for another runtime"
        )


def _measured(kind: Kind, values: Sequence[Values]) -> MeasuredCost:
    cost = reduced(kind, values) or 0.0
    if kind != "energy":
        return MeasuredCost(cost)
    one = values[0]
    return MeasuredCost(cost, one["low"], one["high"], one["provenance"], one["meter"])


def _footprints(
    device: Device,
    runtime: str,
    paths: Mapping[str, Path],
    settings: NetworkSettings,
    precision: str,
) -> dict[str, Values]:
    """Load each file in one process of its own."""
    found = measure_footprints(
        device, runtime, paths, precision=precision, n_processes=1, seed=settings.seed
    )
    return {key: asdict(one) for key, one in found.items()}


def _energies(
    device: Device,
    runtime: str,
    paths: Mapping[str, Path],
    settings: NetworkSettings,
    precision: str,
) -> dict[str, Values]:
    plan = EnergyPlan(run_s=settings.run_s, idle_s=settings.idle_s, seed=settings.seed)
    found = measure_energy(device, runtime, paths, plan, precision=precision)
    return {key: asdict(one) for key, one in found.items()}


def _endurances(
    device: Device,
    runtime: str,
    paths: Mapping[str, Path],
    settings: NetworkSettings,
    precision: str,
) -> dict[str, Values]:
    load_s, names = settings.load_s, ("early_ms", "p50_ms", "p95_ms", "n_runs")
    measured: dict[str, Values] = {}
    for key, path in paths.items():
        found = measure_endurance(
            device, runtime, path, precision=precision, duration_s=load_s, tail_s=load_s / 3
        )
        measured[key] = {name: getattr(found, name) for name in names}
    return measured


Measure = Callable[[Device, str, Mapping[str, Path], NetworkSettings, str], dict[str, Values]]
MEASURES: dict[Source, Measure] = {
    "footprint": _footprints,
    "energy": _energies,
    "endurance": _endurances,
}
"""What measures model files of a precision once, by their keys."""
