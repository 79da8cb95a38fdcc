"""Search spaces as factor graphs: genes, the factors that read them, population-wide operators.

An architecture is a vector of option indices, one a gene. A factor names the few genes that it
reads and maps their options to the operators which that part of the network runs. Everything else,
counts, cost models, supernets, profiling plans, dynamic programmes, folds over factors.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from edgenas.core.architecture import Architecture, Genes, architectures
from edgenas.core.errors import SpaceError, choices
from edgenas.core.ops import NORM_EPSILON, Graph, OpSpec, Shape
from edgenas.spaces.blocks import chain
from edgenas.spaces.mixed_cell import MixedPart

Option = int | float | str


@dataclass(frozen=True, slots=True)
class Gene:
    """A choice among `options`.

    A gene with a `parent` is active only where the parent is active and has one of the options
    `active_under`; an inactive gene is 0 in canonical genes, so equal networks are equal genes.
    """

    name: str
    options: tuple[Option, ...]
    parent: str = ""
    active_under: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class Factor:
    """A part of the network; `build` takes the options of `genes`, in order, to its operators.

    `mixed` returns its operators with all choices open, where they are cells: they have the names
    and the number of those that `build` returns. Other factors mix whole combinations.
    """

    name: str
    genes: tuple[str, ...]
    build: Callable[..., tuple[OpSpec, ...]]
    mixed: Callable[[], tuple[MixedPart, ...]] | None = None


def command_options(name: str, parameters: Mapping[str, Any]) -> str:
    """Return the options by which a command line asks for the space of these parameters."""
    if "preset" not in parameters:
        return f"--space {name}"
    changes = (
        f" --set {shlex.quote(f'{key}={json.dumps(value)}')}"
        for key, value in parameters.items()
        if key != "preset"
    )
    return f"--space {parameters['preset']}{''.join(changes)}"


class SearchSpace:
    """Genes, factors, and operators on whole populations (arrays of shape (n, n_genes)).

    Args:
        name: what tables and runs call this space; another network means another name.
        genes: in the order of the vector; a parent may stand anywhere.
        factors: in the order in which the network runs them.
        parameters: JSON values from which `edgenas.spaces.get` makes this space again.
        n_classes: width of the network's output.
        sequences: genes in the order of their factors, which stand in a row and of which each
            runs the same operators for the same option, and none for option 0. Which of them
            are 0 makes no difference, so in canonical genes the last ones are.
        norm_epsilon: what the networks' batch norms add to variances.
        growing: genes that say how many parts something has, from few to many; their children
            are genes of the parts. Searchers that grow architectures raise them one by one.
    """

    def __init__(  # noqa: PLR0913
        self,
        name: str,
        genes: tuple[Gene, ...],
        factors: tuple[Factor, ...],
        *,
        parameters: Mapping[str, Any],
        n_classes: int,
        sequences: tuple[tuple[str, ...], ...] = (),
        norm_epsilon: float = NORM_EPSILON,
        growing: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.genes = genes
        self.factors = factors
        self.parameters = dict(parameters)
        self.n_classes = n_classes
        self.index = {gene.name: i for i, gene in enumerate(genes)}
        self.n_options = np.array([len(gene.options) for gene in genes])
        self.sequences = sequences
        self.norm_epsilon = norm_epsilon
        self.growing = growing
        self._check_declaration()

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return len(self.genes)

    @property
    def command_options(self) -> str:
        """The options by which a command line asks for this space."""
        return command_options(self.name, self.parameters)

    # -- populations -----------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """Return `n` architectures, every gene uniform, canonical, shape (n, n_genes).

        Uniform over genes is not uniform over networks where genes can be inactive; for that
        see `edgenas.spaces.budget.BudgetProgram.sample`.
        """
        return self.canonical(rng.integers(0, self.n_options, (n, self.n_genes)).astype(np.int8))

    def mutate(
        self, population: Genes, rng: np.random.Generator, *, probability: float | None = None
    ) -> Genes:
        """Resample each gene with `probability` (default 1 / n_genes), at least one active gene.

        Returns:
            Canonical genes, same shape; every row differs from its parent unless all its
            active genes have one option only.
        """
        p = 1 / self.n_genes if probability is None else probability
        chosen = rng.random(population.shape) < p
        movable = self.active(population) & (self.n_options > 1)
        # One active gene always moves: a mutation of inactive genes alone would be no mutation.
        lottery = np.where(movable, rng.random(population.shape), -1.0)
        rows = np.arange(len(population))
        forced = lottery.argmax(axis=1)
        chosen[rows, forced] |= ~(chosen & movable).any(axis=1) & movable.any(axis=1)
        step = rng.integers(1, np.maximum(self.n_options, 2), population.shape)
        moved = (population + step) % self.n_options
        mutants = self.canonical(np.where(chosen, moved, population).astype(np.int8))
        # Genes of a sequence may have changed places: one move alone always leads elsewhere.
        same = (mutants == self.canonical(population)).all(axis=1) & movable.any(axis=1)
        single = population.copy()
        single[rows, forced] = moved[rows, forced]
        return self.canonical(np.where(same[:, None], single, mutants))

    def crossover(self, left: Genes, right: Genes, rng: np.random.Generator) -> Genes:
        """Return children that take each gene from either parent at even odds, canonical."""
        return self.canonical(np.where(rng.random(left.shape) < 0.5, left, right).astype(np.int8))

    def active(self, population: Genes) -> np.ndarray:
        """Return which genes matter, shape (n, n_genes), bool."""
        mask = np.ones(population.shape, dtype=bool)
        for column, (parent, allowed) in self.conditions.items():  # parents come first
            mask[:, column] = mask[:, parent] & allowed[population[:, parent]]
        return mask

    def canonical(self, population: Genes) -> Genes:
        """Return the genes of the same networks with every inactive gene 0.

        The zeros of a sequence (see the class) come last.
        """
        genes: Genes = np.where(self.active(population), population, 0).astype(np.int8)
        for columns in self.sequence_columns:
            part = genes[:, columns]
            order = np.argsort(part == 0, axis=1, kind="stable")
            genes[:, columns] = np.take_along_axis(part, order, axis=1)
        return genes

    def encode(self, population: Genes) -> np.ndarray:
        """Return one-hot features, zeros for inactive genes, shape (n, sum of options), float32."""
        offsets = np.concatenate([[0], np.cumsum(self.n_options)[:-1]])
        features = np.zeros((len(population), int(self.n_options.sum())), dtype=np.float32)
        rows = np.arange(len(population))[:, None]
        features[rows, offsets + population] = self.active(population)
        return features

    def features(self, population: Genes) -> list[np.ndarray]:
        """Return what models of architectures read, in groups, each of shape (n, n_features).

        One-hot genes here; a space whose genes say little on their own adds what they do together.
        """
        return [self.encode(population)]

    def check(self, population: Genes) -> None:
        """Refuse genes that are not of this space.

        Raises:
            SpaceError: wrong shape or an option out of range.
        """
        if population.ndim != 2 or population.shape[1] != self.n_genes:
            raise SpaceError(
                f"genes of {self.name} have shape (n, {self.n_genes}), got {population.shape}"
            )
        bad = np.argwhere((population < 0) | (population >= self.n_options))
        if len(bad):
            row, column = bad[0]
            raise SpaceError(
                f"{self.name}, architecture {row}: gene {self.genes[column].name} is "
                f"{population[row, column]}, allowed: 0 to {self.n_options[column] - 1}"
            )

    # -- networks --------------------------------------------------------------------------

    def ops(self, row: Genes) -> tuple[tuple[str, OpSpec], ...]:
        """Return the named operators of one architecture, in the order of the network."""
        found: list[tuple[str, OpSpec]] = []
        for factor, table in zip(self.factors, self.combination_ops, strict=True):
            specs = table[self._combination(factor, row)]
            found += [
                (factor.name if len(specs) == 1 else f"{factor.name}.{i}", spec)
                for i, spec in enumerate(specs)
            ]
        return tuple(found)

    def network(self, row: Genes) -> Graph:
        """Return the whole network of one architecture as one graph of primitives."""
        return replace(chain(self.ops(row)), norm_epsilon=self.norm_epsilon)

    def input_shape(self, row: Genes) -> Shape:
        """Return the (channels, height, width) that the architecture takes."""
        return self.ops(row)[0][1].in_shape

    @cached_property
    def combination_ops(self) -> list[list[tuple[OpSpec, ...]]]:
        """Operators of every factor for every combination of its genes' options.

        Combinations count like digits: the last gene of the factor turns fastest.
        """
        return [
            [
                factor.build(*options)
                for options in product(*(self.genes[self.index[g]].options for g in factor.genes))
            ]
            for factor in self.factors
        ]

    def factor_ops(self) -> dict[str, list[OpSpec]]:
        """Return the distinct operators that each factor can run, by the factor's name."""
        return {
            factor.name: list(dict.fromkeys(op for specs in table for op in specs))
            for factor, table in zip(self.factors, self.combination_ops, strict=True)
        }

    def distinct_ops(self) -> list[OpSpec]:
        """Return every operator that some architecture of the space runs, each once."""
        return list(dict.fromkeys(op for ops in self.factor_ops().values() for op in ops))

    def largest(self) -> Genes:
        """Return the genes of the last options: by convention the largest network."""
        last: Genes = (self.n_options - 1).astype(np.int8)
        genes: Genes = self.canonical(last[None])[0]
        return genes

    def smallest(self) -> Genes:
        """Return the genes of the first options: by convention the smallest network."""
        return np.zeros(self.n_genes, dtype=np.int8)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of genes and operators: equal exactly where the networks are the same."""
        digest = hashlib.sha256()
        for gene in self.genes:
            digest.update(repr((gene.name, gene.options, gene.parent, gene.active_under)).encode())
        for factor, table in zip(self.factors, self.combination_ops, strict=True):
            keys = [[op.key for op in specs] for specs in table]
            digest.update(repr((factor.name, factor.genes, keys)).encode())
        if self.sequences:
            digest.update(repr(self.sequences).encode())
        if self.norm_epsilon != NORM_EPSILON:
            digest.update(repr(self.norm_epsilon).encode())
        return digest.hexdigest()[:16]

    # -- reading and writing ---------------------------------------------------------------

    def architectures(self, population: Genes) -> list[Architecture]:
        """Return canonical `Architecture` values, one a row."""
        return architectures(self.name, self.canonical(population))

    def describe(self, row: Genes) -> dict[str, Option]:
        """Return the chosen option of every active gene, by gene name."""
        active = self.active(row[None])[0]
        return {
            gene.name: gene.options[int(row[i])] for i, gene in enumerate(self.genes) if active[i]
        }

    def parse(self, config: Mapping[str, Any]) -> Genes:
        """Return canonical genes, shape (n_genes,), from what `describe` wrote.

        Raises:
            SpaceError: an unknown gene, an option that is not one, or an active gene missing.
        """
        row = np.zeros(self.n_genes, dtype=np.int8)
        for name, option in config.items():
            if name not in self.index:
                raise SpaceError(f"{self.name} has no gene {name!r}; {choices(name, self.index)}")
            options = self.genes[self.index[name]].options
            if option not in options:
                raise SpaceError(
                    f"{self.name}: gene {name} is {option!r}, allowed: "
                    f"{', '.join(map(str, options))}"
                )
            row[self.index[name]] = options.index(option)
        active = self.active(row[None])[0]
        missing = [
            gene.name for i, gene in enumerate(self.genes) if active[i] and gene.name not in config
        ]
        if missing:
            raise SpaceError(f"{self.name}: the configuration lacks {', '.join(missing)}")
        result: Genes = self.canonical(row[None])[0]
        return result

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], SearchSpace], tuple[dict[str, Any]]]:
        """Travel to another process as the parameters from which the space is made again."""
        from edgenas.spaces import from_parameters

        if "preset" not in self.parameters:
            raise SpaceError(f"{self.name} is made of no preset: it cannot be sent to a process")
        return from_parameters, (self.parameters,)

    # -- internal --------------------------------------------------------------------------

    def strides(self, factor: Factor) -> tuple[list[int], np.ndarray]:
        """Return the gene columns of `factor` and their weights in its combination number."""
        columns = [self.index[name] for name in factor.genes]
        counts = self.n_options[columns]
        weights = np.concatenate([np.cumprod(counts[::-1])[::-1][1:], [1]]).astype(np.int64)
        return columns, weights[: len(columns)]

    def _check_declaration(self) -> None:
        if len(self.index) != len(self.genes):
            raise SpaceError(f"space {self.name}: two genes have the same name")
        for gene in self.genes:
            if not 1 <= len(gene.options) <= np.iinfo(np.int8).max:
                raise SpaceError(
                    f"space {self.name}: gene {gene.name} has {len(gene.options)} options, "
                    "allowed: 1 to 127"
                )
        wanted = {gene.parent for gene in self.genes if gene.parent}
        wanted |= {name for factor in self.factors for name in factor.genes} | {*self.growing}
        unknown = sorted(wanted - set(self.index))
        if unknown:
            raise SpaceError(
                f"space {self.name}: {', '.join(unknown)} is read and is no gene; "
                f"{choices(unknown[0], self.index)}"
            )

        for sequence in self.sequences:
            for name in sequence:
                if name not in self.index or self.genes[self.index[name]].parent:
                    raise SpaceError(
                        f"space {self.name}: {name} is in a sequence, which takes genes that "
                        f"have no parent; {choices(name, self.index)}"
                    )

    @cached_property
    def sequence_columns(self) -> list[list[int]]:
        """Columns of every sequence's genes."""
        return [[self.index[name] for name in sequence] for sequence in self.sequences]

    def _combination(self, factor: Factor, row: Genes) -> int:
        columns, weights = self.strides(factor)
        return int(row[columns].astype(np.int64) @ weights) if columns else 0

    @cached_property
    def conditions(self) -> dict[int, tuple[int, np.ndarray]]:
        """Conditional genes: column to (parent's column, allowed options as a mask), in order."""
        conditions: dict[int, tuple[int, np.ndarray]] = {}
        pending = [gene for gene in self.genes if gene.parent]
        while pending:
            ready = [
                gene for gene in pending if gene.parent not in {other.name for other in pending}
            ]
            if not ready:
                names = ", ".join(gene.name for gene in pending)
                raise SpaceError(f"space {self.name}: {names} are each other's parents")
            for gene in ready:
                parent = self.index[gene.parent]
                options = self.genes[parent].options
                allowed = np.array([option in gene.active_under for option in options])
                conditions[self.index[gene.name]] = (parent, allowed)
            pending = [gene for gene in pending if gene not in ready]
        return conditions
