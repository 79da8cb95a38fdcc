"""Noise: what is computed from the samples, and what is found on the machine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from edgenas.core.measurement import MeasurementPlan
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.noise import (
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


class FakeBench:
    """Answers with what it was asked."""

    def visit(
        self, keys: Sequence[str], *, n_runs: int, n_warmup: int, timeout_s: float
    ) -> list[FakeVisit]:
        assert (set(keys), n_warmup, timeout_s) == ({"model"}, 2, 9.0)
        return [FakeVisit([1.0 + index] * n_runs) for index, _ in enumerate(keys)]


def test_follows_the_plan() -> None:
    floor = noise_floor(
        FakeBench(),
        "model",
        connector=LocalConnector(),
        timer_resolution_ns=50,
        plan=MeasurementPlan(n_visits=5, n_runs=2, n_warmup=2, timeout_s=9.0),
    )
    assert floor.latency_ms == 1.0
    assert floor.slow_share == pytest.approx(0.8)
