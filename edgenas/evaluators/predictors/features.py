"""Features of architectures for predictors: which options they have, and their counts.

Everything is laid out with the architectures in columns, so that each feature is one operation on
contiguous memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import log, sqrt

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import COUNTS

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

COUNTED = ("n_macs", "n_params")
"""Counts that are features, as logarithms."""

CHUNK = 1 << 10
"""Architectures that are predicted at a time: what they need stays in the cache."""

_PRESENT = 0.5  # what a block that runs with its least option adds to a size, before scaling


class OneHots:
    """Which options architectures have, one feature an option.

    Args:
        space: whose genes are encoded.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._gene = np.repeat(np.arange(space.n_genes), space.n_options)
        steps = [np.arange(n, dtype=np.int8) for n in space.n_options]
        self._option = np.concatenate(steps)[:, None]
        # A gene that is inactive is coded -1, which reads the last place: not allowed.
        self._conditions = [
            (column, parent, np.append(allowed, False))
            for column, (parent, allowed) in space.conditions.items()
        ]

    @property
    def n_features(self) -> int:
        """Number of features: the sum of all genes' options."""
        return len(self._gene)

    def __call__(self, population: Genes) -> Singles:
        """Return 1 for every option that is chosen and active, shape (n_features, n)."""
        codes = np.array(population.T, order="C")
        for column, parent, allowed in self._conditions:  # parents come first
            codes[column] = np.where(allowed[codes[parent]], codes[column], -1)
        features = np.empty((self.n_features, len(population)), dtype=np.float32)
        np.equal(codes[self._gene], self._option, out=features)
        return features


class Features:
    """One-hot options, then the logarithms of counts (`COUNTED`), scaled.

    Args:
        space: whose architectures are described.
        centre: subtracted from the logarithms, shape (n_counts,).
        scale: they are divided by it afterwards, shape (n_counts,).
    """

    def __init__(self, space: SearchSpace, centre: Floats, scale: Floats) -> None:
        self.space, self.centre, self.scale = space, centre, scale
        self.one_hots = OneHots(space)
        self._folds = [COUNTS[name](space) for name in COUNTED]

    @classmethod
    def scaled_to(cls, space: SearchSpace, population: Genes) -> Features:
        """Return features whose counts have mean 0 and deviation 1 over `population`."""
        plain = cls(space, np.zeros(len(COUNTED)), np.ones(len(COUNTED)))
        logs = plain.counts(population)
        spread = logs.std(axis=1)
        return cls(space, logs.mean(axis=1), np.where(spread > 0, spread, 1.0))

    @property
    def n_options(self) -> int:
        """How many features are options; the counts stand after them."""
        return self.one_hots.n_features

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.n_options + len(COUNTED)

    def counts(self, population: Genes) -> Floats:
        """Return the scaled logarithms of the counts, shape (n_counts, n)."""
        logs = np.log(np.maximum([fold(population) for fold in self._folds], 1.0))
        scaled: Floats = (logs - self.centre[:, None]) / self.scale[:, None]
        return scaled

    def __call__(self, population: Genes) -> Singles:
        """Return the features, shape (n_features, n)."""
        rows = np.empty((self.n_features, len(population)), dtype=np.float32)
        rows[: self.n_options] = self.one_hots(population)
        rows[self.n_options :] = self.counts(population)
        return rows

    @cached_property
    def sizes(self) -> Floats:
        """How large each option is among those of its gene, shape (n_genes, n_options).

        Multiplied with the one-hots it gives a number a gene: 0 where it is inactive, more for
        a larger option. Genes whose options are no numbers, or that have one only, have zeros.
        """
        table = np.zeros((self.space.n_genes, self.n_options))
        place = 0
        for row, gene in enumerate(self.space.genes):
            numbers = [option for option in gene.options if not isinstance(option, str)]
            if len(numbers) == len(gene.options) > 1:
                for i, size in enumerate(_relative(numbers)):
                    table[row, place + i] = _PRESENT + size
            place += len(gene.options)
        return table

    @cached_property
    def groups(self) -> list[list[int]]:
        """Options that belong together (of a stage), as rows of the features."""
        found: dict[str, list[int]] = {}
        place = 0
        for gene in self.space.genes:
            found.setdefault(gene.name.partition(".")[0], []).extend(
                range(place, place + len(gene.options))
            )
            place += len(gene.options)
        return list(found.values())


def _relative(numbers: Sequence[float]) -> list[float]:
    """Return how much larger than the least they are: by ratio, or evenly where one is 0."""
    least, most = min(numbers), max(numbers)
    if least > 0:
        return [log(number / least) for number in numbers]
    return [(number - least) / (most - least) for number in numbers]


def standardised(table: Floats) -> tuple[Floats, Floats]:
    """Return (scale, shift), each (n_columns,), that take columns to mean 0 and share one unit.

    `table * scale + shift` has the mean squared length 1 over its rows, spread evenly over the
    columns that vary; a column that does not is left as it is, relative to its value.
    """
    spread = table.std(axis=0)
    varied = spread > 1e-9
    unit = sqrt(max(int(varied.sum()), 1))
    scale = 1 / (np.where(varied, spread, 1.0) * unit)
    return scale, -table.mean(axis=0) * scale
