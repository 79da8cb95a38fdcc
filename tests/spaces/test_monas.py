"""MONAS's spaces: their choices, published counts of CondenseNets, what settings may be."""

from math import prod

import numpy as np
import pytest

from edgenas.core import counts
from edgenas.core.errors import SpaceError
from edgenas.core.ops import Graph, parse_key
from edgenas.spaces import fold
from edgenas.spaces.alexnet import alexnet_head
from edgenas.spaces.blocks import expand, out_shape
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.monas import monas_alexnet, monas_condensenet

POOLS = ("avg_pool2d", "global_avg_pool")


def operations(graph: Graph) -> int:
    """Count as CondenseNet's authors do: what ReLUs and pools read, and biases, besides MACs."""
    read = sum(
        prod(node.op.in_shape)
        for node in graph.nodes
        if node.op.kind == "activation" or node.op.kind in POOLS
    )
    return counts.n_macs(graph) + read + graph.out_shape[0]


@pytest.mark.parametrize(
    ("depth", "millions", "params"),
    [
        (50, 28.6, 0.22),
        (74, 51.9, 0.41),
        (86, 65.8, 0.52),
        (98, 81.3, 0.65),
        (110, 98.2, 0.79),
        (122, 116.7, 0.95),
    ],
)
def test_condensenets_are_those_that_were_published(
    depth: int, millions: float, params: float
) -> None:
    """Huang et al. 2018, the table of their public code: growths 8, 16, 32, equal stages."""
    n = (depth - 2) // 6
    space = monas_condensenet("monas_condensenet", layers=(n,), growths=(8, 16, 32))
    config = {f"layers{i}": n for i in (1, 2, 3)}
    config |= {"growth1": 8, "growth2": 16, "growth3": 32}
    graph = space.network(space.parse(config))
    assert sum(node.op.kind in ("conv2d", "linear") for node in graph.nodes) == depth
    assert round(operations(graph) / 1e6, 1) == millions
    assert counts.n_params(graph) / 1e6 == pytest.approx(params, abs=0.0051)


def test_a_stage_reads_all_that_the_stages_before_it_made() -> None:
    space = monas_condensenet("monas_condensenet")
    config = {"layers1": 6, "growth1": 24, "layers2": 14, "growth2": 4, "layers3": 8, "growth3": 16}
    stem, *layers, head = [op for _, op in space.ops(space.parse(config))]
    assert len(layers) == 6 + 14 + 8
    assert out_shape(stem) == (48, 32, 32)
    assert layers[6].in_shape == (48 + 6 * 24, 16, 16)
    assert layers[20].in_shape == (48 + 6 * 24 + 14 * 4, 8, 8)
    assert head.in_shape == (48 + 6 * 24 + 14 * 4 + 8 * 16, 8, 8)


def test_spaces_are_as_large_as_the_paper_s() -> None:
    assert BudgetProgram(fold.params(monas_condensenet("monas_condensenet"))).size() == 25**3
    assert BudgetProgram(fold.params(monas_alexnet("monas_alexnet"))).size() == 20**5
    for space in (monas_condensenet("monas_condensenet"), monas_alexnet("monas_alexnet")):
        assert max(len(table) for table in space.combination_ops) < 20_000


def test_an_alexnet_is_made_of_its_filters_and_kernels() -> None:
    space = monas_alexnet("monas_alexnet")
    filters, kernels = (48, 8, 64, 16, 32), (9, 3, 5, 7, 3)
    config = {f"filters{i}": n for i, n in enumerate(filters, start=1)}
    config |= {f"kernel{i}": n for i, n in enumerate(kernels, start=1)}
    graph = space.network(space.parse(config))
    convs = [node.op for node in graph.nodes if node.op.kind == "conv2d"]
    assert [op["out_channels"] for op in convs] == [*filters]
    assert [op["kernel"] for op in convs] == [*kernels]
    assert [op.in_shape[1:] for op in convs] == [(32, 32), (16, 16), (8, 8), (8, 8), (8, 8)]
    linear = [node.op for node in graph.nodes if node.op.kind == "linear"]
    assert [op.in_shape for op in linear] == [(32, 4, 4), (384,), (192,)]
    assert counts.n_params(graph) == sum(
        o * (i * k * k + 2) for i, o, k in zip((3, *filters), filters, kernels, strict=False)
    ) + (513 * 384 + 385 * 192 + 193 * 10)


def test_settings_must_fit() -> None:
    with pytest.raises(SpaceError, match=r"pools stand behind \(1, 6\), allowed: 1 to 5"):
        monas_alexnet("monas_alexnet", pools=(1, 6))
    with pytest.raises(SpaceError, match="has 0 stages"):
        monas_condensenet("monas_condensenet", n_stages=0)
    with pytest.raises(SpaceError, match="do not divide into 4 groups"):
        monas_condensenet("monas_condensenet", growths=(4, 6)).distinct_ops()
    shallow = monas_alexnet("monas_alexnet", n_layers=2, pools=(2,), hidden=())
    row = shallow.sample(1, np.random.default_rng(0))[0]
    assert [op.kind for _, op in shallow.ops(row)] == ["alexnet_layer"] * 2 + ["alexnet_head"]
    assert shallow.network(row).out_shape == (10,)
    for hidden in ((), (20,), (20, 30)):
        head = alexnet_head((8, 4, 4), hidden=hidden, n_classes=10)
        assert parse_key(head.key) == head
        assert len(expand(head).nodes) == 2 * len(hidden) + 1
    one = monas_condensenet("monas_condensenet", n_stages=1)
    assert one.network(one.smallest()).out_shape == (10,)
