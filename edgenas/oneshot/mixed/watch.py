"""What is told of a search as it goes, and whether it has drifted to operators without weights.

DARTS can end in cells of skips: they let gradients through best while weights are young (Zela et
al. 2020, arXiv:1909.09656; Liang et al. 2019 (DARTS+), arXiv:1909.06035, who stop at two skips in
a cell). A run looks for it itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from edgenas.core.architecture import Genes
from edgenas.core.ops import Node
from edgenas.oneshot.mixed.expected import ExpectedCost
from edgenas.oneshot.mixed.mixture import frozen
from edgenas.oneshot.sharing import graph_of, has_weights
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import Fold
from edgenas.spaces.mixed_cell import MixedCell

DRIFTED = 0.6
"""A most likely network of which so much has no weights has drifted, if chance has much less."""

_MUCH_LESS = 0.25


@dataclass(frozen=True, slots=True)
class EpochReport:
    """A distribution after one epoch of a search.

    Attributes:
        epoch: counted from 1.
        distribution: its number, from 0.
        stage: of the settings' stages, counted from 0.
        is_warmup: whether the logits stayed as they were.
        loss: mean from which the weights learned.
        logits_loss: mean cross entropy (or negative reward) of the logits' steps; NaN of none.
        entropy: mean of the genes', a uniform choice's being 1.
        temperature: of the Gumbel soft-max at the end of the epoch.
        weightless: expected share of choices that run nothing with weights.
        costs: expected, by name, in their tables' units.
    """

    epoch: int
    distribution: int
    stage: int
    is_warmup: bool
    loss: float
    logits_loss: float
    entropy: float
    temperature: float
    weightless: float
    costs: Mapping[str, float]

    def flat(self) -> list[float]:
        """Return all of it as numbers; `unflatten` reads them."""
        return [
            float(self.epoch),
            float(self.distribution),
            float(self.stage),
            float(self.is_warmup),
            self.loss,
            self.logits_loss,
            self.entropy,
            self.temperature,
            self.weightless,
            *self.costs.values(),
        ]


def unflatten(numbers: Sequence[float], names: Sequence[str]) -> list[EpochReport]:
    """Return the reports that `EpochReport.flat` made, one after the other.

    Args:
        numbers: of all reports.
        names: of the costs, in their order.
    """
    width = 9 + len(names)
    found = []
    for start in range(0, len(numbers), width):
        epoch, which, stage, warmup, *rest = numbers[start : start + width]
        loss, logits_loss, entropy, temperature, weightless, *costs = rest
        found.append(
            EpochReport(
                epoch=int(epoch),
                distribution=int(which),
                stage=int(stage),
                is_warmup=bool(warmup),
                loss=loss,
                logits_loss=logits_loss,
                entropy=entropy,
                temperature=temperature,
                weightless=weightless,
                costs=dict(zip(names, costs, strict=True)),
            )
        )
    return found


class Weightless:
    """The share of a network's choices that run nothing with weights: skips, pools, zeros.

    Choices are the edges of cells, and the factors that may run nothing with weights.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        tables: list[np.ndarray] = []
        self._edges: list[tuple[int, tuple[int, ...]]] = []
        self._n = 0
        for factor, table in zip(space.factors, space.combination_ops, strict=True):
            own = np.zeros(len(table))
            if factor.mixed is None:
                own = np.array(
                    [not any(_weighs(graph_of(op).nodes) for op in specs) for specs in table],
                    dtype=np.float64,
                )
                own = own if 0 < own.sum() < len(own) else np.zeros(len(table))
            self._n += bool(own.any())
            tables.append(own)
            for part in factor.mixed() if factor.mixed else ():
                if isinstance(part, MixedCell):
                    self._edges += [
                        (
                            space.index[edge.gene],
                            tuple(
                                option
                                for option, graph in enumerate(edge.options)
                                if graph is None or not _weighs(graph.nodes)
                            ),
                        )
                        for edge in part.edges
                    ]
        self._factors = ExpectedCost(Fold(space, tables))

    def __call__(self, probabilities: Mapping[int, Tensor]) -> float:
        """Return the expected share under independent probabilities; 0 where there is no choice."""
        total = float(self._factors(probabilities).detach())
        for column, options in self._edges:
            if column in probabilities:
                total += float(probabilities[column].detach()[list(options)].sum())
            else:
                total += float(0 in options)
        n = self._n + len(self._edges)
        return total / n if n else 0.0

    def of(self, row: Genes) -> float:
        """Return the share of one architecture."""
        return self({c: one.value for c, one in frozen(self.space, row).genes.items()})


def drift(space: SearchSpace, row: Genes, others: Genes) -> str | None:
    """Return a sentence that says that a network has drifted to skips; None if it has not.

    Args:
        space: of the architectures.
        row: the most likely one, shape (n_genes,).
        others: random ones that keep the same limits: a tight budget leaves no room for weights,
            and what it takes is no drift. Shape (n, n_genes).
    """
    share = Weightless(space)
    own, chance = share.of(row), sum(map(share.of, others)) / len(others)
    if own < DRIFTED or own - chance < _MUCH_LESS:
        return None
    return (
        f"the search has drifted to operators without weights: {own:.0%} of the choices of its "
        f"most likely network are skips, pools or zeros, {chance:.0%} of a random one's within "
        "the same limits; DARTS is known for it. Search for fewer epochs, or by another method "
        "(p_darts, pc_darts, fbnet, proxylessnas)"
    )


def _weighs(nodes: Sequence[Node]) -> bool:
    return any(has_weights(node.op) for node in nodes)
