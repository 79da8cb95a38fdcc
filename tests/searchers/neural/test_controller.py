"""The recurrent controller."""

import numpy as np
import pytest
import torch

from edgenas import spaces
from edgenas.searchers.gene_order import gene_order
from edgenas.searchers.neural.controller import Controller
from edgenas.searchers.neural.updates import ProximalPolicy, Reinforce
from edgenas.searchers.policy import Lesson
from edgenas.spaces.base import Factor, Gene, SearchSpace
from edgenas.spaces.listing import listing
from edgenas.testing.searcher_contract import every_architecture, tiny_space


def controller(n_conditions: int = 1, *, scale: float = 8.0) -> Controller:
    made = Controller(tiny_space(), n_conditions=n_conditions, n_hidden=12, seed=0)
    with torch.no_grad():
        for weights in made.parameters():
            weights.mul_(scale)  # far from uniform
    return made


def test_probabilities_of_all_architectures_sum_to_one_under_every_condition() -> None:
    logs = controller(3).log_table(every_architecture(tiny_space()))
    np.testing.assert_allclose(np.exp(logs).sum(axis=0), 1.0, atol=1e-9)
    assert np.abs(logs[:, 0] - logs[:, 1]).max() > 0.1


def test_probabilities_sum_to_one_where_skips_move_to_the_end() -> None:
    space = spaces.get("nas_bench_macro", n_layers=[1, 3])
    assert space.sequences
    made = Controller(space, n_conditions=1, n_hidden=12, seed=0)
    with torch.no_grad():
        for weights in made.parameters():
            weights.mul_(8.0)
    every = listing(space)
    assert every is not None
    p = np.exp(made.log_table(every)[:, 0])
    assert p.sum() == pytest.approx(1.0)
    n = 20_000
    drawn = made.sample(np.zeros(n, dtype=np.int64), np.random.default_rng(0))
    keys = {row.tobytes(): i for i, row in enumerate(every)}
    counts = np.bincount([keys[row.tobytes()] for row in drawn], minlength=len(every))
    assert np.abs(counts / n - p).max() < 0.02


def test_torch_s_own_seed_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    controller()
    assert torch.rand(1) == expected


def test_samples_are_as_frequent_as_their_probabilities() -> None:
    made, every = controller(2), every_architecture(tiny_space())
    n = 40_000
    drawn = made.sample(np.ones(n, dtype=np.int64), np.random.default_rng(1))
    keys = {row.tobytes(): i for i, row in enumerate(every)}
    counts = np.bincount([keys[row.tobytes()] for row in drawn], minlength=len(every))
    p = np.exp(made.log_table(every)[:, 1])
    deviations = (counts - n * p) / np.sqrt(n * p * (1 - p) + 1e-9)
    assert np.abs(deviations[n * p > 20]).max() < 4.5
    assert np.mean(deviations[n * p > 20] ** 2) < 1.4


def test_the_mixture_is_the_mean_of_the_conditions() -> None:
    made, every = controller(3), every_architecture(tiny_space())[:20]
    np.testing.assert_allclose(
        np.exp(made.mixture(every)), np.exp(made.log_table(every)).mean(axis=1), rtol=1e-9
    )


def test_entropy_is_largest_when_nothing_is_decided() -> None:
    every = every_architecture(tiny_space())
    conditions = np.zeros(len(every), dtype=np.int64)
    undecided, decided = controller(scale=0.0), controller(scale=40.0)
    _, high = undecided.log_probabilities(every, conditions)
    _, low = decided.log_probabilities(every, conditions)
    assert high.mean() > low.mean()
    assert high.max().item() <= np.log(3) + 1e-9


def test_parents_come_before_what_they_make_active() -> None:
    genes = (Gene("late", (1, 2), "early", (2,)), Gene("early", (1, 2)))
    space = SearchSpace(
        "s",
        genes,
        tuple(Factor(g.name, (g.name,), lambda _: ()) for g in genes),
        parameters={},
        n_classes=2,
    )
    assert gene_order(space) == [1, 0]


def lesson(genes: np.ndarray, advantages: list[float]) -> Lesson:
    n = len(genes)
    return Lesson(genes, np.zeros(n, np.int64), np.array(advantages), np.full(n, 1 / n))


def test_an_update_makes_the_better_likelier_and_the_worse_less_likely() -> None:
    every = every_architecture(tiny_space())[[3, 200]]
    for update in (Reinforce, ProximalPolicy):
        made = controller(scale=1.0)
        before = made.log_table(every)[:, 0]
        kinds = {"clip": 0.2, "n_steps": 3} if update is ProximalPolicy else {}
        update(made, rate=0.01, entropy_weight=0.0, **kinds)(lesson(every, [1.0, -1.0]))  # type: ignore[call-arg]
        after = made.log_table(every)[:, 0]
        assert after[0] > before[0]
        assert after[1] < before[1]


def test_proximal_steps_stop_at_the_clip() -> None:
    every = every_architecture(tiny_space())[[3]]
    made = controller(scale=1.0)
    before = made.log_table(every)[0, 0]
    ProximalPolicy(made, rate=0.001, entropy_weight=0.0, clip=0.2, n_steps=400)(
        lesson(every, [1.0])
    )
    # Beyond the clip the gradient is 0; what is left is the momentum of the last steps.
    assert np.log(1.2) < made.log_table(every)[0, 0] - before < np.log(1.6)


def test_reinforce_follows_the_gradient_of_the_expected_reward() -> None:
    """The gain's gradient over all architectures, weighted by probability, is that of E[R]."""
    made, every = controller(), every_architecture(tiny_space())
    rewards = np.random.default_rng(0).normal(size=len(every))
    conditions = np.zeros(len(every), dtype=np.int64)
    logs, _ = made.log_probabilities(every, conditions)
    expected = (logs.exp() * torch.from_numpy(rewards)).sum()
    wanted = torch.autograd.grad(expected, list(made.parameters()))
    p = np.exp(made.log_table(every)[:, 0])
    whole = Lesson(every, conditions, rewards, p)
    logs, _ = made.log_probabilities(whole.genes, whole.conditions)
    gain = (torch.from_numpy(whole.weights * whole.advantages) * logs).sum()
    found = torch.autograd.grad(gain, list(made.parameters()))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-6)
