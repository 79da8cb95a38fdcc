"""What a factor may run in a mixture, and which products of options stand for which of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from edgenas.core.ops import OpSpec
from edgenas.oneshot.mixed.mixture import Mixture
from edgenas.spaces.base import Factor, SearchSpace

Runs = tuple[tuple[int, ...], ...]
"""Options that are computed, by gene of the factor."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The distinct things that a factor runs under some options.

    Attributes:
        specs: operators of each, in a row; none at all returns the input.
        places: for every combination of the active genes' options, the number of its term.
        options: for every gene of the factor, its option in each of these combinations; the
            number of its options where it is not active, and then nothing depends on it.
    """

    specs: tuple[tuple[OpSpec, ...], ...]
    places: Tensor
    options: tuple[Tensor, ...]


class FactorTerms:
    """The terms of one factor, found when they are first asked for.

    Args:
        space: of the factor.
        factor: one that mixes whole combinations.
        table: its operators by combination, see `SearchSpace.combination_ops`.
    """

    def __init__(self, space: SearchSpace, factor: Factor, table: list[tuple[OpSpec, ...]]) -> None:
        self.space, self.table = space, table
        self.columns, self._weights = space.strides(factor)
        self._found: dict[Runs, Terms] = {}

    def of(self, mixture: Mixture) -> Terms:
        """Return what is to be run in a mixture."""
        runs = tuple(mixture.runs(column) for column in self.columns)
        if runs not in self._found:
            self._found[runs] = self._terms(runs)
        return self._found[runs]

    def coefficients(self, terms: Terms, mixture: Mixture) -> Tensor | None:
        """Return how much of each term is in the mixture, shape (n_terms,); None: all of one.

        An active gene's weight is a factor of it, one that is not active has none.
        """
        moving = [
            (mixture.genes[column].value, options)
            for column, options in zip(self.columns, terms.options, strict=True)
            if column in mixture.genes
        ]
        one_term = len(terms.specs) == 1
        if one_term and not any(value.requires_grad for value, _ in moving):
            return None
        each = torch.ones(len(terms.places))
        for value, options in moving:
            each = each * torch.cat([value, value.new_ones(1)])[options]
        return each.new_zeros(len(terms.specs)).index_add(0, terms.places, each)

    def _terms(self, runs: Runs) -> Terms:
        inactive = [int(self.space.n_options[column]) for column in self.columns]
        numbers: dict[tuple[OpSpec, ...], int] = {}
        combinations: dict[tuple[int, ...], int] = {}
        for chosen in product(*runs):
            is_active = self._active(chosen)
            key = tuple(o if a else n for o, a, n in zip(chosen, is_active, inactive, strict=True))
            if key not in combinations:
                specs = self.table[
                    sum(int(w) * o for w, o in zip(self._weights, chosen, strict=True))
                ]
                combinations[key] = numbers.setdefault(specs, len(numbers))
        keys = torch.tensor(list(combinations), dtype=torch.int64).reshape(len(combinations), -1)
        return Terms(
            tuple(numbers),
            torch.tensor(list(combinations.values()), dtype=torch.int64),
            tuple(keys.unbind(1)),
        )

    def _active(self, chosen: tuple[int, ...]) -> list[bool]:
        """Return which genes of the factor are active, as far as its own genes tell."""
        options = dict(zip(self.columns, chosen, strict=True))
        found: dict[int, bool] = {}
        for column, (parent, allowed) in self.space.conditions.items():  # parents come first
            if column in options and parent in options:
                found[column] = found.get(parent, True) and bool(allowed[options[parent]])
        return [found.get(column, True) for column in self.columns]
