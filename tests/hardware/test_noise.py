"""Noise: what is computed from the samples, and what is found on the machine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from edgenas.core.measurement import MeasurementPlan
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.noise import (
    NoiseFloor,
    Observation,
    SystemState,
    judge,
    noise_floor,
    parse_state,
    read_state,
)

QUIET = SystemState(1000, 0, 0.1, 8 << 20, ("performance",), False)


def observation(observations: Sequence[Observation], name: str) -> Observation:
    return next(one for one in observations if one.name == name)


def test_spreads_and_slow_share() -> None:
    samples = np.array([[1.0, 1.0, 1.1]] * 6 + [[2.0, 2.0, 2.2]] * 4)
    floor = judge(samples, QUIET, QUIET, timer_resolution_ns=50)
    assert floor.latency_ms == 1.0
    assert floor.within_visit == pytest.approx(0.1)
    assert floor.between_visits == pytest.approx(1.0)
    assert floor.slow_share == pytest.approx(0.4)
    assert observation(floor.observations, "spread between visits").severity == "warning"
    assert observation(floor.observations, "visits in a slow state").severity == "note"


def test_a_quiet_machine_has_nothing_to_mend() -> None:
    floor = judge(np.ones((10, 3)), QUIET, QUIET, timer_resolution_ns=50)
    assert {one.severity for one in floor.observations} == {"ok"}
    assert {one.remedy for one in floor.observations} == {""}


@pytest.mark.parametrize(
    ("before", "after", "name", "severity"),
    [
        (SystemState(0, 0, 3.0, None, (), None), QUIET, "load average", "warning"),
        (
            SystemState(0, 0, None, None, (), None),
            SystemState(1000, 100, None, None, (), None),
            "time stolen by other virtual machines",
            "warning",
        ),
        (QUIET, SystemState(None, None, None, None, (), None), "CPU governor", "note"),
        (QUIET, SystemState(None, None, None, 1, ("powersave",), None), "CPU governor", "warning"),
        (QUIET, SystemState(None, None, None, 1, (), True), "free memory", "warning"),
        (QUIET, SystemState(None, None, None, 1, (), True), "turbo", "note"),
    ],
)
def test_observations_name_what_is_wrong(
    before: SystemState, after: SystemState, name: str, severity: str
) -> None:
    floor = judge(np.ones((10, 3)), before, after, timer_resolution_ns=50)
    found = observation(floor.observations, name)
    assert found.severity == severity
    assert found.remedy


def test_a_coarse_timer_is_found() -> None:
    floor = judge(np.full((10, 3), 0.01), QUIET, QUIET, timer_resolution_ns=1000)
    assert (
        observation(floor.observations, "timer resolution over the model's time").severity
        == "warning"
    )


def test_state_of_this_machine() -> None:
    state = read_state(LocalConnector())
    assert state.load_average is None or state.load_average >= 0


def test_state_from_text() -> None:
    state = parse_state(
        "#=# /proc/stat\ncpu  10 0 20 30 0 0 0 40 5 5\ncpu0 1 1 1 1\n"
        "#=# /proc/loadavg\n0.50 0.1 0.1 1/2 3\n#=# /proc/meminfo\nMemAvailable:   123 kB\n"
        "#=# /sys/devices/system/cpu/intel_pstate/no_turbo\n0\n"
        "#=# /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor\nschedutil\n"
    )
    assert state == SystemState(100, 40, 0.5, 123, ("schedutil",), True)
    assert parse_state("") == SystemState(None, None, None, None, (), None)


@dataclass(frozen=True)
class FakeVisit:
    samples_ms: Sequence[float]


@dataclass(frozen=True)
class FakeBench:
    """Answers with what it was asked; a visit lasts `visit_s`."""

    visit_s: float = 0.0

    def visit(
        self,
        keys: Sequence[str],
        *,
        n_runs: int,
        n_warmup: int,
        timeout_s: float,
        deadline_s: float | None = None,
    ) -> list[FakeVisit]:
        assert deadline_s is not None
        assert (set(keys), n_warmup, timeout_s) == ({"model"}, 2, deadline_s + 9.0)
        return [
            FakeVisit([1.0 + index] * n_runs)
            for index, _ in enumerate(keys)
            if index * self.visit_s < deadline_s
        ]


def floor_of(bench: FakeBench, n_visits: int, deadline_s: float | None = None) -> NoiseFloor:
    return noise_floor(
        bench,
        "model",
        connector=LocalConnector(),
        timer_resolution_ns=50,
        plan=MeasurementPlan(n_visits=n_visits, n_runs=2, n_warmup=2, timeout_s=9.0),
        deadline_s=deadline_s,
    )


def test_follows_the_plan() -> None:
    floor = floor_of(FakeBench(), 10)
    assert floor.latency_ms == 1.0
    assert floor.slow_share == pytest.approx(0.9)
    assert "visits" not in {one.name for one in floor.observations}


def test_an_engine_that_starts_for_seconds_is_judged_by_what_came_back() -> None:
    """As trtexec on a Jetson Nano: seven seconds a visit, sixty visits planned."""
    floor = floor_of(FakeBench(visit_s=7.0), 60)
    cut = observation(floor.observations, "visits")
    assert (cut.severity, cut.measured) == ("note", "9 of 60 within 60 s")
    assert cut.remedy
    assert observation(floor.observations, "spread between visits").severity == "warning"


def test_too_few_visits_are_not_judged() -> None:
    floor = floor_of(FakeBench(visit_s=7.0), 60, deadline_s=20.0)
    few = observation(floor.observations, "spread of timings")
    assert few.measured == "3 visit(s) are too few to tell"
    assert few.remedy.startswith("8 are needed")
    assert not {one.name for one in floor.observations} & {
        "spread within a visit",
        "spread between visits",
        "visits in a slow state",
    }
    assert floor.latency_ms == 1.0
