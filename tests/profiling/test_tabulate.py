"""From samples to a passport: further sessions' ratios, the level of the fit, errors, scores."""

from collections.abc import Callable, Sequence
from dataclasses import replace
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
    """Returns what slows down every network of further session s by ``paces[s - 1]``."""
    pace = {"": 1.0} | {str(session): value for session, value in enumerate(paces, 1)}
    return lambda key: pace[key.partition("@")[2]]


@pytest.fixture
def make(
    bench: Any, device: Device, space: SearchSpace, few: ProfileSettings, tmp_path: Path
) -> Make:
    """A function that profiles with as many further sessions as there are paces."""

    def make(
        paces: Sequence[float], slowdown: Callable[[str], float] | None = None
    ) -> tuple[CostTable, Workload, ProfileSettings]:
        bench.slowdown = slowdown or paced(paces)
        settings = replace(few, n_sessions=len(paces))
        table = profile(device, "onnxruntime", space, settings, tmp_path)
        return table, Workload.of(space, settings), settings

    return make


@pytest.mark.parametrize(
    ("paces", "level"),
    [
        ((1.0, 1.0, 1.0), 1.0),
        ((1.0, 1.03, 1.0), 1.0),  # one session of four: the typical one is as it was
        ((1.03, 1.02), 1.02),
        ((1.0, 1.03, 1.02), 1.01),  # of an even number: between the two in the middle
        ((1.04, 1.02, 1.03), 1.025),  # the main session was the fast one
        ((0.97, 0.99, 0.98), 0.985),
    ],
)
def test_the_level_of_the_fit_is_that_of_the_median_session(
    bench: Any, make: Make, paces: tuple[float, ...], level: float
) -> None:
    table, workload, _ = make(paces)
    found = table.passport.calibration
    assert found.session_ratios == pytest.approx(paces, abs=3e-6)
    main_ms = [bench.ms(key) for key in workload.network_keys]
    low, high = found.latency_range_ms
    assert (low / min(main_ms), high / max(main_ms)) == pytest.approx((level, level), abs=3e-6)
    assert table.passport.plan.n_sessions == len(paces)
    assert table.passport.plan.n_session_networks == 10


def test_a_session_in_which_few_networks_were_disturbed_is_not_a_slow_one(
    bench: Any, make: Make, space: SearchSpace, few: ProfileSettings
) -> None:
    disturbed = Workload.of(space, few).session_keys(few, 1)[:4]
    table, _, _ = make((1.0, 1.0), lambda key: 1.5 if key in disturbed else 1.0)
    found = table.passport.calibration
    assert found.session_ratios == [1.0, 1.0]
    assert found.noise_ceiling.within_10_percent == pytest.approx(0.8)


def test_operators_are_not_scaled_with_the_session(bench: Any, make: Make) -> None:
    table, workload, _ = make((1.03, 1.03))
    for op, key in zip(workload.ops, workload.op_keys, strict=True):
        assert table.rows[op.key].isolated_ms == bench.ms(key)


@pytest.mark.parametrize("paces", [(1.0, 1.03, 1.0), (1.0, 1.0), (1.04, 0.98, 1.07)])
def test_errors_and_scores_are_of_networks_left_out_in_further_sessions(
    bench: Any, make: Make, paces: tuple[float, ...]
) -> None:
    table, workload, settings = make(paces)
    found = table.passport.calibration
    rows = workload.session_rows(settings)
    main_ms = [bench.ms(key) for key in workload.network_keys]
    again_ms = [
        [bench.ms(key) for key in workload.session_keys(settings, session)]
        for session in range(1, len(paces) + 1)
    ]
    ratios = [
        median(ms / main_ms[i] for ms, i in zip(session, rows, strict=True)) for session in again_ms
    ]
    level = median([1.0, *ratios])
    isolated = np.array([bench.ms(key) for key in workload.op_keys])
    counts = workload.counts()
    fitted = calibrate(workload.ops, isolated, counts, level * np.array(main_ms))
    left_out: list[float] = fitted.left_out_ms.tolist()
    # Every (network, what a further session measured), session after session.
    pairs = [(i, ms) for session in again_ms for i, ms in zip(rows, session, strict=True)]
    errors = np.array([(ms - left_out[i]) / left_out[i] for i, ms in pairs])
    scores = with_sessions(errors.reshape(len(paces), -1), np.array([1.0, *ratios]))
    assert found.scores == pytest.approx(scores.tolist(), abs=2e-6)
    check(found, "held_out", [(ms, left_out[i]) for i, ms in pairs])
    check(found, "noise_ceiling", [(ms, main_ms[i]) for i, ms in pairs])
    naive: list[float] = (counts @ isolated).tolist()
    check(found, "naive_sum", [(ms, naive[i]) for i, ms in pairs])
    assert found.n_networks == len(main_ms) == 20


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
    table, _, _ = make((1.0, 1.03, 1.07))
    ceiling = table.passport.calibration.noise_ceiling
    assert ceiling.n_networks == 30
    assert ceiling.mape == pytest.approx((0 + 0.03 / 1.03 + 0.07 / 1.07) / 3, abs=2e-6)
    assert ceiling.bias == pytest.approx(-ceiling.mape, abs=2e-6)
    assert ceiling.within_5_percent == pytest.approx(2 / 3, abs=2e-6)
    assert ceiling.within_10_percent == 1.0


def test_sessions_that_differ_widen_what_is_promised(make: Make) -> None:
    paces = [(1.0, 1.0, 1.0), (1.0, 1.03, 1.0), (1.0, 1.03, 0.97), (1.0, 1.06, 0.94)]
    widths = []
    for pace in paces:
        low, high = interval(np.array(make(pace)[0].passport.calibration.scores), 0.9)
        widths.append(high - low)
    assert widths == sorted(set(widths))
    assert widths[3] > 1.05 * widths[0]
