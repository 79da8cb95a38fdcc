"""From samples to a passport: the processes' levels, that of the fit, errors, scores."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import pytest

from edgenas.costs.calibration import calibrate
from edgenas.costs.conformal import interval, with_sessions
from edgenas.costs.passport import CalibrationRecord
from edgenas.costs.table import CostTable
from edgenas.hardware.device import Device
from edgenas.profiling.profile import profile
from edgenas.profiling.workload import ProfileSettings, Workload
from edgenas.spaces.base import SearchSpace

Make = Callable[..., tuple[CostTable, Workload, ProfileSettings]]


def paced(paces: Sequence[float]) -> Callable[[str], float]:
    """Returns what slows down every network of process s by ``paces[s - 1]``.

    The networks without a process's number and the operators are the first one's.
    """
    pace = {str(session): value for session, value in enumerate(paces, 1)} | {"": paces[0]}
    return lambda key: 1.0 if key.startswith("op:") else pace[key.partition("@")[2]]


@pytest.fixture
def make(
    bench: Any, device: Device, space: SearchSpace, few: ProfileSettings, tmp_path: Path
) -> Make:
    """A function that profiles with as many processes as there are paces."""

    def make(
        paces: Sequence[float], slowdown: Callable[[str], float] | None = None, n_pools: int = 1
    ) -> tuple[CostTable, Workload, ProfileSettings]:
        bench.slowdown = slowdown or paced(paces)
        settings = replace(few, n_sessions=len(paces), n_pools=n_pools)
        table = profile(device, "onnxruntime", space, settings, tmp_path)
        return table, Workload.of(space, settings), settings

    return make


@pytest.mark.parametrize(
    ("paces", "level"),
    [
        ((1.0, 1.0, 1.0), 1.0),
        ((1.0, 1.0, 1.03, 1.0), 1.0),  # one process of four: the typical one is as it was
        ((1.0, 1.03, 1.02), 1.02),
        ((1.0, 1.0, 1.03, 1.02), 1.01),  # of an even number: between the two in the middle
        ((1.0, 1.04, 1.02, 1.03), 1.025),  # the first one was fast
        ((1.0, 0.97, 0.99, 0.98), 0.985),
    ],
)
def test_the_level_of_the_fit_is_that_of_the_median_process(
    bench: Any, make: Make, paces: tuple[float, ...], level: float
) -> None:
    table, workload, _ = make(paces)
    found = table.passport.calibration
    assert found.session_ratios == pytest.approx([pace / level for pace in paces], abs=3e-6)
    main_ms = [bench.ms(key) for key in workload.network_keys]
    low, high = found.latency_range_ms
    assert (low / min(main_ms), high / max(main_ms)) == pytest.approx((level, level), abs=3e-6)
    assert table.passport.plan.n_sessions == len(paces)
    assert table.passport.plan.n_session_networks == 10


def test_networks_of_two_pools_are_brought_to_one_level(
    bench: Any, make: Make, space: SearchSpace, few: ProfileSettings
) -> None:
    settings = replace(few, n_pools=2, n_sessions=3)
    workload = Workload.of(space, settings)
    slow = set(workload.pools(settings, float("inf"))[1])
    pace = paced((1.0, 1.1, 1.0))
    table, _, _ = make((1.0, 1.1, 1.0), lambda key: 1.1 if key in slow else pace(key), n_pools=2)
    found = table.passport.calibration
    assert found.session_ratios == pytest.approx([1.0, 1.1, 1.0], abs=3e-6)
    true_ms = [bench.ms(key) / (1.1 if key in slow else 1.0) for key in workload.network_keys]
    assert found.latency_range_ms == pytest.approx((min(true_ms), max(true_ms)), abs=3e-6)
    assert table.passport.plan.n_pools == 2


def test_a_process_in_which_few_networks_were_disturbed_is_not_a_slow_one(
    bench: Any, make: Make, space: SearchSpace, few: ProfileSettings
) -> None:
    disturbed = Workload.of(space, few).session_keys(few, 2)[:4]
    table, _, _ = make((1.0, 1.0, 1.0), lambda key: 1.5 if key in disturbed else 1.0)
    found = table.passport.calibration
    assert found.session_ratios == [1.0, 1.0, 1.0]
    assert found.noise_ceiling.within_10_percent == pytest.approx(0.6)


def test_operators_are_not_scaled_with_the_session(bench: Any, make: Make) -> None:
    table, workload, _ = make((1.03, 1.03))
    for op, key in zip(workload.ops, workload.op_keys, strict=True):
        assert table.rows[op.key].isolated == bench.ms(key)


@pytest.mark.parametrize("paces", [(1.0, 1.03, 1.0), (1.0, 1.0), (1.04, 0.98, 1.07)])
def test_errors_and_scores_are_of_networks_left_out(
    bench: Any, make: Make, paces: tuple[float, ...]
) -> None:
    table, workload, settings = make(paces)
    found = table.passport.calibration
    rows = workload.session_rows(settings)
    times_ms = [
        [bench.ms(key) for key in workload.session_keys(settings, session)]
        for session in range(1, len(paces) + 1)
    ]
    typical = median(paces)
    network_ms = [bench.ms(key) * typical / paces[0] for key in workload.network_keys]
    isolated = np.array([bench.ms(key) for key in workload.op_keys])
    counts = workload.counts()
    fitted = calibrate(workload.ops, isolated, counts, np.array(network_ms))
    left_out: list[float] = fitted.left_out_ms.tolist()
    # Every (network, what a process measured), process after process.
    pairs = [(i, ms) for session in times_ms for i, ms in zip(rows, session, strict=True)]
    errors = np.array([(ms - left_out[i]) / left_out[i] for i, ms in pairs])
    levels = np.array(paces) / typical
    own = [i for i in range(len(network_ms)) if i not in rows]  # in the first process, at its pace
    once = [network_ms[i] / left_out[i] - 1 for i in own]
    shared = (1 + errors.reshape(len(paces), -1)) / levels[:, None] - 1
    inside = np.concatenate([shared.ravel(), np.repeat(once, len(paces))])
    scores = with_sessions(inside, levels)
    assert found.scores == pytest.approx(scores.tolist(), abs=2e-5)
    check(found, "held_out", [(ms, left_out[i]) for i, ms in pairs])
    check(found, "noise_ceiling", [*zip(chain(*times_ms[1:]), chain(*times_ms[:-1]), strict=True)])
    naive: list[float] = (counts @ isolated).tolist()
    check(found, "naive_sum", [(ms, naive[i]) for i, ms in pairs])
    assert found.n_networks == len(network_ms) == 20


def check(found: CalibrationRecord, name: str, pairs: list[tuple[float, float]]) -> None:
    """Asserts that a report is of these (measured, predicted)."""
    report = getattr(found, name)
    errors = [predicted / measured - 1 for measured, predicted in pairs]
    assert report.n_networks == len(pairs)
    assert report.mape == pytest.approx(mean(abs(error) for error in errors), abs=2e-6)
    assert report.bias == pytest.approx(mean(errors), abs=2e-6)
    for share, limit in ((report.within_5_percent, 0.05), (report.within_10_percent, 0.10)):
        assert share == pytest.approx(mean(abs(error) <= limit for error in errors), abs=2e-6)


def test_the_noise_ceiling_by_hand(make: Make) -> None:
    table, _, _ = make((1.0, 1.0, 1.03, 1.0))
    ceiling = table.passport.calibration.noise_ceiling
    assert ceiling.n_networks == 30
    assert ceiling.mape == pytest.approx((0 + 0.03 / 1.03 + 0.03) / 3, abs=2e-6)
    assert ceiling.bias == pytest.approx((0 - 0.03 / 1.03 + 0.03) / 3, abs=2e-6)
    assert ceiling.within_5_percent == ceiling.within_10_percent == 1.0


def test_sessions_that_differ_widen_what_is_promised(make: Make) -> None:
    paces = [(1.0, 1.0, 1.0), (1.0, 1.03, 1.0), (1.0, 1.03, 0.97), (1.0, 1.06, 0.94)]
    widths = []
    for pace in paces:
        low, high = interval(np.array(make(pace)[0].passport.calibration.scores), 0.9)
        widths.append(high - low)
    assert widths[0] < widths[2] < widths[3]
    assert widths[1] < widths[2]
    assert widths[3] > 1.05 * widths[0]
