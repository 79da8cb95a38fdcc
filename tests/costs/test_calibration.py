"""Calibration against networks whose true costs are known; honesty of its scores."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from edgenas.core.architecture import Genes
from edgenas.core.counts import n_macs
from edgenas.core.ops import OpSpec
from edgenas.costs import conformal
from edgenas.costs.accuracy import error_report
from edgenas.costs.calibration import FLOOR, Calibration, calibrate
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import expand

Floats = npt.NDArray[np.float64]
OVERHEAD_MS, BORDER_MS, IN_MS_PER_KIB, OUT_MS_PER_KIB = 0.015, 0.012, 2e-4, 5e-4


@dataclass
class Truth:
    """A made-up engine: what operators cost inside a network, alone, and whole networks."""

    ops: list[OpSpec]
    cost_ms: Floats
    isolated_ms: Floats
    noise: float
    rng: np.random.Generator
    space: SearchSpace

    def counts(self, rows: Genes) -> Floats:
        place = {op: j for j, op in enumerate(self.ops)}
        counts = np.zeros((len(rows), len(self.ops)))
        for i, row in enumerate(rows):
            for _, op in self.space.ops(row):
                counts[i, place[op]] += 1
        return counts

    def measure(self, counts: Floats) -> Floats:
        exact = OVERHEAD_MS + counts @ self.cost_ms
        return np.asarray(exact * (1 + self.noise * self.rng.normal(size=len(exact))))


def make_truth(seed: int, *, noise: float = 0.01, operator_noise: float = 0.03) -> Truth:
    space = get("mbv3_tiny", resolutions=[28])
    rng = np.random.default_rng(seed)
    ops = space.distinct_ops()
    macs, ins, outs = np.array(
        [
            [n_macs(g), np.prod(g.in_shape) / 256, np.prod(g.out_shape) / 256]
            for g in map(expand, ops)
        ]
    ).T
    cost = 0.004 + macs / 2e7 * rng.uniform(0.85, 1.15, len(ops)) + (ins + outs) * 1e-4
    isolated = cost + BORDER_MS + IN_MS_PER_KIB * ins + OUT_MS_PER_KIB * outs
    isolated *= 1 + operator_noise * rng.normal(size=len(ops))
    return Truth(ops, cost, isolated, noise, rng, space)


@cache
def fitted(seed: int) -> tuple[Truth, Calibration, Floats, Floats]:
    """Returns an engine, its calibration, and counts and times of networks made afterwards."""
    truth = make_truth(seed)
    counts = truth.counts(truth.space.sample(150, truth.rng))
    calibration = calibrate(truth.ops, truth.isolated_ms, counts, truth.measure(counts))
    later = truth.counts(truth.space.sample(300, truth.rng))
    return truth, calibration, later, truth.measure(later)


SEEDS = [0, 1, 2, 3]


@pytest.mark.parametrize("seed", SEEDS)
def test_new_networks_are_predicted_much_better_than_by_the_naive_sum(seed: int) -> None:
    truth, calibration, counts, measured = fitted(seed)
    predicted = calibration.overhead_ms + counts @ calibration.cost_ms
    report = error_report(measured, predicted)
    naive = error_report(measured, counts @ truth.isolated_ms)
    assert naive.mape > 0.3
    assert report.mape < 0.015
    assert report.mape < naive.mape / 20
    assert abs(report.bias) < 0.005
    assert report.within_5_percent > 0.97
    assert report.spearman > naive.spearman - 0.01
    assert report.spearman > 0.97


@pytest.mark.parametrize("seed", SEEDS)
def test_operator_costs_come_near_the_true_ones(seed: int) -> None:
    truth, calibration, _, _ = fitted(seed)
    share = calibration.cost_ms / truth.cost_ms
    assert np.median(np.abs(share - 1)) < 0.2
    assert np.median(truth.isolated_ms / truth.cost_ms - 1) > 0.3
    assert spearmanr(calibration.cost_ms, truth.cost_ms).statistic > 0.9
    assert (calibration.cost_ms >= FLOOR * truth.isolated_ms).all()
    assert (calibration.std_ms >= 0).all()
    assert np.isfinite(calibration.std_ms).all()
    assert 0.002 < calibration.hyperparameters.noise < 0.03


def test_intervals_hold_as_often_as_they_promise() -> None:
    inside = above = total = 0
    for seed in SEEDS:
        _, calibration, counts, measured = fitted(seed)
        predicted = calibration.overhead_ms + counts @ calibration.cost_ms
        low, high = conformal.interval(calibration.scores, 0.9)
        inside += ((measured >= predicted * (1 + low)) & (measured <= predicted * (1 + high))).sum()
        upper = conformal.upper_quantile(calibration.scores, 0.9)
        above += (measured > predicted * (1 + upper)).sum()
        total += len(measured)
    assert 0.85 <= inside / total <= 0.95
    assert 0.05 <= above / total <= 0.15


def test_scores_are_of_networks_that_the_fit_did_not_see() -> None:
    truth, calibration, counts, measured = fitted(0)
    assert len(calibration.scores) == len(calibration.left_out_ms) == 150
    assert (np.diff(calibration.scores) >= 0).all()
    # Out-of-fold errors are those of new networks, not the smaller ones of the fitted networks.
    seen = np.abs(calibration.scores).mean()
    predicted = calibration.overhead_ms + counts @ calibration.cost_ms
    new = np.abs(measured / predicted - 1).mean()
    assert seen == pytest.approx(new, rel=0.2)
    assert seen > 0.9 * truth.noise * np.sqrt(2 / np.pi)


def test_a_network_does_not_move_its_own_score() -> None:
    truth = make_truth(5)
    counts = truth.counts(truth.space.sample(60, truth.rng))
    times = truth.measure(counts)
    before = calibrate(truth.ops, truth.isolated_ms, counts, times)
    times[7] *= 1.02
    after = calibrate(truth.ops, truth.isolated_ms, counts, times)
    # Only through the hyperparameters, which are few.
    assert after.left_out_ms[7] == pytest.approx(before.left_out_ms[7], rel=0.003)


def test_without_noise_and_borders_little_is_corrected() -> None:
    truth = make_truth(6, noise=0.001, operator_noise=0.0)
    counts = truth.counts(truth.space.sample(80, truth.rng))
    calibration = calibrate(
        truth.ops, truth.cost_ms, counts, counts @ truth.cost_ms * (1 + 1e-4 * counts[:, 0])
    )
    assert calibration.cost_ms == pytest.approx(truth.cost_ms, rel=0.05)
    assert abs(calibration.overhead_ms) < 0.02 * float((counts @ truth.cost_ms).mean())


def test_costs_are_floored_and_the_sum_stays_right() -> None:
    truth = make_truth(7, noise=0.005)
    counts = truth.counts(truth.space.sample(100, truth.rng))
    # Borders as dear as the median operator: small operators would cost less than nothing.
    isolated = truth.cost_ms + 5 * np.median(truth.cost_ms)
    times = truth.measure(counts)
    calibration = calibrate(truth.ops, isolated, counts, times)
    assert (calibration.cost_ms >= FLOOR * isolated * (1 - 1e-12)).all()
    predicted = calibration.overhead_ms + counts @ calibration.cost_ms
    assert error_report(times, predicted).mape < 0.05
    assert abs(error_report(times, predicted).bias) < 0.01


def test_the_same_numbers_give_the_same_fit() -> None:
    truth = make_truth(8)
    counts = truth.counts(truth.space.sample(40, truth.rng))
    times = truth.measure(counts)
    one, other = (calibrate(truth.ops, truth.isolated_ms, counts, times) for _ in range(2))
    assert one.cost_ms.tolist() == other.cost_ms.tolist()
    assert one.scores.tolist() == other.scores.tolist()


def test_fewer_networks_than_operators_are_enough_to_beat_the_naive_sum() -> None:
    truth = make_truth(9)
    counts = truth.counts(truth.space.sample(20, truth.rng))
    calibration = calibrate(truth.ops, truth.isolated_ms, counts, truth.measure(counts))
    later = truth.counts(truth.space.sample(200, truth.rng))
    measured = truth.measure(later)
    report = error_report(measured, calibration.overhead_ms + later @ calibration.cost_ms)
    assert report.mape < 0.05


def test_an_error_report_by_hand() -> None:
    measured, predicted = np.array([1.0, 2.0, 4.0, 10.0]), np.array([1.04, 1.86, 4.36, 13.0])
    report = error_report(measured, predicted)
    assert report.n_networks == 4
    assert report.mape == pytest.approx((0.04 + 0.07 + 0.09 + 0.3) / 4, abs=1e-6)
    assert (report.within_5_percent, report.within_10_percent) == (0.25, 0.75)
    assert report.spearman == 1.0
    assert report.bias == pytest.approx((0.04 - 0.07 + 0.09 + 0.3) / 4, abs=1e-6)
