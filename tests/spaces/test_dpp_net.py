"""DPP-Net's space: its cells, the network around them, and how they grow."""

import numpy as np
import pytest

from edgenas.core.errors import SpaceError
from edgenas.core.evaluation import Evaluation
from edgenas.core.objective import objective
from edgenas.searchers import DppNetSearcher, SearchProblem
from edgenas.searchers.dpp_net import DppNetSettings
from edgenas.spaces import fold
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import expand, out_shape
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.dense import CONVS, NORMS
from edgenas.spaces.dpp_net import dpp_net


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return dpp_net("dpp_net")


def cell(space: SearchSpace, *layers: tuple[str, str]) -> np.ndarray:
    """Return the genes of a cell of these norms and convolutions."""
    config: dict[str, object] = {"n_layers": len(layers)}
    for i, (norm, conv) in enumerate(layers, start=1):
        config |= {f"norm{i}": norm, f"conv{i}": conv}
    return space.parse(config)


def test_cells_are_as_many_as_the_paper_s_choices(space: SearchSpace) -> None:
    n = len(NORMS) * len(CONVS)
    assert BudgetProgram(fold.params(space)).size() == n + n**2 + n**3 + n**4


def test_the_network_repeats_the_cell_and_all_is_kept(space: SearchSpace) -> None:
    layers = (("bn_relu", "learned1x1"), ("bn", "group3x3"), ("identity", "conv1x1"))
    row = cell(space, *layers)
    stem, *between, head = [op for _, op in space.ops(row)]
    assert [(op["norm"], op["conv"]) for op in between] == [*layers] * 12
    width, size = 16, 32
    assert out_shape(stem) == (width, size, size)
    for i, op in enumerate(between):
        assert op.in_shape == (width, size, size)
        stage = i // 12
        width += 8 << stage
        if i in (11, 23):  # the last layer of a stage
            size //= 2
        assert out_shape(op) == (width, size, size)
        assert (expand(op).nodes[-1].op.kind == "avg_pool2d") == (i in (11, 23))
    assert head.in_shape == (16 + 12 * (8 + 16 + 32), 8, 8)


def test_a_cell_without_its_last_layer_is_a_network_of_the_space(space: SearchSpace) -> None:
    layers = (("bn_relu", "conv3x3"), ("bn", "conv1x1"), ("bn_relu", "depthwise3x3"))
    for n in (1, 2, 3):
        found = [op for _, op in space.ops(cell(space, *layers[:n]))][1:-1]
        assert [(op["norm"], op["conv"]) for op in found] == [*layers[:n]] * 12
    longest = cell(space, *layers).copy()
    longest[space.index["n_layers"]] -= 1
    shorter = space.canonical(longest[None])[0]
    assert np.array_equal(shorter, cell(space, *layers[:2]))


def test_settings_must_fit() -> None:
    with pytest.raises(SpaceError, match="must name the same stages"):
        dpp_net("dpp_net", n_cells=(3, 3))
    with pytest.raises(SpaceError, match="do not divide into 8 groups"):
        dpp_net("dpp_net_tiny", groups=8).distinct_ops()
    short = dpp_net("dpp_net_tiny", max_layers=1)
    assert [gene.name for gene in short.genes] == ["norm1", "conv1", "n_layers"]


def test_the_progressive_search_appends_layers() -> None:
    """K cells of l layers, every option of the next: the paper's section 3.2."""
    space = dpp_net("dpp_net_tiny", max_layers=3)
    problem = SearchProblem(space, (objective("accuracy"),))
    searcher = DppNetSearcher(problem, settings=DppNetSettings(beam_size=30, n_hidden=8, n_steps=3))
    names = [space.genes[column].name for column in searcher.levels]
    grown = ["norm1", "conv1", "n_layers", "norm2", "conv2", "n_layers", "norm3", "conv3"]
    assert names == grown
    lengths, told = list[int](), set[tuple[int, ...]]()
    n_layers = space.index["n_layers"]
    while searcher._level < len(names):
        level = searcher._level
        for arch in searcher.ask(searcher._round_size()):
            lengths.append(1 + arch.genes[n_layers])
            told.add(arch.genes)
            assert arch.genes[n_layers] <= names[: level + 1].count("n_layers")
            good = np.mean(
                [option == len(space.genes[c].options) - 1 for c, option in enumerate(arch.genes)]
            )
            searcher.tell([Evaluation(arch, "complete", {"accuracy": float(good)})])
    assert lengths == sorted(lengths)
    assert set(lengths) == {1, 2, 3}
    for genes in told:
        shorter = np.array(genes, dtype=np.int8)
        shorter[n_layers] = max(0, genes[n_layers] - 1)
        assert tuple(space.canonical(shorter[None])[0].tolist()) in told
    assert searcher._beam[0][n_layers] == 2
