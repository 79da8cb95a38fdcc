"""What candidates begin with, computed once, is what each of them would compute alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgenas import spaces
from edgenas.core.ops import NORM_EPSILON, OpSpec
from edgenas.lowering import torch as lowering
from edgenas.lowering.torch import run_graph
from edgenas.oneshot.elastic import Slot
from edgenas.oneshot.mixed.beginnings import beginnings, run_candidates
from edgenas.oneshot.sharing import graph_of
from edgenas.oneshot.supernet import Supernet
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.ofa_resnet50 import Stage
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


def tiny_resnet() -> SearchSpace:
    """Return a space whose blocks read, and return, more or fewer channels."""
    return spaces.get(
        "resnet_tiny",
        stem_width=32,
        stages=(Stage(32, 1, (1, 2)), Stage(64, 2, (1,))),
        expansions=(0.5, 1.0),
        widths=(0.5, 1.0),
        resolutions=(24,),
        input_channels=1,
        n_classes=10,
    )


@pytest.mark.parametrize("kind", ["once-for-all", "proxylessnas", "resnet"])
def test_results_and_gradients_are_those_of_each_alone(kind: str) -> None:
    space = tiny_resnet() if kind == "resnet" else small(kind)
    supernet = Supernet(space, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # norms of ones and maps that are identities would hide a wrong cut
        for parameter in supernet.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    n_shared = 0
    for name, rows in candidates(space):
        slot = supernet.slot(name)
        if not isinstance(slot, Slot):
            continue
        widest = max((row[0].in_shape for row in rows if row), key=lambda shape: shape[0])
        values = torch.randn((3, *widest), generator=generator, requires_grad=True)
        found = beginnings(rows, supernet.norm_epsilon)
        n_shared += sum(last is not None for last in found.last)
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
    assert n_shared > 0


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
    # Each goes on behind its expansion, its depthwise convolution and the activations of both.
    assert set(found.n_nodes) == {4}


def test_candidates_do_not_compute_again_what_they_begin_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supernet = Supernet(small("once-for-all"), seed=0)
    name, rows = next(
        (name, rows)
        for name, rows in candidates(small("once-for-all"))
        if len(widths_of(one_size(rows))) > 1
    )
    ops = one_size(rows)
    counted: list[str] = []
    real = lowering._conv2d

    def count(op: OpSpec, images: torch.Tensor, *rest: Any) -> torch.Tensor:
        counted.append("depthwise" if op.integer("groups") > 1 else "dense")
        return real(op, images, *rest)

    monkeypatch.setattr(lowering, "_conv2d", count)
    slot = supernet.slot(name)
    assert isinstance(slot, Slot)
    values = torch.randn((2, *ops[0].in_shape))
    run_candidates(slot, [(op,) for op in ops], values, norm_epsilon=NORM_EPSILON)
    n_squeeze = 2 * sum(op.integer("se") for op in ops)
    assert counted.count("depthwise") == len({op.integer("kernel") for op in ops})
    assert counted.count("dense") == 1 + n_squeeze + len(ops)


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
