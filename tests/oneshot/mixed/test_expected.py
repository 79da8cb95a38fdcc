"""Expected costs against the sum over all architectures, and their gradients."""

import numpy as np
import pytest
import torch

from edgenas.oneshot.mixed.expected import ExpectedCost
from edgenas.oneshot.mixed.mixture import frozen
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import Fold, macs, peak_activation_kib
from tests.oneshot.mixed.small_spaces import random_probabilities, small

COUNTS = {"macs": macs, "peak": peak_activation_kib}


def enumerated(space: SearchSpace, fold: Fold, probabilities: dict[int, torch.Tensor]) -> float:
    """Return the mean over all combinations of options, active or not."""
    grid = np.indices(space.n_options.tolist(), dtype=np.int8).reshape(space.n_genes, -1).T
    chance = np.ones(len(grid))
    for column, own in probabilities.items():
        chance = chance * own.detach().numpy()[grid[:, column]]
    return float(chance @ fold(space.canonical(grid)))


@pytest.mark.parametrize("count", COUNTS)
def test_it_equals_enumeration(space: SearchSpace, count: str) -> None:
    fold = COUNTS[count](space)
    for seed in range(2):
        chances = random_probabilities(space, seed)
        wanted = enumerated(space, fold, chances)
        assert float(ExpectedCost(fold)(chances)) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("count", COUNTS)
def test_of_one_architecture_it_is_its_cost(space: SearchSpace, count: str) -> None:
    fold = COUNTS[count](space)
    expected = ExpectedCost(fold)
    for row in space.sample(5, np.random.default_rng(0)):
        chances = {c: one.value for c, one in frozen(space, row).genes.items()}
        assert float(expected(chances)) == pytest.approx(fold(row[None])[0], rel=1e-9)


@pytest.mark.parametrize("count", COUNTS)
def test_its_gradient_equals_finite_differences(space: SearchSpace, count: str) -> None:
    expected = ExpectedCost(COUNTS[count](space))
    logits = [p.log().requires_grad_() for p in random_probabilities(space, 3).values()]
    columns = list(random_probabilities(space, 3))

    def cost(*values: torch.Tensor) -> torch.Tensor:
        return expected({c: v.softmax(0) for c, v in zip(columns, values, strict=True)}) / 1e3

    assert torch.autograd.gradcheck(cost, logits, eps=1e-5, atol=1e-4, rtol=1e-5)


def test_an_offset_is_added_once() -> None:
    space = small("fbnet")
    plain = macs(space)
    more = Fold(space, plain.tables, offset=7.0)
    chances = random_probabilities(space, 0)
    found = float(ExpectedCost(more)(chances)) - float(ExpectedCost(plain)(chances))
    assert found == pytest.approx(7.0)
