"""What logits learn from in a step: against closed formulas and enumeration."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgenas.oneshot.mixed.bilevel import look_ahead
from edgenas.oneshot.mixed.expected import ExpectedCost
from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.oneshot.mixed.relaxations import RELAXATIONS, Draw
from edgenas.spaces.fold import macs
from tests.oneshot.mixed.small_spaces import small

GRADIENT = [name for name in RELAXATIONS if RELAXATIONS.get(name).is_gradient]


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize("kind", ["fbnet", "once-for-all"])
def test_logits_that_learn_costs_alone_end_at_the_cheapest(name: str, kind: str) -> None:
    """Steps of plain gradient descent, each mended as the method says, never make it dearer."""
    space = small(kind)
    expected, relaxation = ExpectedCost(macs(space)), RELAXATIONS.get(name)()
    logits = GeneLogits(space, seed=0, spread=0.5)
    least = float(macs(space)(space.smallest()[None])[0])
    before = first = float(expected(logits.probabilities()).detach())
    for step in range(400):
        draw = Draw(1.0, step)
        old = {c: v.detach().clone() for c, v in logits.all().items()}
        mixture = relaxation.for_logits(logits, draw)
        cost = expected(relaxation.chances(logits, mixture)) / first
        gradients = torch.autograd.grad(cost, list(logits.parameters()), allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(logits.parameters(), gradients, strict=True):
                if gradient is not None:
                    parameter.sub_(2.0 * gradient)
        relaxation.after(logits, old, draw)
        now = float(expected(logits.probabilities()).detach())
        assert now <= before * (1 + 1e-6)
        before = now
    assert before < first - 0.3 * (first - least)


def test_rewards_of_drawn_networks_have_the_gradient_of_their_mean() -> None:
    """REINFORCE against enumeration: E[R] of a space of two genes, many draws."""
    space = small("fbnet")
    relaxation = RELAXATIONS.get("score_function")()
    logits = GeneLogits(space, seed=1, spread=0.5)
    columns = logits.columns[:2]
    rng = np.random.default_rng(0)
    table = rng.random([int(space.n_options[c]) for c in columns])
    found = [torch.zeros(int(space.n_options[c])) for c in columns]
    n = 6000
    for seed in range(n):
        mixture = relaxation.for_logits(logits, Draw(1.0, seed))
        chosen = [mixture.runs(c)[0] for c in columns]
        score = torch.stack(
            [logits.of(c).log_softmax(0)[o] for c, o in zip(columns, chosen, strict=True)]
        ).sum()
        own = [logits.get_parameter(f"gene{c}") for c in columns]
        gradients = torch.autograd.grad(score, own)
        weight = (float(table[tuple(chosen)]) - 0.5) / n
        found = [f + weight * g for f, g in zip(found, gradients, strict=True)]
    first, second = (logits.of(c).softmax(0) for c in columns)
    mean = sum(
        float(table[i, j]) * first[i] * second[j] for i, j in product(*map(range, table.shape))
    )
    assert isinstance(mean, Tensor)
    wanted = torch.autograd.grad(mean, [logits.get_parameter(f"gene{c}") for c in columns])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=0.01, rtol=0.0)


def test_the_second_order_step_is_the_exact_gradient_through_one_step() -> None:
    """DARTS, equation 6, on quadratic losses, of which differences are exact."""
    torch.manual_seed(0)
    w, a = nn.Parameter(torch.randn(4).double()), nn.Parameter(torch.randn(3).double())
    mix = torch.randn(4, 3).double()
    square = torch.randn(4, 4).double()

    def training(weights: Tensor, choices: Tensor) -> Tensor:
        return (weights - mix @ choices).square().sum() + (square @ weights).square().sum()

    def validation(weights: Tensor, choices: Tensor) -> Tensor:
        return (weights + 0.3 * mix @ choices).square().sum() + choices.square().sum()

    def gradients(loss, parameters):  # type: ignore[no-untyped-def]
        with torch.enable_grad():
            return list(torch.autograd.grad(loss(w, a), parameters))

    lr = 0.01
    (step,) = torch.autograd.grad(training(w, a), [w], create_graph=True)
    (wanted,) = torch.autograd.grad(validation(w - lr * step, a), [a])
    before = w.detach().clone()
    (found,) = look_ahead(
        [w],
        [a],
        training=lambda parameters: gradients(training, parameters),
        validation=lambda parameters: gradients(validation, parameters),
        lr=lr,
    )
    assert found is not None
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(w.detach(), before)


def test_replacing_settings_keeps_them_checked() -> None:
    from edgenas.core.errors import UsageError
    from edgenas.oneshot.mixed.loss_settings import LossSettings
    from edgenas.oneshot.mixed.settings import method

    with pytest.raises(UsageError, match="loss="):
        replace(method("proxylessnas_reinforce"), loss=LossSettings(form="sum"))
    with pytest.raises(UsageError, match="order=2"):
        replace(method("proxylessnas_reinforce"), order=2)
