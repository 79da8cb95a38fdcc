"""Screening: an additive model of what was evaluated says which children are worth evaluating."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]

_KEPT = 0.9
"""What the past counts after each fit: effects near the front are not those of random networks."""
_RIDGE = 1e-3
_TIMES = 10  # as many architectures as unknowns are too few to trust


class Screen:
    """An effect for every option of every gene, fitted by ridge regression, the past fading.

    Two architectures that share most genes differ by little more than the sum of the effects of
    the others. That is far too rough to find the best one, and enough to pass over most of those
    that are worse, at a small part of the price of an evaluation.

    Args:
        space: of the architectures.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._starts = np.concatenate([[0], np.cumsum(space.n_options)[:-1]])
        self._gene = np.repeat(np.arange(space.n_genes), space.n_options)
        self._option = np.concatenate([np.arange(n, dtype=np.int8) for n in space.n_options])
        n = len(self._gene) + 1
        self._gram, self._moments = np.zeros((n, n)), np.zeros(n)
        self._effects = np.zeros(n - 1)
        self._n_learned = 0

    @property
    def ready(self) -> bool:
        """Whether it has learned from enough architectures to be asked."""
        return self._n_learned >= _TIMES * len(self._moments)

    def learn(self, genes: Genes, values: Floats) -> None:
        """Take in what was evaluated: (n, n_genes), canonical, and (n,); infinities say nothing."""
        finite = np.isfinite(values)
        codes = np.array(genes[finite].T, order="C")
        features = np.ones((len(self._moments), codes.shape[1]), dtype=np.float32)
        np.equal(codes[self._gene], self._option[:, None], out=features[:-1])
        self._gram += features @ features.T
        self._moments += features @ values[finite].astype(np.float32)
        self._n_learned += codes.shape[1]

    def fit(self) -> None:
        """Set the effects to those of what was learned, and let the past fade."""
        ridge = _RIDGE * np.trace(self._gram) / len(self._gram)
        gram = self._gram + ridge * np.eye(len(self._gram))
        self._effects = np.linalg.solve(gram, self._moments)[:-1]
        self._gram *= _KEPT
        self._moments *= _KEPT

    def __call__(self, genes: Genes) -> Floats:
        """Return the sum of the effects of every architecture, shape (n,); only differences tell.

        Args:
            genes: canonical, shape (n, n_genes).
        """
        total: Floats = self._effects[genes + self._starts].sum(axis=1)
        return total
