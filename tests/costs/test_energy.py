"""Energies of operators, against powers that are known."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.core.errors import CostError
from edgenas.core.ops import OpSpec
from edgenas.costs.energy import energy_prior, power_by_kind
from edgenas.costs.features import operator_features, similarity
from edgenas.costs.fit import fit_costs
from edgenas.spaces import get

Floats = npt.NDArray[np.float64]


@dataclass
class Truth:
    ops: list[OpSpec]
    time_ms: Floats
    energy_mj: Floats
    counts: Floats
    network_mj: Floats
    powers_mw: dict[str, float]


@pytest.fixture(scope="module")
def truth() -> Truth:
    """Networks of a space whose kinds of operators draw powers of their own, measured to 2 %."""
    space = get("mbv3_tiny", resolutions=[28])
    rng = np.random.default_rng(0)
    ops = space.distinct_ops()
    place = {op: i for i, op in enumerate(ops)}
    rows = space.sample(160, rng)
    counts = np.zeros((len(rows), len(ops)))
    for i, row in enumerate(rows):
        for _, op in space.ops(row):
            counts[i, place[op]] += 1
    time_ms = rng.uniform(0.02, 0.3, len(ops))
    kinds = sorted({op.kind for op in ops})
    powers_mw = dict(zip(kinds, rng.uniform(1500, 6000, len(kinds)), strict=True))
    own = np.array([powers_mw[op.kind] for op in ops]) * rng.normal(1, 0.05, len(ops))
    energy_mj = own * time_ms / 1e3
    network_mj = (1.5 + counts @ energy_mj) * rng.normal(1, 0.02, len(rows))
    return Truth(ops, time_ms, energy_mj, counts, network_mj, powers_mw)


def test_networks_that_were_not_fitted_are_predicted(truth: Truth) -> None:
    seen = slice(0, 100)
    counts, network_mj = truth.counts[seen], truth.network_mj[seen]
    prior = energy_prior(truth.ops, truth.time_ms, counts, network_mj)
    alike = similarity(operator_features(truth.ops))
    fitted = fit_costs(counts, network_mj, prior, similarity=alike)
    predicted = fitted.overhead_ms + truth.counts[100:] @ fitted.cost_ms
    exact = 1.5 + truth.counts[100:] @ truth.energy_mj
    assert np.abs(predicted / exact - 1).mean() < 0.02
    assert (fitted.cost_ms > 0).all()
    # The time alone, at one power for all, does not do as well.
    watts = truth.network_mj[seen].sum() / (truth.counts[seen] @ truth.time_ms).sum()
    naive = truth.counts[100:] @ truth.time_ms * watts
    assert np.abs(naive / exact - 1).mean() > 2 * np.abs(predicted / exact - 1).mean()


def test_the_power_of_the_kind_that_most_time_is_spent_in_is_found(truth: Truth) -> None:
    found = power_by_kind(truth.ops, truth.time_ms, truth.counts, truth.network_mj)
    assert set(found) == set(truth.powers_mw)
    assert all(power >= 0 for power in found.values())
    share = dict.fromkeys(found, 0.0)
    for op, time_ms in zip(truth.ops, truth.counts.sum(axis=0) * truth.time_ms, strict=True):
        share[op.kind] += time_ms
    main = max(share, key=lambda kind: share[kind])
    assert found[main] == pytest.approx(truth.powers_mw[main], rel=0.2)


def test_a_fit_may_leave_networks_out(truth: Truth) -> None:
    few = slice(0, 18)
    prior = energy_prior(truth.ops, truth.time_ms, truth.counts[few], truth.network_mj[few])
    assert (prior > 0).all()
    assert np.median(np.abs(prior / truth.energy_mj - 1)) < 0.5
    with pytest.raises(CostError, match="energies of 18 networks; at least 20"):
        power_by_kind(truth.ops, truth.time_ms, truth.counts[few], truth.network_mj[few])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network_mj": np.ones(5), "counts": np.ones((5, 3))}, "energies of 5 networks"),
        ({"network_mj": np.r_[0.0, np.ones(29)]}, "an energy is zero, negative or not finite"),
        ({"network_mj": np.r_[np.nan, np.ones(29)]}, "an energy is zero, negative"),
        ({"time_ms": np.array([1.0, -1.0, 1.0])}, "a time is zero"),
        ({"counts": np.zeros((30, 3))}, "runs no operators"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    truth: Truth, change: dict[str, Floats], message: str
) -> None:
    values = {
        "time_ms": np.ones(3),
        "counts": np.ones((30, 3)),
        "network_mj": np.ones(30),
        **change,
    }
    with pytest.raises(CostError, match=message):
        power_by_kind(truth.ops[:3], **values)
