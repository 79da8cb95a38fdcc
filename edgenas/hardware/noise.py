"""How far the timings of a device can be trusted, and what would make them better."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from edgenas.core.measurement import MeasurementPlan
from edgenas.hardware.connectors.base import Connector
from edgenas.hardware.fingerprint import SHOW, sections

Severity = Literal["ok", "note", "warning"]

_TIMEOUT_S = 30.0
_SLOW = 1.10
"""A visit whose median is this much above the best visit's was made in a slow state."""
_READ_STATE = f"""{SHOW}
show /proc/stat; show /proc/loadavg; show /proc/meminfo
show /sys/devices/system/cpu/cpufreq/boost; show /sys/devices/system/cpu/intel_pstate/no_turbo
for file in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor; do show "$file"; done
exit 0
"""


DEFAULT_PLAN = MeasurementPlan(n_visits=60, n_runs=5)
DEADLINE_S = 60.0
"""After so long no further visit begins: engines that start a process each need seconds for it."""
LEAST_VISITS = 8
"""Fewer do not tell how they vary."""


class TimedVisit(Protocol):
    """What a bench returns of one visit."""

    @property
    def samples_ms(self) -> Sequence[float]:
        """The timed runs."""


class TimingBench(Protocol):
    """As much of a bench as is needed here."""

    def visit(
        self,
        keys: Sequence[str],
        *,
        n_runs: int,
        n_warmup: int,
        timeout_s: float,
        deadline_s: float | None = None,
    ) -> Sequence[TimedVisit]:
        """Visit the models in the given order; none begins after `deadline_s`."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing about the device, how bad it is for timings, and what to do about it."""

    name: str
    severity: Severity
    measured: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How much the time of one unchanging model varies; shares and spreads are fractions.

    `within_visit` is the median, over the visits, of the range of a visit's runs over their
    median. `between_visits` is the distance from the 10th to the 90th percentile of the visits'
    medians, over the least of them. `slow_share` is the share of visits that are 10 % above it.
    Of fewer visits than `LEAST_VISITS` they are not judged.
    """

    latency_ms: float
    within_visit: float
    between_visits: float
    slow_share: float
    observations: tuple[Observation, ...]


@dataclass(frozen=True, slots=True)
class SystemState:
    """What else goes on on a device, at one moment; None where it does not tell."""

    cpu_ticks: int | None
    steal_ticks: int | None
    load_average: float | None
    free_kib: int | None
    governors: tuple[str, ...]
    turbo: bool | None


def read_state(connector: Connector) -> SystemState:
    """Return the present state of the device behind `connector`.

    Raises:
        DeviceError: the device cannot be asked.
    """
    done = connector.run(["sh", "-c", _READ_STATE], timeout_s=_TIMEOUT_S)
    return parse_state(done.stdout.decode(errors="replace"))


def parse_state(text: str) -> SystemState:
    """Return the state in what the reading command printed."""
    files = sections(text)
    total = files.get("/proc/stat", "").split("\n")[0]
    ticks = [int(one) for one in re.findall(r"[0-9]{1,18}", total)]
    load = re.match(r"[0-9]{1,9}\.[0-9]{1,9}", files.get("/proc/loadavg", ""))
    free = re.search(r"MemAvailable:\s+([0-9]{1,18})", files.get("/proc/meminfo", ""))
    boost = files.get("/sys/devices/system/cpu/cpufreq/boost")
    no_turbo = files.get("/sys/devices/system/cpu/intel_pstate/no_turbo")
    governors = {text for path, text in files.items() if path.endswith("/scaling_governor")}
    return SystemState(
        cpu_ticks=sum(ticks[:8]) if ticks else None,
        steal_ticks=ticks[7] if len(ticks) > 7 else None,
        load_average=float(load[0]) if load else None,
        free_kib=int(free[1]) if free else None,
        governors=tuple(sorted(governors)),
        turbo=boost == "1" if boost else no_turbo == "0" if no_turbo else None,
    )


def noise_floor(  # noqa: PLR0913
    bench: TimingBench,
    key: str,
    *,
    connector: Connector,
    timer_resolution_ns: int,
    plan: MeasurementPlan = DEFAULT_PLAN,
    deadline_s: float | None = None,
) -> NoiseFloor:
    """Time the loaded model `key` again and again, and judge the device by it.

    Args:
        bench: where the model is loaded.
        key: the model; one that runs for a millisecond or so shows most.
        connector: the way to the same device.
        timer_resolution_ns: as the bench reports it.
        plan: how many visits of how many runs; its timeout is for the last of them.
        deadline_s: when the last visit begins at the latest; by default `DEADLINE_S`. What was
            visited until then is judged.

    Raises:
        AgentError: the bench failed.
        DeviceTimeoutError: a visit took too long.
        DeviceError: the device cannot be asked for its state.
    """
    begun_s = DEADLINE_S if deadline_s is None else deadline_s
    before = read_state(connector)
    visits = bench.visit(
        [key] * plan.n_visits,
        n_runs=plan.n_runs,
        n_warmup=plan.n_warmup,
        timeout_s=begun_s + plan.timeout_s,
        deadline_s=begun_s,
    )
    after = read_state(connector)
    samples = np.array([visit.samples_ms for visit in visits], dtype=np.float64)
    floor = judge(samples, before, after, timer_resolution_ns=timer_resolution_ns)
    if len(visits) == plan.n_visits:
        return floor
    cut = Observation(
        "visits", "note", f"{len(visits)} of {plan.n_visits} within {begun_s:g} s",
        "each starts a program or is long; expect a table to take as much longer",
    )  # fmt: skip
    return replace(floor, observations=(cut, *floor.observations))


def judge(
    samples_ms: npt.NDArray[np.float64],
    before: SystemState,
    after: SystemState,
    *,
    timer_resolution_ns: int,
) -> NoiseFloor:
    """Return the noise in `samples_ms`, shape (n_visits, n_runs), and what may cause it."""
    medians = np.median(samples_ms, axis=1)
    best = float(medians.min())
    within = float(np.median(np.ptp(samples_ms, axis=1) / medians))
    low, high = np.percentile(medians, [10, 90])
    between = float((high - low) / best)
    slow = float(np.mean(medians > _SLOW * best))
    spreads = [
        _graded(
            "spread within a visit", within, "{:.1%}", (0.05, 0.20),
            "close other programs, or measure more runs a visit",
        ),
        _graded(
            "spread between visits", between, "{:.1%}", (0.05, 0.20),
            "measure more visits, spread over a longer time",
        ),
        _graded(
            "visits in a slow state", slow, "{:.0%}", (0.05, 0.50),
            "measure more visits: the least of them counts, and needs some in the fast state",
        ),
    ]  # fmt: skip
    if len(medians) < LEAST_VISITS:
        spreads = [
            Observation(
                "spread of timings", "note", f"{len(medians)} visit(s) are too few to tell",
                f"{LEAST_VISITS} are needed: try another engine, or measure a file for longer",
            )
        ]  # fmt: skip
    observations = (
        *spreads,
        _graded(
            "timer resolution over the model's time", timer_resolution_ns / (best * 1e6), "{:.2%}",
            (0.01, 0.05), "time longer models; very short ones cannot be told apart",
        ),
        *system_observations(before, after),
    )  # fmt: skip
    return NoiseFloor(best, within, between, slow, observations)


def system_observations(before: SystemState, after: SystemState) -> list[Observation]:
    """Return observations on whatever the device tells about itself."""
    observations = []
    if before.load_average is not None:  # the measuring process itself is in the later one
        observations.append(
            _graded("load average", before.load_average, "{:.2f}", (0.5, 1.5), "end other programs")
        )
    stolen = _stolen(before, after)
    if stolen is not None:
        observations.append(
            _graded(
                "time stolen by other virtual machines", stolen, "{:.1%}", (0.005, 0.05),
                "measure at a quieter time, or on a machine that is not shared",
            )
        )  # fmt: skip
    if after.governors:
        fixed = set(after.governors) <= {"performance", "userspace"}
        observations.append(
            Observation(
                "CPU governor", "ok" if fixed else "warning", ", ".join(after.governors),
                "" if fixed else "let the device's description set it (see docs/devices.md), "
                "or run there: sudo cpupower frequency-set -g performance",
            )
        )  # fmt: skip
    else:
        observations.append(
            Observation("CPU governor", "note", "not visible", "clocks cannot be checked")
        )
    if after.turbo is not None:
        observations.append(
            Observation(
                "turbo", "note" if after.turbo else "ok", "on" if after.turbo else "off",
                "turn it off for steadier, slower clocks" if after.turbo else "",
            )
        )  # fmt: skip
    if after.free_kib is not None:
        tight = after.free_kib < 1 << 20
        observations.append(
            Observation(
                "free memory", "warning" if tight else "ok", f"{after.free_kib / 1024:.0f} MiB",
                "free some: models that are paged out are timed with the disk" if tight else "",
            )
        )  # fmt: skip
    return observations


def _stolen(before: SystemState, after: SystemState) -> float | None:
    """Return the share of all CPU time between two moments that the hypervisor gave to others."""
    if None in (before.cpu_ticks, before.steal_ticks, after.cpu_ticks, after.steal_ticks):
        return None
    ticks = (after.cpu_ticks or 0) - (before.cpu_ticks or 0)
    return ((after.steal_ticks or 0) - (before.steal_ticks or 0)) / ticks if ticks > 0 else None


def _graded(
    name: str, value: float, shown: str, limits: tuple[float, float], remedy: str
) -> Observation:
    """Return an observation: a note above the first limit, a warning above the second."""
    severity: Severity = "ok"
    if value > limits[0]:
        severity = "warning" if value > limits[1] else "note"
    return Observation(name, severity, shown.format(value), "" if severity == "ok" else remedy)
