"""How genes become mixtures: what is relaxed, how it is drawn, and how the gradient comes back.

A relaxation makes the mixture in which weights learn and the one in which logits learn. All that
is random comes from the seed of the step, so that all threads and processes run the same mixture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from edgenas.core.registry import Registry
from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.oneshot.mixed.mixture import Mixture, OptionWeights

RELAXATIONS: Registry[type[Relaxation]] = Registry("relaxation")
"""Relaxations by name."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What a step is to run.

    Attributes:
        temperature: of the Gumbel soft-max.
        seed: of all that is random.
    """

    temperature: float
    seed: int


class Relaxation(ABC):
    """Makes mixtures; has no state.

    Attributes:
        is_gradient: whether the logits learn by a gradient through the mixture; else they learn
            from rewards of whole networks.
        follows_sample: whether the expected cost of a step is that of its sample (FBNet), not
            that of the probabilities.
    """

    is_gradient = True
    follows_sample = False

    def for_weights(self, logits: GeneLogits, draw: Draw) -> Mixture:
        """Return the mixture in which the supernet's weights learn."""
        with torch.no_grad():
            return self._mixture(logits, draw, for_weights=True)

    def for_logits(self, logits: GeneLogits, draw: Draw) -> Mixture:
        """Return the mixture through which gradients flow back to the logits."""
        return self._mixture(logits, draw, for_weights=False)

    def chances(self, logits: GeneLogits, mixture: Mixture) -> dict[int, Tensor]:
        """Return the probabilities of which a step takes expected costs, by column.

        Args:
            logits: of the genes.
            mixture: of the step, from `for_logits`.
        """
        del mixture
        return logits.probabilities()

    def after(self, logits: GeneLogits, before: dict[int, Tensor], draw: Draw) -> None:
        """Mend logits after they have learned, where the method says so.

        Args:
            logits: as they are now.
            before: as they were.
            draw: that of the step.
        """
        del logits, before, draw

    def _mixture(self, logits: GeneLogits, draw: Draw, *, for_weights: bool) -> Mixture:
        generator = torch.Generator().manual_seed(draw.seed)
        genes: dict[int, OptionWeights] = {}
        for column, values in logits.all().items():
            if column in logits.drawn:  # no gradient comes back: these learn from the loss's score
                chosen = _drawn(values.detach().softmax(0), 1, generator)[0]
                genes[column] = OptionWeights(torch.eye(len(values))[chosen], (chosen,))
            else:
                genes[column] = self._gene(values, draw, generator, for_weights=for_weights)
        return Mixture(genes, logits.edges())

    @abstractmethod
    def _gene(
        self, logits: Tensor, draw: Draw, generator: torch.Generator, *, for_weights: bool
    ) -> OptionWeights:
        """Return how much of each option of one gene runs; closed options have logits of -inf."""


@RELAXATIONS.add("softmax")
class Softmax(Relaxation):
    """All options, by their probabilities: Liu et al. 2019 (DARTS), arXiv:1806.09055, eq. 2."""

    def _gene(
        self, logits: Tensor, draw: Draw, generator: torch.Generator, *, for_weights: bool
    ) -> OptionWeights:
        return OptionWeights(logits.softmax(0), _open(logits))


@RELAXATIONS.add("gumbel_softmax")
class GumbelSoftmax(Relaxation):
    """All options, by a relaxed draw: Wu et al. 2019 (FBNet), arXiv:1812.03443, equation 6.

    Xie et al. 2019 (SNAS), arXiv:1812.09926, equation 5, is the same distribution.
    """

    follows_sample = True

    def _gene(
        self, logits: Tensor, draw: Draw, generator: torch.Generator, *, for_weights: bool
    ) -> OptionWeights:
        noisy = logits.log_softmax(0) + gumbel(len(logits), generator)
        return OptionWeights((noisy / draw.temperature).softmax(0), _open(logits))


@RELAXATIONS.add("gumbel_hard")
class GumbelHard(Relaxation):
    """One option, drawn; its gradient is that of the relaxed draw.

    Dong and Yang 2019 (GDAS), arXiv:1910.04465, equation 6: only the drawn path is computed, in
    the gradient, too.
    """

    def _gene(
        self, logits: Tensor, draw: Draw, generator: torch.Generator, *, for_weights: bool
    ) -> OptionWeights:
        noisy = logits.log_softmax(0) + gumbel(len(logits), generator)
        soft = (noisy / draw.temperature).softmax(0)
        return _straight_through(soft, int(noisy.argmax()))


class BinaryGates(Relaxation):
    """One path of a draw for the weights; several, of which one is open, for the logits.

    Cai et al. 2019 (ProxylessNAS), arXiv:1812.00332, equations 3 and 4: the gradient of the gates
    is taken as that of the probabilities. A straight-through one-hot vector gives just that:
    dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i).
    """

    def _gene(
        self, logits: Tensor, draw: Draw, generator: torch.Generator, *, for_weights: bool
    ) -> OptionWeights:
        probabilities = logits.softmax(0)
        if for_weights:
            return _straight_through(probabilities, _drawn(probabilities, 1, generator)[0])
        return self._gates(logits, probabilities, generator)

    @abstractmethod
    def _gates(
        self, logits: Tensor, probabilities: Tensor, generator: torch.Generator
    ) -> OptionWeights:
        """Return gates through which the logits learn."""


@RELAXATIONS.add("binary_gates")
class AllGates(BinaryGates):
    """All paths are computed for the logits: the full gradient of equation 4."""

    def _gates(
        self, logits: Tensor, probabilities: Tensor, generator: torch.Generator
    ) -> OptionWeights:
        chosen = _drawn(probabilities, 1, generator)[0]
        gates = _straight_through(probabilities, chosen)
        return OptionWeights(gates.value, _open(logits))


@RELAXATIONS.add("two_paths")
class TwoPaths(BinaryGates):
    """Two paths are drawn, and compete (section 3.2.1, "Binarised Architecture Parameters").

    What the two have learned is shifted, so that the probabilities of all others stay.
    """

    def _gates(
        self, logits: Tensor, probabilities: Tensor, generator: torch.Generator
    ) -> OptionWeights:
        pair = self._pair(probabilities, generator)
        if len(pair) == 1:
            return _straight_through(probabilities, pair[0])
        places = torch.tensor(pair)
        two = logits[places].softmax(0)
        chosen = _drawn(two.detach(), 1, generator)[0]
        hard = torch.eye(2)[chosen] + two - two.detach()
        value = torch.zeros_like(logits).index_put((places,), hard)
        return OptionWeights(value, tuple(sorted(pair)))

    def after(self, logits: GeneLogits, before: dict[int, Tensor], draw: Draw) -> None:
        """Shift each pair so that its share of the probability is what it was."""
        generator = torch.Generator().manual_seed(draw.seed)
        for column, old in before.items():
            if column in logits.drawn:
                _drawn(old.softmax(0), 1, generator)  # as many draws as in the step
                continue
            pair = self._pair(old.softmax(0), generator)
            if len(pair) == 2:
                _drawn(old[pair].softmax(0), 1, generator)
                own = logits.get_parameter(f"gene{column}").data
                others = [i for i in range(len(own)) if i not in pair]
                own[others] = old[others].where(torch.isfinite(old[others]), own[others])
                own[pair] += old[pair].logsumexp(0) - own[pair].logsumexp(0)

    def chances(self, logits: GeneLogits, mixture: Mixture) -> dict[int, Tensor]:
        """Return probabilities in which the two drawn paths alone can change, and not their sum.

        What others would do to the costs is not this step's: `after` takes it back, and what is
        left of it could raise a cost that the whole gradient lowers.
        """
        found: dict[int, Tensor] = {}
        for column, every in logits.probabilities().items():
            pair = list(mixture.genes[column].runs)
            if column in logits.drawn or len(pair) < 2:
                found[column] = every
                continue
            places = torch.tensor(pair)
            own = every.detach()[places].sum() * logits.of(column)[places].softmax(0)
            found[column] = every.detach().index_put((places,), own)
        return found

    def _pair(self, probabilities: Tensor, generator: torch.Generator) -> list[int]:
        n = min(2, int((probabilities > 0).sum()))
        return _drawn(probabilities.detach(), n, generator)


@RELAXATIONS.add("score_function")
class ScoreFunction(Relaxation):
    """One drawn network, which earns a reward (ProxylessNAS, section 3.3.2; REINFORCE)."""

    is_gradient = False

    def _gene(
        self, logits: Tensor, draw: Draw, generator: torch.Generator, *, for_weights: bool
    ) -> OptionWeights:
        probabilities = logits.detach().softmax(0)
        return _straight_through(probabilities, _drawn(probabilities, 1, generator)[0])


def gumbel(n: int, generator: torch.Generator) -> Tensor:
    """Return `n` draws of the standard Gumbel distribution."""
    # Exponential draws are above 0, whose logarithm would be infinite.
    return -torch.empty(n).exponential_(generator=generator).clamp_min(1e-30).log()


def _open(logits: Tensor) -> tuple[int, ...]:
    return tuple(torch.nonzero(torch.isfinite(logits)).flatten().tolist())


def _drawn(probabilities: Tensor, n: int, generator: torch.Generator) -> list[int]:
    """Return `n` different options, drawn one after the other by their probabilities."""
    found: list[int] = torch.multinomial(probabilities, n, generator=generator).tolist()
    return found


def _straight_through(soft: Tensor, chosen: int) -> OptionWeights:
    """Return one option whose gradient is that of `soft`."""
    hard = torch.eye(len(soft))[chosen]
    return OptionWeights(hard + soft - soft.detach(), (chosen,))
