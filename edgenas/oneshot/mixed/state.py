"""Everything that a differentiable search learns, in one module: weights, logits, multipliers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from edgenas.oneshot.mixed.budget import Multipliers
from edgenas.oneshot.mixed.drawn import drawn_genes
from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.oneshot.mixed.settings import DifferentiableSettings
from edgenas.oneshot.supernet import Supernet
from edgenas.spaces.base import SearchSpace


class Distribution(nn.Module):
    """One distribution of architectures, on its way to its budgets.

    Args:
        space: whose genes have logits.
        settings: of the search.
        budgets: what the loss compares the expected costs with, by name; see `LossSettings`.
        is_reachable: whether some network has the cost of a budget.
        seed: of the first logits.
    """

    def __init__(
        self,
        space: SearchSpace,
        settings: DifferentiableSettings,
        *,
        budgets: Mapping[str, float],
        is_reachable: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.budgets, self.is_reachable = dict(budgets), is_reachable
        self.logits = GeneLogits(
            space,
            seed=seed,
            spread=settings.spread,
            edges=settings.edges,
            drawn=drawn_genes(space),
        )
        self.multipliers = None
        if settings.loss.form == "budget":
            self.multipliers = Multipliers(budgets, is_reachable=is_reachable)
        self.register_buffer("baseline", torch.zeros((), dtype=torch.float64))
        self.register_buffer("n_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("stage", torch.zeros((), dtype=torch.int64))

    def number(self, name: str) -> float:
        """Return the value of a buffer."""
        return float(self.get_buffer(name))

    def after_step(self, value: float, momentum: float) -> None:
        """Count a step and take its loss, or reward, into the moving mean; the first one is it."""
        baseline, n_steps = self.get_buffer("baseline"), self.get_buffer("n_steps")
        mean = value if int(n_steps) == 0 else momentum * float(baseline) + (1 - momentum) * value
        baseline.fill_(mean)
        n_steps.add_(1)

    def enter_stage(self, number: int, n_options: int | None) -> None:
        """Close the least likely options where a new stage begins.

        Args:
            number: of the stage in which the search stands.
            n_options: how many options of every gene it leaves open; None: all.
        """
        place = self.get_buffer("stage")
        if int(place) == number:
            return
        place.fill_(number)
        for column in self.logits.columns if n_options is not None else ():
            still_open = self.logits.open_options(column)
            order = self.logits.of(column).detach().argsort().tolist()
            unlikely = [option for option in order if option in still_open]
            for option in unlikely[: max(0, len(still_open) - (n_options or 1))]:
                self.logits.close(column, option)


class Searching(nn.Module):
    """The state of a search; its buffers are kept in checkpoints with the rest.

    Several distributions, each with budgets of its own, share the weights and learn in turn.

    Args:
        supernet: whose weights learn.
        space: whose genes have logits.
        settings: of the search.
        budgets: of every distribution, by cost.
        greatest: cost of the most expensive network, by cost, as far as it is known.
        seed: of the first logits.
    """

    def __init__(  # noqa: PLR0913
        self,
        supernet: Supernet,
        space: SearchSpace,
        settings: DifferentiableSettings,
        *,
        budgets: Sequence[Mapping[str, float]],
        greatest: Mapping[str, float] | None = None,
        seed: int,
    ) -> None:
        super().__init__()
        self.supernet = supernet
        self.distributions: list[Distribution] = []
        for i, own in enumerate(budgets):
            # One that none reaches would press every logit to its end.
            is_reachable = any((greatest or {}).get(k, math.inf) >= v for k, v in own.items())
            one = Distribution(space, settings, budgets=own, is_reachable=is_reachable, seed=seed)
            self.distributions.append(one)
            self.add_module(f"distribution{i}", one)
