"""A learned distribution tilted onto its budgets: by as little as it takes, of several costs."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from edgenas.oneshot.mixed.budget import settle
from edgenas.oneshot.mixed.expected import ExpectedCost
from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import macs, params
from tests.oneshot.mixed.small_spaces import small

TOLERANCE = 0.02


def learned(space: SearchSpace, seed: int) -> GeneLogits:
    """Return logits as a search leaves them: some options clearly ahead."""
    return GeneLogits(space, seed=seed, spread=1.5)


def costs_of(space: SearchSpace) -> dict[str, ExpectedCost]:
    return {"n_macs": ExpectedCost(macs(space)), "n_params": ExpectedCost(params(space))}


def expected(costs: dict[str, ExpectedCost], logits: GeneLogits) -> dict[str, float]:
    chances = logits.probabilities()
    return {name: float(cost(chances).detach()) for name, cost in costs.items()}


@pytest.mark.parametrize("shares", [(0.7, 1.5), (1.5, 0.8), (0.8, 0.8), (1.3, 1.2)])
@pytest.mark.parametrize("kind", ["once-for-all", "fbnet", "cell"])
def test_the_tightest_of_two_budgets_is_kept_and_reached(
    kind: str, shares: tuple[float, float]
) -> None:
    space = small(kind)
    costs, logits = costs_of(space), learned(space, 0)
    before = expected(costs, logits)
    budgets = {name: share * before[name] for name, share in zip(costs, shares, strict=True)}
    assert settle(logits, costs, budgets, tolerance=TOLERANCE)
    after = expected(costs, logits)
    ratios = [after[name] / budgets[name] for name in costs]
    assert 1 - TOLERANCE <= max(ratios) <= 1


def test_what_is_on_its_budget_is_left_alone() -> None:
    space = small("fbnet")
    costs, logits = costs_of(space), learned(space, 1)
    budgets = {name: value * 1.005 for name, value in expected(costs, logits).items()}
    before = copy.deepcopy(logits.state_dict())
    assert settle(logits, costs, budgets)
    for name, value in logits.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_more_an_option_costs_the_less_likely_it_becomes() -> None:
    space = small("fbnet")
    cost, logits = ExpectedCost(macs(space)), learned(space, 2)
    column = space.index["stage2.layer0"]
    chances = {c: chance.detach() for c, chance in logits.probabilities().items()}
    n = len(chances[column])
    by_option = [float(cost({**chances, column: torch.eye(n)[i].double()})) for i in range(n)]
    before = logits.of(column).detach().clone()
    assert settle(logits, {"n_macs": cost}, {"n_macs": 0.8 * float(cost(chances))})
    shifts = (logits.of(column).detach() - before).tolist()
    assert np.argsort(by_option).tolist() == np.argsort(shifts)[::-1].tolist()


def test_a_budget_below_all_networks_is_told() -> None:
    space = small("fbnet")
    costs, logits = {"n_macs": ExpectedCost(macs(space))}, learned(space, 3)
    least = float(macs(space)(space.smallest()[None])[0])
    assert not settle(logits, costs, {"n_macs": 0.5 * least})
    assert np.isfinite(np.concatenate(logits.log_probabilities())).all()
