"""What logits learn from in a step: against closed formulas and enumeration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgenas.core.errors import UsageError
from edgenas.oneshot.data import load_dataset
from edgenas.oneshot.gradients import Share
from edgenas.oneshot.mixed.bilevel import look_ahead
from edgenas.oneshot.mixed.expected import ExpectedCost
from edgenas.oneshot.mixed.lessons import MixedLessons, Moment
from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.oneshot.mixed.loss_settings import LossSettings
from edgenas.oneshot.mixed.mixture import Mixture
from edgenas.oneshot.mixed.network import How, MixedNetwork
from edgenas.oneshot.mixed.relaxations import RELAXATIONS, Draw
from edgenas.oneshot.mixed.settings import DifferentiableSettings, method
from edgenas.oneshot.mixed.state import Distribution
from edgenas.oneshot.supernet import Supernet
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


def lessons_of(kind: str, settings: DifferentiableSettings) -> tuple[MixedLessons, Distribution]:
    """Return the lessons of a small space, and a distribution that has already learned."""
    space = small(kind)
    dataset = load_dataset("digits")
    supernet = Supernet(space, seed=0, weights=settings.weights)
    cost = ExpectedCost(macs(space))
    lessons = MixedLessons(MixedNetwork(supernet, space), dataset, settings, costs={"n_macs": cost})
    middle = float(cost(GeneLogits(space).probabilities()).detach())
    one = Distribution(space, settings, budgets={"n_macs": middle}, is_reachable=True, seed=1)
    one.after_step(0.5, 0.9)
    return lessons, one


def test_rewards_have_the_gradient_of_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses of REINFORCE over many draws against the sum over all networks."""
    settings = replace(method("proxylessnas_reinforce"), loss=LossSettings(beta=0.5))
    lessons, one = lessons_of("fbnet", settings)
    space, n_images = lessons.space, 20
    with torch.no_grad():
        for parameter in one.logits.parameters():
            parameter.add_(torch.linspace(-0.4, 0.4, len(parameter)))
    first = one.logits.columns[0]
    labels = torch.zeros(n_images, dtype=torch.int64)

    def outputs(mixture: Mixture, moment: Moment, share: Share) -> Tensor:
        """Return logits that are right for a share of images that the first gene decides."""
        found = torch.zeros(n_images, 10)
        found[: 2 * mixture.runs(first)[0] + 1, 0] = 1.0
        found[2 * mixture.runs(first)[0] + 1 :, 1] = 1.0
        return found

    monkeypatch.setattr(lessons, "_run", outputs)
    moment = Moment(one, 1.0, 0.0, How())
    parameters = list(one.logits.parameters())
    found = [torch.zeros_like(p) for p in parameters]
    n = 800
    for seed in range(n):
        share = Share(torch.zeros(n_images, 1, 8, 8), labels, (16, 16), seed)
        _, *losses = lessons.for_logits(moment, share)
        gradients = torch.autograd.grad(torch.stack(losses).sum(), parameters, allow_unused=True)
        found = [f + (0 if g is None else g / n) for f, g in zip(found, gradients, strict=True)]
    every = np.indices(space.n_options.tolist(), dtype=np.int8).reshape(space.n_genes, -1).T
    logarithms = [
        one.logits.of(c).log_softmax(0)[every[:, c].astype(np.int64)] for c in one.logits.columns
    ]
    chances = torch.stack(logarithms).sum(0).exp().double()
    accuracy = (2.0 * every[:, first] + 1) / n_images
    (limit,) = one.budgets.values()
    costs = macs(space)(space.canonical(every))
    rewards = torch.from_numpy(accuracy * (limit / costs) ** 0.5)
    wanted = torch.autograd.grad(-(chances * rewards).sum(), parameters)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=0.008, rtol=0.0)
    assert max(float(g.abs().max()) for g in wanted) > 0.025


def test_genes_that_are_only_drawn_learn_from_the_loss_of_their_draws() -> None:
    """The score function over many draws of the resolution against its exact gradient."""
    lessons, one = lessons_of("once-for-all", method("fbnet"))
    (column,) = lessons.network.drawn
    by_option = torch.linspace(0.2, 0.9, int(lessons.space.n_options[column])).double()
    parameter = one.logits.get_parameter(f"gene{column}")
    found, n = torch.zeros_like(parameter), 3000
    for seed in range(n):
        mixture = lessons.relaxation.for_logits(one.logits, Draw(1.0, seed))
        loss = by_option[mixture.runs(column)[0]]
        (gradient,) = torch.autograd.grad(lessons._score(loss, mixture, one), parameter)
        found += gradient / n
    mean = (one.logits.of(column).softmax(0).double() * by_option).sum()
    (wanted,) = torch.autograd.grad(mean, parameter)
    torch.testing.assert_close(found, wanted, atol=0.01, rtol=0.0)
    assert float(wanted.abs().max()) > 0.03


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
    with pytest.raises(UsageError, match="loss="):
        replace(method("proxylessnas_reinforce"), loss=LossSettings(form="sum"))
    with pytest.raises(UsageError, match="order=2"):
        replace(method("proxylessnas_reinforce"), order=2)
