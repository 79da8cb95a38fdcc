"""How options are drawn, and what gradient comes back."""

import math

import numpy as np
import pytest
import torch

from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.oneshot.mixed.relaxations import RELAXATIONS, Draw, gumbel
from edgenas.spaces.base import SearchSpace
from tests.oneshot.mixed.small_spaces import small

N = 9
SPACE = small("fbnet")


def logits_of(space: SearchSpace = SPACE, seed: int = 0) -> GeneLogits:
    return GeneLogits(space, seed=seed, spread=1.0)


def test_gumbel_noise_has_its_mean_and_variance() -> None:
    noise = gumbel(200_000, torch.Generator().manual_seed(0))
    assert float(noise.mean()) == pytest.approx(np.euler_gamma, abs=0.01)
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, abs=0.03)


@pytest.mark.parametrize("name", ["gumbel_softmax", "gumbel_hard", "two_paths", "score_function"])
def test_options_are_drawn_by_their_probabilities(name: str) -> None:
    """The greatest weight of a Gumbel soft-max, and the one path of the others."""
    logits, relaxation = logits_of(), RELAXATIONS.get(name)()
    column = logits.columns[1]
    counts = np.zeros(N)
    n = 4000
    for seed in range(n):
        weights = relaxation.for_weights(logits, Draw(0.5, seed)).genes[column]
        counts[int(weights.value.argmax())] += 1
    wanted = n * logits.of(column).softmax(0).detach().numpy()
    chi_squared = float(((counts - wanted) ** 2 / wanted).sum())
    assert chi_squared < 26.1  # 8 degrees of freedom, p = 0.001


def test_a_warm_gumbel_soft_max_is_even_and_a_cold_one_is_one_option() -> None:
    logits, relaxation = logits_of(), RELAXATIONS.get("gumbel_softmax")()
    column = logits.columns[0]
    warm = relaxation.for_weights(logits, Draw(1000.0, 0)).genes[column].value
    cold = relaxation.for_weights(logits, Draw(0.01, 0)).genes[column].value
    assert float(warm.max() - warm.min()) < 0.01
    assert float(cold.max()) > 0.999


def test_the_full_gradient_of_binary_gates_is_the_closed_formula() -> None:
    """dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i), ProxylessNAS equation 4."""
    logits, relaxation = logits_of(), RELAXATIONS.get("binary_gates")()
    column = logits.columns[0]
    weights = relaxation.for_logits(logits, Draw(1.0, 3)).genes[column]
    assert sorted(weights.value.detach().round().tolist()) == [0.0] * (N - 1) + [1.0]
    upstream = torch.randn(N, generator=torch.Generator().manual_seed(5))
    (found,) = torch.autograd.grad(
        (weights.value * upstream).sum(), [logits.get_parameter(f"gene{column}")]
    )
    p = logits.of(column).softmax(0).detach().numpy()
    wanted = [
        sum(float(upstream[j]) * p[j] * ((i == j) - p[i]) for j in range(N)) for i in range(N)
    ]
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)


def test_two_paths_learn_as_if_they_were_all_and_the_others_keep_their_probability() -> None:
    logits, relaxation = logits_of(), RELAXATIONS.get("two_paths")()
    column = logits.columns[0]
    own = logits.get_parameter(f"gene{column}")
    draw = Draw(1.0, 11)
    weights = relaxation.for_logits(logits, draw).genes[column]
    pair = list(weights.runs)
    assert len(pair) == 2
    upstream = torch.randn(N, generator=torch.Generator().manual_seed(5))
    (found,) = torch.autograd.grad((weights.value * upstream).sum(), [own])
    p = logits.of(column).detach()[pair].softmax(0)
    wanted = [
        sum(float(upstream[pair[j]]) * float(p[j]) * ((i == j) - float(p[i])) for j in range(2))
        for i in range(2)
    ]
    np.testing.assert_allclose(found[pair].numpy(), wanted, atol=1e-6)
    others = [i for i in range(N) if i not in pair]
    assert not found[others].any()
    before = {c: v.detach().clone() for c, v in logits.all().items()}
    old = logits.probabilities()[column].detach().clone()
    with torch.no_grad():
        for c in logits.columns:  # as Adam does: momenta move the others, too
            logits.get_parameter(f"gene{c}").add_(0.3 * torch.randn(N))
    relaxation.after(logits, before, draw)
    new = logits.probabilities()[column].detach()
    torch.testing.assert_close(new[others], old[others])
    assert not torch.allclose(new[pair], old[pair])


def test_one_path_learns_by_the_relaxed_draw() -> None:
    logits, relaxation = logits_of(), RELAXATIONS.get("gumbel_hard")()
    column = logits.columns[0]
    weights = relaxation.for_logits(logits, Draw(2.0, 7)).genes[column]
    (chosen,) = weights.runs
    assert weights.value.detach().tolist() == pytest.approx(np.eye(N)[chosen].tolist(), abs=1e-6)
    (found,) = torch.autograd.grad(weights.value[chosen], [logits.get_parameter(f"gene{column}")])
    soft = RELAXATIONS.get("gumbel_softmax")().for_logits(logits, Draw(2.0, 7)).genes[column]
    (wanted,) = torch.autograd.grad(soft.value[chosen], [logits.get_parameter(f"gene{column}")])
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", list(RELAXATIONS))
def test_closed_options_never_run_and_never_come_back(name: str) -> None:
    logits, relaxation = logits_of(), RELAXATIONS.get(name)()
    column = logits.columns[0]
    for option in (0, 3, 4, 5, 6, 8):
        logits.close(column, option)
    assert logits.open_options(column) == [1, 2, 7]
    for seed in range(60):
        draw = Draw(1.0, seed)
        before = {c: v.detach().clone() for c, v in logits.all().items()}
        for mixture in (relaxation.for_weights(logits, draw), relaxation.for_logits(logits, draw)):
            assert {*mixture.runs(column)} <= {1, 2, 7}
            assert float(mixture.genes[column].value.detach()[[0, 3, 4, 5, 6, 8]].abs().sum()) == 0
        relaxation.after(logits, before, draw)
        assert all(torch.isfinite(p).all() for p in logits.parameters())
    for option in (1, 2, 7):
        logits.close(column, option)
    assert len(logits.open_options(column)) == 1


@pytest.mark.parametrize("name", list(RELAXATIONS))
def test_the_same_seed_is_the_same_draw(name: str) -> None:
    relaxation, logits = RELAXATIONS.get(name)(), logits_of()

    def values(seed: int) -> torch.Tensor:
        mixture = relaxation.for_weights(logits, Draw(1.0, seed))
        return torch.cat([one.value for one in mixture.genes.values()])

    torch.testing.assert_close(values(4), values(4))
    is_random = name != "softmax"
    assert any(not torch.equal(values(4), values(seed)) for seed in range(5, 9)) == is_random
