"""What candidates begin with, computed once, is what each of them would compute alone."""

from __future__ import annotations

import torch

from edgenas.core.ops import NORM_EPSILON, OpSpec
from edgenas.lowering.torch import run_graph
from edgenas.oneshot.elastic import Slot
from edgenas.oneshot.mixed.beginnings import beginnings, run_candidates
from edgenas.oneshot.sharing import graph_of
from edgenas.oneshot.supernet import Supernet
from edgenas.spaces.base import SearchSpace
from tests.oneshot.mixed.small_spaces import small

Rows = tuple[tuple[OpSpec, ...], ...]


def candidates(space: SearchSpace) -> list[tuple[str, Rows]]:
    """Return the factors with several candidates of one operator, and these."""
    found = []
    for factor, table in zip(space.factors, space.combination_ops, strict=True):
        rows = tuple(dict.fromkeys(table))
        if factor.mixed is None and sum(len(row) == 1 for row in rows) > 1:
            found.append((factor.name, rows))
    return found


def test_results_and_gradients_are_those_of_each_alone(space: SearchSpace) -> None:
    supernet = Supernet(space, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, rows in candidates(space):
        slot = supernet.slot(name)
        if not isinstance(slot, Slot):
            continue
        widest = max((row[0].in_shape for row in rows if row), key=lambda shape: shape[0])
        values = torch.randn((3, *widest), generator=generator, requires_grad=True)
        together = run_candidates(slot, rows, values, norm_epsilon=supernet.norm_epsilon)
        leaves = [values, *slot.parameters()]
        for row, made in zip(rows, together, strict=True):
            if len(row) != 1:
                assert made is None
                continue
            assert made is not None
            graph = graph_of(row[0], norm_epsilon=supernet.norm_epsilon)
            own = values[:, : row[0].in_shape[0]]
            alone = run_graph(graph, slot.tensors(row[0]), own, training=True)
            torch.testing.assert_close(made, alone, rtol=1e-4, atol=1e-4)
            direction = torch.randn(alone.shape, generator=generator)
            gradients = [
                torch.autograd.grad(
                    (one * direction).sum(), leaves, retain_graph=True, allow_unused=True
                )
                for one in (made, alone)
            ]
            for one, other in zip(*gradients, strict=True):
                # Behind shared layers a parameter that a candidate does not read has zeros.
                if other is None:
                    assert one is None or not one.any()
                else:
                    assert one is not None
                    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def one_size(rows: Rows) -> list[OpSpec]:
    """Return the inverted residuals that read images of the first one's size."""
    ops = [op for row in rows for op in row if op.kind == "mbconv"]
    return [op for op in ops if op.in_shape == ops[0].in_shape]


def widths_of(ops: list[OpSpec]) -> set[int]:
    return {op.integer("mid_channels") for op in ops}


def test_inverted_residuals_share_an_expansion_and_a_depthwise_convolution_per_kernel() -> None:
    every = [rows for _, rows in candidates(small("once-for-all"))]
    ops = next(ops for ops in map(one_size, every) if len(widths_of(ops)) > 1)
    found = beginnings(tuple((op,) for op in ops), NORM_EPSILON)
    names = [layer.graph.nodes[0].name for layer in found.layers]
    n_kernels = len({op.integer("kernel") for op in ops})
    assert n_kernels > 1
    assert names.count("expand") == 1
    assert names.count("depthwise") == n_kernels
    widest = max(widths_of(ops))
    convolutions = [layer.graph.nodes[0].op for layer in found.layers]
    assert {op.integer("out_channels") for op in convolutions if op.kind == "conv2d"} == {widest}


def test_grouped_and_dense_convolutions_behind_the_first_are_not_shared() -> None:
    for _, rows in candidates(small("fbnet")):
        found = beginnings(rows, NORM_EPSILON)
        for row, n_nodes in zip(rows, found.n_nodes, strict=True):
            if len(row) == 1:
                nodes = graph_of(row[0]).nodes
                assert all(node.name != "project" for node in nodes[:n_nodes])
                first = nodes[0].op
                if first.kind == "conv2d" and 1 < first.integer("groups") < first.in_shape[0]:
                    assert n_nodes == 0
