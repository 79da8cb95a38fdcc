"""The losses of one step: those from which weights learn and those from which logits learn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.data.batches import network_input
from edgenas.oneshot.gradients import Share
from edgenas.oneshot.mixed.expected import ExpectedCost
from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.oneshot.mixed.losses import FORMS, reward
from edgenas.oneshot.mixed.measured import MeasuredCost
from edgenas.oneshot.mixed.mixture import Mixture
from edgenas.oneshot.mixed.network import How, MixedNetwork
from edgenas.oneshot.mixed.relaxations import RELAXATIONS, Draw
from edgenas.oneshot.mixed.settings import DifferentiableSettings
from edgenas.oneshot.mixed.state import Distribution

Cost = ExpectedCost | MeasuredCost


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a search stands.

    Attributes:
        distribution: the one that learns, or from which weights learn.
        temperature: of the Gumbel soft-max.
        entropy_weight: see `DifferentiableSettings`.
        how: how mixtures are run.
    """

    distribution: Distribution
    temperature: float
    entropy_weight: float
    how: How


class MixedLessons:
    """What is learned in a step, of a share of its batch.

    Args:
        network: runs mixtures with the weights that learn.
        dataset: how its images become inputs.
        settings: of the search.
        costs: by name; measured ones for methods that learn from rewards alone.

    Raises:
        UsageError: a cost has no gradient, and the method learns from gradients.
    """

    def __init__(
        self,
        network: MixedNetwork,
        dataset: ImageDataset,
        settings: DifferentiableSettings,
        *,
        costs: Mapping[str, Cost],
    ) -> None:
        self.network, self.dataset = network, dataset
        self.settings, self.costs = settings, costs
        self.relaxation = RELAXATIONS.get(settings.relaxation)()
        measured = [name for name, cost in costs.items() if isinstance(cost, MeasuredCost)]
        if measured and self.relaxation.is_gradient:
            raise UsageError(
                f"{', '.join(measured)} is measured and has no gradient, and {settings.method} "
                "learns from gradients; take proxylessnas_reinforce"
            )
        self.space = network.space
        self.smoothing = settings.training.label_smoothing

    def for_weights(self, moment: Moment, share: Share) -> Iterator[Tensor]:
        """Yield the loss from which the weights learn."""
        draw = Draw(moment.temperature, share.seed)
        mixture = self.relaxation.for_weights(moment.distribution.logits, draw)
        smoothing = self.smoothing
        logits = self._run(mixture, moment, share)
        yield functional.cross_entropy(logits, share.labels, label_smoothing=smoothing)

    def for_weights_open(self, moment: Moment, share: Share) -> Iterator[Tensor]:
        """Yield the weights' loss with gradients to the logits, too (DARTS's second order)."""
        draw = Draw(moment.temperature, share.seed)
        mixture = self.relaxation.for_logits(moment.distribution.logits, draw)
        logits, smoothing = self._run(mixture, moment, share), self.smoothing
        yield functional.cross_entropy(logits, share.labels, label_smoothing=smoothing)

    def for_logits(self, moment: Moment, share: Share) -> Iterator[Tensor]:
        """Yield the cross entropy of a step (as a number) and the loss from which logits learn."""
        if not self.relaxation.is_gradient:
            yield from self._rewards(moment, share)
            return
        logits = moment.distribution.logits
        mixture = self.relaxation.for_logits(logits, Draw(moment.temperature, share.seed))
        entropy = functional.cross_entropy(self._run(mixture, moment, share), share.labels)
        yield _told(logits, entropy.detach().cpu())
        yield self.whole_loss(entropy, mixture, moment)

    def whole_loss(self, entropy: Tensor, mixture: Mixture, moment: Moment) -> Tensor:
        """Return what the logits are to lessen, of the cross entropy of a mixture."""
        distribution = moment.distribution
        logits, multipliers = distribution.logits, distribution.multipliers
        chances = self.relaxation.chances(logits, mixture)
        read = chances
        if self.relaxation.follows_sample:  # but for genes whose sample has no gradient
            read = {c: chances[c] if c in logits.drawn else one.value
                    for c, one in mixture.genes.items()}  # fmt: skip
        costs, form = self.expected(read), FORMS[self.settings.loss.form]
        entropy = entropy.cpu().double()
        loss = form(self.settings.loss, entropy, costs, distribution.budgets)
        if self.network.drawn:
            # All forms are linear in the cross entropy: this is what a unit of it counts.
            unit = form(self.settings.loss, entropy + 1, costs, distribution.budgets) - loss
            loss = loss + unit.detach() * self._score(entropy.detach(), mixture, distribution)
        if multipliers is not None:
            # Of the probabilities: it is the distribution that is to end on the budget.
            loss = loss + multipliers(self.expected(chances))
        if moment.entropy_weight:
            loss = loss + moment.entropy_weight * _entropy(logits)
        return loss

    def expected(self, probabilities: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Return the expected costs by name."""
        return {name: cost(probabilities) for name, cost in self.costs.items()}

    # -- internal --------------------------------------------------------------------------

    def _run(self, mixture: Mixture, moment: Moment, share: Share) -> Tensor:
        rows = np.zeros((1, self.space.n_genes), dtype=np.int8)
        for column in self.network.drawn:
            rows[0, column] = mixture.runs(column)[0]
        _, height, width = self.space.input_shape(rows[0])
        images = network_input(share.images, self.dataset.mean, self.dataset.std, (height, width))
        return self.network(images, mixture, how=moment.how, seed=share.seed % 2**62)

    def _score(self, loss: Tensor, mixture: Mixture, distribution: Distribution) -> Tensor:
        """Return the loss whose gradient is the score function's, of genes that are only drawn."""
        total = torch.zeros((), dtype=torch.float64)
        # In the first step there is nothing to compare with.
        is_first = distribution.number("n_steps") == 0
        advantage = 0.0 * loss if is_first else loss - distribution.get_buffer("baseline")
        for column in self.network.drawn:
            if column in mixture.genes:
                chosen = mixture.runs(column)[0]
                logarithm = distribution.logits.of(column).log_softmax(0)[chosen]
                total = total + advantage * logarithm.double()
        return total

    def _rewards(self, moment: Moment, share: Share) -> Iterator[Tensor]:
        """Yield the mean reward, negative, and the losses of REINFORCE, one a drawn network."""
        rng = np.random.default_rng(share.seed)
        seeds = rng.integers(2**62, size=self.settings.n_networks)
        logits = moment.distribution.logits
        earned: list[float] = []
        scores: list[Tensor] = []
        for seed in seeds:
            mixture = self.relaxation.for_logits(logits, Draw(moment.temperature, int(seed)))
            with torch.no_grad():
                outputs = self._run(mixture, moment, share)
            accuracy = float((outputs.argmax(1) == share.labels).double().mean())
            costs, budgets = self.measured(mixture), moment.distribution.budgets
            earned.append(reward(self.settings.loss, accuracy, costs, budgets))
            chosen = [(c, one.runs[0]) for c, one in mixture.genes.items()]
            scores.append(torch.stack([logits.of(c).log_softmax(0)[o] for c, o in chosen]).sum())
        mean = float(np.mean(earned))
        is_first = moment.distribution.number("n_steps") == 0
        baseline = mean if is_first else moment.distribution.number("baseline")
        yield _told(logits, torch.tensor(-mean))
        for value, score in zip(earned, scores, strict=True):
            yield -(value - baseline) * score / len(earned)
        if moment.entropy_weight:
            yield _told(logits, torch.zeros(())) + moment.entropy_weight * _entropy(logits)

    def measured(self, mixture: Mixture) -> dict[str, float]:
        """Return the costs of the one network that a mixture is; nothing here is differentiable."""
        row: Genes = np.zeros((1, self.space.n_genes), dtype=np.int8)
        for column, one in mixture.genes.items():
            row[0, column] = one.runs[0]
        canonical = self.space.canonical(row)[0]
        return {name: cost.of(canonical) for name, cost in self.costs.items()}


def _told(logits: GeneLogits, value: Tensor) -> Tensor:
    """Return a number as a loss that changes nothing."""
    return value + 0.0 * torch.stack([p.sum() for p in logits.parameters()]).sum()


def _entropy(logits: GeneLogits) -> Tensor:
    """Return the mean entropy of the genes, a uniform choice's being 1."""
    found = []
    for column in logits.columns:
        # Closed options are left out: the entropy of a probability of 0 has no gradient.
        values = logits.of(column)
        own = values[torch.isfinite(values)]
        if len(own) > 1:
            terms = own.softmax(0) * own.log_softmax(0)
            found.append(-terms.sum() / math.log(len(own)))
    return torch.stack(found).mean().double() if found else torch.zeros(())
