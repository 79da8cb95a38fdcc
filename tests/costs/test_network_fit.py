"""Costs that only whole networks show: each kind's truth is found again from its networks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.ops import OpSpec
from edgenas.costs import network_fit
from edgenas.costs.features import operator_drivers
from edgenas.costs.fit_table import operator_counts
from edgenas.costs.kinds import KINDS, Kind
from edgenas.costs.network_fit import LEAST_NETWORKS, fit_networks
from edgenas.costs.passport import Passport
from edgenas.costs.repeated import Repeated
from edgenas.costs.rows import Row
from edgenas.costs.table import CostTable
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from tests.costs.conftest import made_up_passport, price

Floats = npt.NDArray[np.float64]
OTHERS = [kind for kind in KINDS if kind != "latency"]
OVERHEAD = {"energy": 0.1, "load": 5.0, "cold_start": 5.0, "peak_memory": 9.0, "sustained_p95": 0.1}


@dataclass
class World:
    space: SearchSpace
    ops: list[OpSpec]
    networks: Genes
    counts: Floats
    latency: CostTable

    def costs(self, kind: Kind) -> Floats:
        """Returns what every operator costs, by made-up prices of its drivers."""
        *_, moved, weights, n_primitives = operator_drivers(self.ops).T
        times = np.array([price(op) for op in self.ops])
        found: dict[Kind, Floats] = {
            "energy": 3.0 * times,
            "load": 1e-4 * weights + 0.3 * n_primitives,
            "cold_start": 1e-4 * weights + 0.3 * n_primitives + 2 * times,
            "peak_memory": 2e-5 * weights + 1e-7 * moved,
            "sustained_p95": 1.3 * times,
        }
        return found[kind]

    def measured(self, kind: Kind, n_sessions: int = 1, noise: float = 0.01) -> Floats:
        rng = np.random.default_rng(0)
        exact = OVERHEAD[kind] + self.counts @ self.costs(kind)
        return exact * rng.normal(1, noise, (n_sessions, len(exact)))


@pytest.fixture(scope="module")
def world() -> World:
    space = get("mbv3_tiny", resolutions=[16, 20], kernels=[3, 5], expansions=[2, 3])
    networks = space.sample(60, np.random.default_rng(1))
    ops = space.distinct_ops()
    rows = [Row(op.key, price(op), price(op) / 50, price(op), 4) for op in ops]
    latency = CostTable(rows, Passport.model_validate(made_up_passport(space)))
    return World(space, ops, networks, operator_counts(space, networks, ops), latency)


@pytest.mark.parametrize("kind", OTHERS)
def test_networks_that_were_not_measured_are_predicted(world: World, kind: Kind) -> None:
    rows, fit = fit_networks(
        world.space,
        kind,
        world.networks[:40],
        world.measured(kind, 2)[:, :40],
        latency=world.latency,
    )
    assert [row.operator for row in rows] == [op.key for op in world.ops]
    assert all(row.cost > 0 and row.isolated is None for row in rows)
    assert (fit.n_networks, fit.naive_sum) == (40, None)
    predicted = fit.overhead + world.counts[40:] @ [row.cost for row in rows]
    exact = OVERHEAD[kind] + world.counts[40:] @ world.costs(kind)
    assert np.abs(predicted / exact - 1).mean() < 0.01
    assert fit.held_out.mape < 0.02
    assert fit.noise_ceiling is not None
    low, high = fit.value_range
    assert low < float(np.median(exact)) < high


def test_memory_is_not_moved_by_sessions(world: World) -> None:
    """A machine's speed moves times: intervals of few sessions are wider than what was seen."""
    spread = {}
    for kind in ("load", "peak_memory"):
        costs = world.measured(kind, 2, noise=0.002)
        _, fit = fit_networks(world.space, kind, world.networks, costs)
        spread[kind] = float(np.ptp(np.quantile(fit.scores, [0.05, 0.95])))
    assert spread["peak_memory"] < 0.015
    assert spread["load"] > 2 * spread["peak_memory"]


@pytest.mark.parametrize(
    ("kind", "prior"), [("energy", "energy_prior"), ("load", "driven_prior")], ids=str
)
def test_networks_left_out_have_no_part_in_the_prior(
    world: World, kind: Kind, prior: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = getattr(network_fit, prior), []

    def watched(*arguments: Any) -> Any:
        seen.append(len(arguments[-1]))
        return real(*arguments)

    monkeypatch.setattr(network_fit, prior, watched)
    costs = world.measured(kind)[:, :LEAST_NETWORKS]
    networks = world.networks[:LEAST_NETWORKS]
    fit_networks(world.space, kind, networks, costs, latency=world.latency)
    assert set(seen) == {LEAST_NETWORKS, LEAST_NETWORKS - 2}
    assert seen.count(LEAST_NETWORKS - 2) == 10


def test_one_session_has_no_ceiling(world: World) -> None:
    _, fit = fit_networks(world.space, "load", world.networks, world.measured("load"))
    assert fit.session_ratios is None
    assert fit.noise_ceiling is None
    assert len(fit.scores) == len(world.networks)


@pytest.mark.parametrize("kind", ["energy", "cold_start", "sustained_p95"])
def test_what_starts_from_latencies_needs_them(world: World, kind: Kind) -> None:
    with pytest.raises(UsageError, match=f"{kind} starts from a table of latencies"):
        fit_networks(world.space, kind, world.networks, world.measured(kind))


def test_what_cannot_be_fitted_is_refused(world: World) -> None:
    few = LEAST_NETWORKS - 1
    with pytest.raises(UsageError, match=f"{few} networks; at least {LEAST_NETWORKS}"):
        fit_networks(world.space, "load", world.networks[:few], world.measured("load")[:, :few])
    with pytest.raises(UsageError, match="are not fitted to whole networks"):
        fit_networks(world.space, "latency", world.networks, world.measured("load"))
    with pytest.raises(UsageError, match="expected"):
        fit_networks(world.space, "load", world.networks, world.measured("load")[:, :30])
    bad = world.measured("energy")
    bad[0, 3] = 0.0
    with pytest.raises(UsageError, match="cost is 0, negative or not a number"):
        fit_networks(world.space, "energy", world.networks, bad, latency=world.latency)


def test_sessions_are_brought_to_their_typical_level() -> None:
    exact = np.array([1.0, 2.0, 4.0, 8.0])
    sessions = Repeated.of(np.outer([0.9, 1.0, 1.1], exact), 4)
    assert sessions.again
    assert sessions.levels == pytest.approx([0.9, 1.0, 1.1])
    assert sessions.typical == pytest.approx(exact)
    once = Repeated.of(exact, 4)
    assert not once.again
    assert once.levels == pytest.approx([1.0])
