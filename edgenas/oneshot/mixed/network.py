"""The mixed network: every factor runs what the mixture holds, weighted, and the results add up.

Liu et al. 2019 (DARTS), arXiv:1806.09055, equation 2, for genes in place of edges: the weight of
what a factor runs is the product of the weights of the options that choose it. Candidates of
other widths read the first channels of what comes in, and what they make is filled up with zeros
(Wan et al. 2020 (FBNetV2), arXiv:2004.05565, section 3.1), so that one path alone is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from edgenas.core.errors import SpaceError, choices
from edgenas.core.ops import Graph, OpSpec
from edgenas.lowering.torch import channels_last, run_graph
from edgenas.oneshot.elastic import Slot
from edgenas.oneshot.mixed.beginnings import run_candidates
from edgenas.oneshot.mixed.drawn import drawn_genes
from edgenas.oneshot.mixed.mixture import Mixture
from edgenas.oneshot.mixed.narrow import can_be_narrow, narrow_graph, narrow_op, narrow_tensors
from edgenas.oneshot.mixed.terms import FactorTerms
from edgenas.oneshot.separate import NodeSlot
from edgenas.oneshot.sharing import graph_of, has_weights
from edgenas.oneshot.supernet import Supernet
from edgenas.spaces.base import Factor, SearchSpace
from edgenas.spaces.mixed_cell import MixedCell, MixedEdge


@dataclass(frozen=True, slots=True)
class How:
    """How a mixture is run, beyond its weights.

    Attributes:
        channel_parts: PC-DARTS's K: candidates that keep the shape see the first 1 / K of the
            channels, the others pass by, and all are shuffled.
        depth: how many cells of every stage run; None: all (P-DARTS's growing depth).
        skip_dropout: probability with which what a skip returns is zeroed, value by value.
    """

    channel_parts: int = 1
    depth: int | None = None
    skip_dropout: float = 0.0


_PLAIN = How()


class MixedNetwork:
    """Runs mixtures of the architectures of `space` with the weights of a supernet.

    Args:
        supernet: has weights of all operators of `space`.
        space: whose choices are mixed.

    Raises:
        SpaceError: the supernet has not the weights, or some choice cannot be mixed.
    """

    def __init__(self, supernet: Supernet, space: SearchSpace) -> None:
        supernet.check_space(space)
        self.supernet, self.space = supernet, space
        self.drawn = drawn_genes(space)
        self._terms = [
            None if factor.mixed else FactorTerms(space, factor, table)
            for factor, table in zip(space.factors, space.combination_ops, strict=True)
        ]
        self._cells = [factor.mixed() if factor.mixed else () for factor in space.factors]

    def __call__(
        self, images: Tensor, mixture: Mixture, *, how: How = _PLAIN, seed: int = 0
    ) -> Tensor:
        """Return the logits of a mixture, batch norms using the batch's own statistics.

        Args:
            images: network inputs, shape (n, channels, height, width), of the size that the
                drawn genes choose.
            mixture: what runs; of genes that can only be drawn (`drawn_genes`) one option.
            how: see `How`.
            seed: of what is dropped.
        """
        run = _Run(self, mixture, how, torch.Generator().manual_seed(seed))
        values = channels_last(images)
        for place in range(len(self.space.factors)):
            values = self._factor(run, place, values)
        return values

    def factor(self, name: str, values: Tensor, mixture: Mixture, *, how: How = _PLAIN) -> Tensor:
        """Return what one factor makes of `values`, in a mixture.

        Raises:
            SpaceError: no factor has that name.
        """
        names = [factor.name for factor in self.space.factors]
        if name not in names:
            raise SpaceError(f"{self.space.name} has no factor {name!r}; {choices(name, names)}")
        run = _Run(self, mixture, how, torch.Generator().manual_seed(0))
        return self._factor(run, names.index(name), channels_last(values))

    def _factor(self, run: _Run, place: int, values: Tensor) -> Tensor:
        factor, terms, cells = self.space.factors[place], self._terms[place], self._cells[place]
        if terms is not None:
            return run.factor(factor, terms, values)
        if run.how.depth is not None:
            n_before = sum(not isinstance(part, MixedCell) for part in cells)
            cells = cells[: n_before + run.how.depth]
        for i, part in enumerate(cells):
            name = f"{factor.name}.{i}"
            if isinstance(part, MixedCell):
                values = run.cell(name, part, values)
            else:
                values = run.ops(name, (part,), values)
        return values


class _Run:
    """One forward pass."""

    def __init__(
        self, network: MixedNetwork, mixture: Mixture, how: How, generator: torch.Generator
    ) -> None:
        self.supernet, self.space = network.supernet, network.space
        self.mixture, self.how, self.generator = mixture, how, generator

    def factor(self, factor: Factor, factor_terms: FactorTerms, values: Tensor) -> Tensor:
        """Return what a factor makes of its input."""
        terms = factor_terms.of(self.mixture)
        found = factor_terms.coefficients(terms, self.mixture)
        if found is None:
            return self.ops(factor.name, terms.specs[0], values)
        weights = found.to(values.device)
        parts = self.how.channel_parts if factor_terms.columns else 1
        if parts > 1 and all(_fits(specs, values.shape[1], parts) for specs in terms.specs):
            return self._partly(factor.name, terms.specs, weights, values, parts)
        return _add_up(self._terms(factor.name, terms.specs, values), weights)

    def cell(self, name: str, cell: MixedCell, values: Tensor) -> Tensor:
        """Return what a cell makes of its input."""
        slot = self.supernet.slot(name)
        if not isinstance(slot, NodeSlot):
            raise SpaceError(f"{name} is a cell, and its weights are no cell's")
        nodes: list[Tensor | None] = [values, *[None] * (cell.n_nodes - 1)]
        for edge in cell.edges:
            source = nodes[edge.source]
            made = None if source is None else self._edge(slot, edge, source)
            if made is not None:
                before = nodes[edge.target]
                nodes[edge.target] = made if before is None else before + made
        last = nodes[-1]
        return torch.zeros_like(values) if last is None else last

    def ops(self, name: str, specs: Sequence[OpSpec], values: Tensor) -> Tensor:
        """Return what operators in a row, of the part `name`, make of the first channels."""
        if specs and specs[0].in_shape[0] < values.shape[1]:
            values = channels_last(values[:, : specs[0].in_shape[0]])
        for i, op in enumerate(specs):
            part = name if len(specs) == 1 else f"{name}.{i}"
            tensors = self.supernet.slot(part).tensors(op)
            graph = graph_of(op, norm_epsilon=self.supernet.norm_epsilon)
            values = run_graph(graph, tensors, values, training=True)
        return values

    def _terms(
        self, name: str, terms: Sequence[tuple[OpSpec, ...]], values: Tensor
    ) -> list[Tensor]:
        """Return what every term makes of a factor's input."""
        made: Sequence[Tensor | None] = [None] * len(terms)
        if sum(len(specs) == 1 for specs in terms) > 1:
            slot = self.supernet.slot(name)
            if isinstance(slot, Slot):
                epsilon = self.supernet.norm_epsilon
                made = run_candidates(slot, terms, values, norm_epsilon=epsilon)
        return [
            self._term(name, specs, values) if one is None else one
            for specs, one in zip(terms, made, strict=True)
        ]

    def _term(self, name: str, specs: Sequence[OpSpec], values: Tensor) -> Tensor:
        return self.ops(name, specs, values) if specs else self._skipped(values)

    def _skipped(self, values: Tensor) -> Tensor:
        rate = self.how.skip_dropout
        if not rate:
            return values
        kept = torch.rand(values.shape, generator=self.generator) >= rate
        return values * kept.to(values) / (1 - rate)

    def _partly(
        self,
        name: str,
        terms: Sequence[Sequence[OpSpec]],
        weights: Tensor,
        values: Tensor,
        parts: int,
    ) -> Tensor:
        """Return a mixture over the first channels beside all the others, shuffled."""
        n = values.shape[1] // parts
        seen, passed = values[:, :n], values[:, n:]
        made = []
        for specs in terms:
            result = seen if specs else self._skipped(seen)
            for i, op in enumerate(specs):
                tensors = self.supernet.slot(f"{name}.{i}").tensors(op)
                graph = graph_of(narrow_op(op, parts), norm_epsilon=self.supernet.norm_epsilon)
                result = run_graph(graph, narrow_tensors(graph, tensors), result, training=True)
            made.append(result)
        joined = torch.cat([_add_up(made, weights), passed], 1)
        return channels_last(functional.channel_shuffle(joined, parts))

    def _edge(self, slot: NodeSlot, edge: MixedEdge, values: Tensor) -> Tensor | None:
        """Return what an edge makes of its source; None where it makes zeros."""
        column = self.space.index[edge.gene]
        weights = self.mixture.genes.get(column)
        runs = self.mixture.runs(column)
        is_one = weights is None or (len(runs) == 1 and not weights.value.requires_grad)
        parts = self.how.channel_parts if not is_one else 1
        n = values.shape[1] // parts
        seen = values[:, :n] if parts > 1 else values
        total: Tensor | None = None
        for option in runs:
            graph = edge.options[option]
            if graph is None:
                continue
            made = self._option(slot, edge, graph, seen, parts)
            if not is_one and weights is not None:
                made = made * weights.value[option].to(values.device)
            total = made if total is None else total + made
        if parts > 1:
            shown = torch.zeros_like(seen) if total is None else total
            joined = torch.cat([shown, values[:, n:]], 1)
            total = channels_last(functional.channel_shuffle(joined, parts))
        factor = self.mixture.edges.get(column)
        return total if total is None or factor is None else total * factor.to(values.device)

    def _option(
        self, slot: NodeSlot, edge: MixedEdge, graph: Graph, values: Tensor, parts: int
    ) -> Tensor:
        if not graph.nodes:
            return self._skipped(values)
        tensors: dict[str, Tensor] = {}
        last = graph.nodes[-1]
        if has_weights(last.op):
            tensors = slot.layer(edge.layer, last.op)
        if parts > 1:
            graph = narrow_graph(graph, parts)
            tensors = narrow_tensors(graph, tensors)
        return run_graph(graph, tensors, values, training=True)


def _fits(specs: Sequence[OpSpec], channels: int, parts: int) -> bool:
    """Return whether operators can be run on one of so many parts of all channels."""
    return all(op.in_shape[0] == channels and can_be_narrow(op, parts) for op in specs)


def _add_up(made: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Return the weighted sum; fewer channels than the most are filled up with zeros."""
    most = max(one.shape[1] for one in made)
    total: Tensor | None = None
    for one, weight in zip(made, weights.unbind(), strict=True):
        part = one * weight
        if one.shape[1] < most:
            part = functional.pad(part, (0, 0, 0, 0, 0, most - one.shape[1]))
        total = part if total is None else total + part
    assert total is not None  # noqa: S101  # a factor runs something
    return total
