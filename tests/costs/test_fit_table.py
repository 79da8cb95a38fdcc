"""Fitted and transferred tables: rows of every operator, and records that say how good they are."""

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.core.architecture import Genes
from edgenas.core.counts import n_macs
from edgenas.core.errors import MissingCostError, UsageError
from edgenas.core.ops import OpSpec
from edgenas.costs.conformal import interval
from edgenas.costs.counts import operator_counts
from edgenas.costs.drift import DriftParts
from edgenas.costs.fit_table import fit_table, transfer_table
from edgenas.costs.rows import checked
from edgenas.costs.table import CostTable
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import expand
from tests.costs.conftest import table_of_kind
from tests.costs.worlds import wander

Floats = npt.NDArray[np.float64]
SPACE = get("mbv3_tiny", resolutions=[28])


def price(op: OpSpec) -> float:
    """Returns made-up milliseconds that differ from operator to operator."""
    graph = expand(op)
    return n_macs(graph) * 1e-6 + np.prod(graph.in_shape) * 1e-5 + len(op.key) * 1e-4


def times(space: SearchSpace, networks: Genes, seed: int = 0, n_sessions: int = 1) -> Floats:
    rng = np.random.default_rng(seed)
    ops = space.distinct_ops()
    cost = np.array([price(op) for op in ops])
    exact = 0.01 + operator_counts(space, networks, ops) @ cost
    levels = np.linspace(1, 1.03, n_sessions)[:, None]
    measured: Floats = levels * exact * (1 + 0.005 * rng.normal(size=(n_sessions, len(exact))))
    return measured if n_sessions > 1 else measured[0]


def test_counts_are_those_of_the_networks() -> None:
    networks = SPACE.sample(5, np.random.default_rng(0))
    ops: list[OpSpec] = SPACE.distinct_ops()
    counts = operator_counts(SPACE, networks, ops)
    for row, genes in zip(counts, networks, strict=True):
        used = [ops.index(op) for _, op in SPACE.ops(genes)]
        assert row.sum() == len(used)
        assert (np.bincount(used, minlength=len(ops)) == row).all()


def test_a_table_is_fitted_from_whole_networks_alone() -> None:
    networks = SPACE.sample(120, np.random.default_rng(1))
    found = fit_table(SPACE, networks, times(SPACE, networks))
    ops = SPACE.distinct_ops()
    assert [row.operator for row in found.rows] == [op.key for op in ops]
    assert all(row.isolated is None and row.std is not None for row in found.rows)
    new = SPACE.sample(200, np.random.default_rng(2))
    counts = operator_counts(SPACE, new, ops)
    costs = np.array([row.cost for row in found.rows])
    predicted = found.calibration.overhead_ms + counts @ costs
    assert np.abs(predicted / times(SPACE, new, 3) - 1).mean() < 0.02
    record = found.calibration
    assert record.n_networks == 120
    assert record.held_out.mape < 0.02
    assert record.session_ratios is None
    assert record.naive_sum is None
    assert record.noise_ceiling is None
    assert len(record.scores) == 120
    used = operator_counts(SPACE, networks, ops)
    assert found.rows[3].n_visits == int((used[:, 3] > 0).sum())


def test_prices_of_the_prior_are_those_of_the_networks_that_are_seen() -> None:
    networks = SPACE.sample(40, np.random.default_rng(13))
    found = fit_table(SPACE, networks, times(SPACE, networks)).fitted
    everything, some = np.ones(40, dtype=bool), np.arange(40) < 36
    whole, part = (found.prior_of(seen).mean_ms[1:] for seen in (everything, some))
    assert np.ptp(part / whole) > 1e-6  # other proportions, not another level alone


def test_several_sessions_widen_the_scores() -> None:
    networks = SPACE.sample(60, np.random.default_rng(4))
    one = fit_table(SPACE, networks, times(SPACE, networks)).calibration
    record = fit_table(SPACE, networks, times(SPACE, networks, n_sessions=4)).calibration
    assert record.session_ratios is not None
    assert len(record.session_ratios) == 4
    assert np.median(record.session_ratios) == pytest.approx(1, abs=1e-6)
    assert record.noise_ceiling is not None
    assert record.noise_ceiling.mape < 0.03
    assert record.held_out.n_networks == 4 * 60
    assert record.scores[-1] - record.scores[0] > one.scores[-1] - one.scores[0]


def test_drift_of_the_machine_stays_out_of_a_fitted_table() -> None:
    networks = SPACE.sample(120, np.random.default_rng(5))
    at = np.arange(120.0)
    level = 1 + 0.15 * np.sin(at / 15)
    drifting = times(SPACE, networks) * level
    plain = fit_table(SPACE, networks, drifting).calibration.held_out
    found = fit_table(SPACE, networks, drifting, times_at=at)
    assert found.calibration.held_out.mape < 0.5 * plain.mape
    assert "slow_length" in found.calibration.hyperparameters
    before, after = (
        found.calibration.autocorrelation,
        found.calibration.autocorrelation_without_drift,
    )
    assert before is not None
    assert after is not None
    assert after < 0.3
    assert before > 0.7
    with pytest.raises(UsageError, match="one session"):
        fit_table(SPACE, networks, np.vstack([drifting, drifting]), times_at=at)


def test_a_network_does_not_explain_its_own_error_as_drift() -> None:
    """Noise has no memory: no level that others show makes a network's own noise smaller."""
    rng = np.random.default_rng(14)
    networks = SPACE.sample(100, rng)
    noise = 0.04 * rng.normal(size=100)
    level = 1 + wander(DriftParts(0.15, 4.0, 0.0, 1.0, 0.0), 100, rng)
    noisy = times(SPACE, networks) * level * (1 + noise)
    record = fit_table(SPACE, networks, noisy, times_at=np.arange(100.0)).calibration
    assert record.held_out.mape > 0.9 * np.abs(noise).mean()


def test_intervals_hold_on_a_machine_that_drifts(space: SearchSpace) -> None:
    """Ninety of a hundred networks timed at any later moment are inside; noise alone holds few."""
    rng = np.random.default_rng(15)
    ops = space.distinct_ops()
    parts = DriftParts(0.05, 3.0, 0.08, 12.0, 0.0)
    inside: list[float] = []
    of_noise: list[float] = []
    for _ in range(6):
        timed, new = space.sample(120, rng), space.sample(2000, rng)
        level = 1 + wander(parts, 6000, rng)
        later = level[rng.integers(500, 6000, 2000)] * times(space, new, int(rng.integers(1000)))
        found = fit_table(
            space, timed, times(space, timed) * level[:120], times_at=np.arange(120.0)
        )
        counts = operator_counts(space, new, ops)
        errors = later / found.fitted.predict(counts) - 1
        promised = np.array(found.calibration.scores)
        for scores, shares in ((promised, inside), (found.fitted.scores, of_noise)):
            low, high = interval(scores, 0.9)
            shares.append(float(((errors >= low) & (errors <= high)).mean()))
    assert 0.84 < np.mean(inside) < 0.96
    assert np.mean(of_noise) < 0.7


def test_a_table_is_carried_with_ten_networks(space: SearchSpace, table: CostTable) -> None:
    networks = space.sample(10, np.random.default_rng(6))
    found = transfer_table(table, space, networks, 2 * times(space, networks))
    assert found.ratio == pytest.approx(2, rel=0.3)
    new = space.sample(50, np.random.default_rng(7))
    counts = operator_counts(space, new, space.distinct_ops())
    predicted = found.calibration.overhead_ms + counts @ [row.cost for row in found.rows]
    assert np.abs(predicted / (2 * times(space, new, 8)) - 1).mean() < 0.05
    assert len(found.calibration.scores) == 200
    assert found.calibration.n_networks == 10
    again = transfer_table(table, space, networks, 2 * times(space, networks, n_sessions=3))
    assert again.calibration.session_ratios is not None
    for row in found.rows:
        assert checked(row, table.passport.model_copy(update={"provenance": "transferred"}), "t")


def test_a_prior_table_is_believed_where_networks_say_nothing(
    space: SearchSpace, table: CostTable
) -> None:
    networks = space.sample(40, np.random.default_rng(9))
    found = fit_table(space, networks, times(space, networks), prior_table=table)
    assert found.calibration.held_out.mape < 0.02


def test_a_prior_table_without_an_operator_is_refused(space: SearchSpace, table: CostTable) -> None:
    table.rows.pop(space.distinct_ops()[0].key)
    networks = space.sample(10, np.random.default_rng(10))
    with pytest.raises(MissingCostError):
        fit_table(space, networks, times(space, networks), prior_table=table)
    with pytest.raises(MissingCostError):
        transfer_table(table, space, networks, times(space, networks))


def test_a_prior_table_of_another_kind_is_refused(space: SearchSpace, table: CostTable) -> None:
    networks = space.sample(10, np.random.default_rng(12))
    energy = table_of_kind(table, "energy")
    with pytest.raises(UsageError, match="holds energy in mJ; a table of latencies is needed"):
        fit_table(space, networks, times(space, networks), prior_table=energy)
    with pytest.raises(UsageError, match="a table of latencies is needed"):
        transfer_table(energy, space, networks, times(space, networks))


def test_timings_of_other_networks_are_refused() -> None:
    networks = SPACE.sample(10, np.random.default_rng(11))
    with pytest.raises(UsageError, match="for 10 networks"):
        fit_table(SPACE, networks, np.ones(9))
