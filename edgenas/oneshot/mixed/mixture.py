"""What a mixed supernet runs in one step: which options of every gene, and how much of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace


@dataclass(frozen=True, slots=True)
class OptionWeights:
    """How much of each option of one gene is in the mixture.

    Attributes:
        value: shape (n_options,); gradients flow through it to the gene's logits.
        runs: the options that are computed, ascending. One of them alone whose value needs no
            gradient is that option, and nothing is multiplied.
    """

    value: Tensor
    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Weights of all genes that have a choice.

    Attributes:
        genes: by column of the space's genes; a gene that is not there has one option.
        edges: factors of the edges of cells, by the column of the edge's gene (PC-DARTS's edge
            normalisation); an edge that is not there has 1.
    """

    genes: Mapping[int, OptionWeights]
    edges: Mapping[int, Tensor] = field(default_factory=dict)

    def runs(self, column: int) -> tuple[int, ...]:
        """Return the options of a gene that are computed."""
        return self.genes[column].runs if column in self.genes else (0,)


def frozen(space: SearchSpace, row: Genes) -> Mixture:
    """Return the mixture that is one architecture, shape (n_genes,)."""
    return Mixture(
        {
            column: OptionWeights(torch.eye(int(n))[int(row[column])], (int(row[column]),))
            for column, n in enumerate(space.n_options)
            if n > 1
        }
    )
