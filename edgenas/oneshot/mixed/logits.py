"""The architecture parameters: logits of every gene's options, learned beside the weights."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.mixed_cell import MixedCell


class GeneLogits(nn.Module):
    """One vector a gene that has a choice; options can be closed for good (P-DARTS).

    Args:
        space: whose genes.
        seed: of the first values.
        spread: standard deviation of the first values (1e-3 in DARTS and ProxylessNAS).
        edges: whether the edges of cells have weights of their own (PC-DARTS).
        drawn: columns of genes of which one option runs at a time, whatever the method.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        spread: float = 1e-3,
        edges: bool = False,
        drawn: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__()
        self.space, self.drawn = space, drawn
        generator = torch.Generator().manual_seed(seed)
        self.columns = [c for c in range(space.n_genes) if space.n_options[c] > 1]
        for column in self.columns:
            n = int(space.n_options[column])
            first = spread * torch.randn(n, generator=generator)
            self.register_parameter(f"gene{column}", nn.Parameter(first))
            self.register_buffer(f"open{column}", torch.ones(n, dtype=torch.bool))
        self._joins = _joins(space) if edges else {}
        for column in self._joins:
            first = spread * torch.randn((), generator=generator)
            self.register_parameter(f"edge{column}", nn.Parameter(first))

    def of(self, column: int) -> Tensor:
        """Return the logits of a gene, shape (n_options,); closed options have -inf."""
        is_open = self.get_buffer(f"open{column}")
        return self.get_parameter(f"gene{column}").masked_fill(~is_open, -math.inf)

    def all(self) -> dict[int, Tensor]:
        """Return the logits of all genes that have a choice, by column."""
        return {column: self.of(column) for column in self.columns}

    def options(self) -> dict[str, list[float]]:
        """Return the probabilities by name of the gene, as plain numbers that add up to 1."""
        found = {}
        for column, chances in self.probabilities().items():
            own = chances.detach().double()
            found[self.space.genes[column].name] = (own / own.sum()).tolist()
        return found

    def probabilities(self) -> dict[int, Tensor]:
        """Return the probability of every option, by column; gradients flow to the logits."""
        return {column: self.of(column).softmax(0) for column in self.columns}

    def edges(self) -> dict[int, Tensor]:
        """Return the weights of edges of cells; those to a node add up to their number.

        PC-DARTS (Xu et al. 2020, arXiv:1907.05737), equation 4, times the number of edges, so that
        a cell's scale is that of the derived network.
        """
        found: dict[int, Tensor] = {}
        for column, together in self._joins.items():
            row = torch.stack([self.get_parameter(f"edge{other}") for other in together])
            found[column] = len(together) * row.softmax(0)[together.index(column)]
        return found

    def open_options(self, column: int) -> list[int]:
        """Return the options of a gene that are not closed."""
        return torch.nonzero(self.get_buffer(f"open{column}")).flatten().tolist()

    def close(self, column: int, option: int) -> None:
        """Close an option; one at least stays open."""
        if len(self.open_options(column)) > 1:
            self.get_buffer(f"open{column}")[option] = False

    def entropy(self) -> float:
        """Return the mean entropy of the genes, as a share of that of a uniform choice."""
        shares = [_entropy(p.detach()) / math.log(len(p)) for p in self.probabilities().values()]
        return math.fsum(shares) / len(shares) if shares else 0.0

    def log_probabilities(self) -> list[np.ndarray]:
        """Return the logarithms of the probabilities by gene, 0 where there is no choice."""
        found = [np.zeros(int(n)) for n in self.space.n_options]
        for column in self.columns:
            found[column] = self.of(column).detach().double().log_softmax(0).numpy()
        return found

    def most_likely(self) -> Genes:
        """Return the most likely option of every gene, canonical, shape (n_genes,)."""
        best = [int(np.argmax(values)) for values in self.log_probabilities()]
        row: Genes = self.space.canonical(np.array([best], dtype=np.int8))[0]
        return row


def _entropy(probabilities: Tensor) -> float:
    return float(-(probabilities * probabilities.clamp_min(1e-30).log()).sum())


def _joins(space: SearchSpace) -> dict[int, tuple[int, ...]]:
    """Return, for the gene of every edge of a cell, the genes of all edges to the same node."""
    found: dict[int, tuple[int, ...]] = {}
    for factor in space.factors:
        for part in factor.mixed() if factor.mixed else ():
            if isinstance(part, MixedCell):
                for edge in part.edges:
                    found[space.index[edge.gene]] = tuple(
                        space.index[other.gene]
                        for other in part.edges
                        if other.target == edge.target
                    )
    return found
