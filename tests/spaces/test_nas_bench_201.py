"""NAS-Bench-201: published counts, what leads through a cell, features, texts."""

import csv
import gzip
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.errors import SpaceError
from edgenas.core.ops import Graph
from edgenas.lowering.weights import random_weights
from edgenas.spaces import fold, get
from edgenas.spaces.blocks import expand
from edgenas.spaces.cells import EDGES, PATHS, cell, cell_letters, reads_activated, used_edges
from edgenas.spaces.listing import listing
from edgenas.spaces.nas_bench_201 import OPTIONS, NasBench201Space, nas_bench_201
from edgenas.testing.reference import evaluate
from edgenas.testing.space_contract import SpaceContract

SHAPE = (4, 6, 6)


class TestContract(SpaceContract):
    """Cells that compute the same are architectures of their own (see the space)."""

    factory = "edgenas.spaces:get"
    settings = {"name": "nas_bench_201"}  # noqa: RUF012

    test_every_active_gene_changes_the_network = None  # type: ignore[assignment]
    test_mutants_are_other_networks = None  # type: ignore[assignment]


@pytest.fixture(scope="module")
def space() -> NasBench201Space:
    return nas_bench_201("nas_bench_201", n_classes=100)


def test_counts_are_the_published_ones_of_all_cells_that_lose_nothing(
    space: NasBench201Space, bench_data: Path
) -> None:
    with gzip.open(bench_data / "nb201_hw/nb201_arch_accuracy.csv.gz", "rt") as file:
        entries = list(csv.DictReader(file))
    rows = np.array([space.from_code(entry["arch_str"]) for entry in entries])
    assert len(np.unique(rows, axis=0)) == len(rows) == 15_625
    n_params, n_macs = fold.params(space)(rows), fold.macs(space)(rows)
    stated_params = np.array([float(entry["params_cifar100"]) for entry in entries])
    stated_macs = np.array([float(entry["flops_cifar100"]) for entry in entries])
    # The benchmark counts edges that lead nowhere, too, and the classifier's biases as FLOPs.
    there = rows != OPTIONS.index("none")
    whole = (used_edges(there) == there).all(axis=1)
    assert whole.sum() > 5000
    assert n_params[whole].tolist() == stated_params[whole].tolist()
    assert (n_macs[whole] + 100).tolist() == stated_macs[whole].tolist()
    assert (n_params <= stated_params).all()
    assert (n_macs + 100 <= stated_macs).all()


def by_hand(edges: tuple[str, ...], graph: Graph, images: np.ndarray) -> np.ndarray:
    """Compute all four nodes of a cell, whether they lead anywhere or not."""
    weights = random_weights(graph, seed=3)
    ops = {node.name: node for node in graph.nodes}
    nodes = [images.astype(np.float64)]
    for target in (1, 2, 3):
        total = np.zeros_like(nodes[0])
        for (source, end), edge in zip(EDGES, edges, strict=True):
            if end != target or edge == "none":
                continue
            name, value = f"edge{source}to{target}", nodes[source]
            if edge == "skip_connect":
                total = total + value
            elif name in ops:  # else it is not in the graph, and must not matter
                one = Graph(graph.in_shape, (ops[name],))
                one = Graph(one.in_shape, (type(ops[name])(name, ops[name].op, ("input",)),))
                if edge.startswith("nor_conv"):
                    value = np.maximum(value, 0)
                total = total + evaluate(one, weights, value.astype(np.float32))
        nodes.append(total)
    return nodes[3]


@pytest.mark.parametrize("function", ["none", "relu"])
def test_a_cell_is_the_sum_over_its_edges(function: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    cells = list(product(OPTIONS, repeat=6))
    for i in rng.choice(len(cells), 300, replace=False):
        op = cell(SHAPE, cell_letters(cells[i]), activation=function)
        if op is None:
            continue
        graph = expand(op)
        # Where it says so, the cell is given what is behind the first ReLU.
        given = np.maximum(images, 0) if reads_activated(cell_letters(cells[i])) else images
        found = evaluate(graph, random_weights(graph, seed=3), given)
        expected = by_hand(cells[i], graph, images)
        expected = np.maximum(expected, 0) if function == "relu" else expected
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_cell_of_skips_alone_runs_nothing_and_one_without_a_path_makes_zeros() -> None:
    skips = ("none", "none", "none", "skip_connect", "none", "none")
    assert cell(SHAPE, cell_letters(skips)) is None
    four = cell(SHAPE, cell_letters(("skip_connect",) * 6))
    assert four is not None  # it returns four times the input
    edges = ("nor_conv_3x3", "none", "none", "none", "none", "nor_conv_3x3")
    dead = cell(SHAPE, cell_letters(edges))
    assert dead is not None
    assert [node.op.kind for node in expand(dead).nodes] == ["zeros"]


def test_dead_cells_are_as_many_as_published(space: NasBench201Space) -> None:
    every = listing(space)
    assert every is not None
    there = every != OPTIONS.index("none")
    assert (~used_edges(there).any(axis=1)).sum() == 341


def test_features_depend_on_what_leads_through_the_cell(space: NasBench201Space) -> None:
    every = listing(space)
    assert every is not None
    features = np.hstack(space.features(every))
    # Cells that return their input are told apart by the way that the skips take.
    keys = [
        op.key if (op := cell(SHAPE, cell_letters(names))) else str(names)
        for names in _names(every)
    ]
    by_key: dict[str, np.ndarray] = {}
    for key, row in zip(keys, features, strict=True):
        assert np.array_equal(by_key.setdefault(key, row), row)
    cells = {key: row for key, row in by_key.items() if key.startswith("nas_bench_201_cell")}
    assert len(np.unique(np.array(list(cells.values())), axis=0)) == len(cells)


def test_features_list_paths(space: NasBench201Space) -> None:
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
    one_hot, paths, counts = space.features(space.from_code(text)[None])
    assert one_hot.shape == (1, 30)
    # 3x3 then 1x1 (with the skip left out), and the pool: two different lists.
    assert sorted(paths[0][paths[0] > 0].tolist()) == [1.0, 1.0]
    # A skip, a pool, a 1x1, a 3x3; two paths, with two convolutions and with none.
    assert counts[0].tolist() == [1, 1, 1, 1, 2, 2, 0]


def test_wrong_texts_are_refused(space: NasBench201Space) -> None:
    for text in ("", "|none~0|", "|none~1|+|none~0|none~1|+|none~0|none~1|none~2|"):
        with pytest.raises(SpaceError, match="not a cell of"):
            space.from_code(text)
    with pytest.raises(SpaceError, match="edge0to1 is 'conv', allowed"):
        space.from_code("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|")


def test_paths_run_from_the_first_node_to_the_last() -> None:
    for path in PATHS:
        nodes = [EDGES[path[0]][0], *(EDGES[edge][1] for edge in path)]
        assert (nodes[0], nodes[-1]) == (0, 3)
        assert [EDGES[edge][0] for edge in path] == nodes[:-1]


def _names(rows: np.ndarray) -> list[tuple[str, ...]]:
    return [tuple(OPTIONS[option] for option in row) for row in rows]


def test_other_settings_make_another_space() -> None:
    space = get("nas_bench_201", n_cells=1, width=8)
    assert space.name == "nas_bench_201-n_cells=1-width=8"
    assert len(space.ops(space.largest())) == 3 + 2 + 2


def test_codes_are_written_as_they_are_read(space: NasBench201Space) -> None:
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
    row = space.from_code(text)
    assert space.describe(row)["edge2to3"] == "nor_conv_1x1"
    assert space.code_of(row) == text


def test_blocks_end_behind_the_relu_where_only_convolutions_read_them(
    space: NasBench201Space,
) -> None:
    text = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|none~0|skip_connect~1|none~2|"
    ends = [
        op["activation"] for _, op in space.ops(space.from_code(text)) if op.kind != "norm_head"
    ]
    # Stem, cells of a stage, residual block, and so on; what is behind a stage adds its input.
    assert ends == ["relu", *["relu"] * 4, "none"] * 3
    raw = text.replace("nor_conv_1x1~0", "avg_pool_3x3~0").replace("none~2", "nor_conv_1x1~2")
    ends = [op["activation"] for _, op in space.ops(space.from_code(raw)) if op.kind != "norm_head"]
    assert ends == ["none"] * 18


def test_a_node_that_is_the_input_is_read_as_the_input() -> None:
    assert reads_activated("snnoon")  # node 1 is a skip away
    assert not reads_activated("snnosn")  # where it is added, it is as it was
    assert not reads_activated("nnnnnn")
    assert not reads_activated("pnnoon")


def test_networks_run_the_same_with_and_without_the_activation_moved(
    space: NasBench201Space,
) -> None:
    """All ReLUs of a network, wherever its blocks are cut, are those of the paper's cells."""
    for row in space.sample(60, np.random.default_rng(3)):
        nodes = space.network(row).nodes
        makers = {node.name: node.op.kind for node in nodes}
        for node in nodes:
            if node.op.kind == "conv2d" and ".edge" in node.name:
                assert makers[node.inputs[0]] == "activation"
            if node.op.kind == "avg_pool2d" or node.name.endswith("shortcut"):
                assert all(makers[name] != "activation" for name in node.inputs)
