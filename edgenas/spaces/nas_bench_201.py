"""NAS-Bench-201: one cell of four nodes, whose six edges each run one of five operators.

Dong and Yang 2020 (NAS-Bench-201), arXiv:2001.00326, section 2.1. The network repeats the cell in
three stages with a residual block of stride 2 before the second and the third. Genes are the
paper's 15,625 cells, each of which it trained: cells that compute the same are different
architectures here, as they have accuracies of their own. What runs is what leads from the cell's
input to its output; a cell without such a path makes zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError
from edgenas.core.ops import OpSpec, Shape
from edgenas.spaces.base import Factor, Gene, SearchSpace
from edgenas.spaces.blocks import conv_block, norm_head, out_shape
from edgenas.spaces.cells import (
    EDGES,
    PATHS,
    basic_block,
    cell,
    cell_letters,
    mixed_cell,
    reads_activated,
    used_edges,
)
from edgenas.spaces.mixed_cell import MixedPart
from edgenas.spaces.presets import choose

OPTIONS = ("skip_connect", "none", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
"""Options of every edge; the first makes the smallest network that is one."""

SKIP, NONE = OPTIONS.index("skip_connect"), OPTIONS.index("none")


@dataclass(frozen=True, slots=True)
class NasBench201Settings:
    """The network around the cell."""

    width: int = 16
    n_cells: int = 5
    resolution: int = 32
    input_channels: int = 3
    n_classes: int = 10


PRESETS = {"nas_bench_201": NasBench201Settings()}
"""Settings by preset name."""


class NasBench201Space(SearchSpace):
    """The space of one `NasBench201Settings`; genes are ``edge0to1``, ``edge0to2``, and so on."""

    def __init__(
        self, name: str, settings: NasBench201Settings, parameters: dict[str, Any]
    ) -> None:
        self.settings = settings
        genes = tuple(Gene(f"edge{a}to{b}", OPTIONS) for a, b in EDGES)
        super().__init__(
            name,
            genes,
            tuple(_factors(settings, tuple(gene.name for gene in genes))),
            parameters=parameters,
            n_classes=settings.n_classes,
        )

    def features(self, population: Genes) -> list[np.ndarray]:
        """Return what leads through the cell: operators by edge, paths, and counts.

        Edges that no path runs over count as ``none``. A path is the list of its operators without
        skips; equal ones add up. Counts are of the operators and of the paths, and the
        numbers of convolutions on the longest and the shortest.
        """
        pruned = np.where(used_edges(population != NONE), population, NONE)
        one_hot = np.eye(len(OPTIONS))[pruned].reshape(len(population), -1)
        alive = np.stack([(population[:, path] != NONE).all(axis=1) for path in PATHS], axis=1)
        kinds = _path_numbers(pruned)
        n_kinds = (len(OPTIONS) - 1) ** 3
        paths = np.zeros((len(population), n_kinds))
        for column in range(len(PATHS)):
            paths[np.flatnonzero(alive[:, column]), kinds[alive[:, column], column]] += 1
        n_ops = np.stack([(pruned == o).sum(axis=1) for o in range(len(OPTIONS)) if o != NONE], 1)
        is_conv = pruned >= OPTIONS.index("nor_conv_1x1")
        n_convs = np.stack([is_conv[:, path].sum(axis=1) for path in PATHS], axis=1)
        longest = np.where(alive, n_convs, -1).max(axis=1)
        shortest = np.where(alive, n_convs, 4).min(axis=1)
        counts = np.column_stack([n_ops, alive.sum(axis=1), longest, shortest]).astype(np.float64)
        return [one_hot, paths, counts]

    def from_code(self, code: str) -> Genes:
        """Return genes, shape (n_genes,), of a cell as the benchmark writes it.

        Raises:
            SpaceError: not such a text, e.g. ``|none~0|+|none~0|none~1|+|none~0|none~1|none~2|``.
        """
        found = [item for node in code.split("+") for item in node.strip("|").split("|")]
        if len(found) != len(EDGES) or not all(
            item.endswith(f"~{source}") for item, (source, _) in zip(found, EDGES, strict=True)
        ):
            raise SpaceError(
                f"not a cell of {self.name}: {code!r}; write e.g. "
                "'|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'"
            )
        options = (item.partition("~")[0] for item in found)
        names = (f"edge{source}to{target}" for source, target in EDGES)
        return self.parse(dict(zip(names, options, strict=True)))

    def code_of(self, row: Genes) -> str:
        """Return how the benchmark writes a cell (see `from_code`)."""
        options = self.describe(row)
        nodes = [
            "".join(f"|{options[f'edge{a}to{b}']}~{a}" for a, b in EDGES if b == target)
            for target in (1, 2, 3)
        ]
        return "+".join(f"{node}|" for node in nodes)


def nas_bench_201(preset: str, **changes: Any) -> NasBench201Space:
    """Return the space, with fields of `NasBench201Settings` changed (see `choose`)."""
    chosen = choose(preset, PRESETS[preset], changes)
    return NasBench201Space(chosen.name, chosen.settings, chosen.parameters)


def _path_numbers(pruned: Genes) -> np.ndarray:
    """Return a number for each path's operators in order, skips left out, (n, n_paths)."""
    # Digits of what is neither skip nor none; 0 ends the list.
    digit = np.zeros(len(OPTIONS), dtype=np.int64)
    digit[[o for o in range(len(OPTIONS)) if o not in (SKIP, NONE)]] = (1, 2, 3)
    numbers = np.zeros((len(pruned), len(PATHS)), dtype=np.int64)
    for column, path in enumerate(PATHS):
        for edge in path:
            digits = digit[pruned[:, edge]]
            runs = digits > 0
            numbers[runs, column] = numbers[runs, column] * 4 + digits[runs]
    return numbers


def _factors(settings: NasBench201Settings, edges: tuple[str, ...]) -> list[Factor]:
    """Return a factor a stage, with the block that leads to it, and the head."""
    shape: Shape = (settings.input_channels, settings.resolution, settings.resolution)
    factors = []
    for stage, width in enumerate((settings.width << i for i in range(3)), start=1):
        if stage == 1:
            entry = partial(conv_block, shape, width, kernel=3, stride=1)
        else:
            entry = partial(basic_block, shape, width, stride=2)
        entries = {name: entry(activation=name) for name in ("none", "relu")}
        shape = out_shape(entries["none"])
        build = partial(_stage, entries, shape, settings.n_cells)
        mixed = partial(_mixed_stage, entries["none"], shape, settings.n_cells, edges)
        factors.append(Factor(f"stage{stage}", edges, build, mixed))
    head = norm_head(shape, n_classes=settings.n_classes)
    return [*factors, Factor("head", (), lambda: (head,))]


def _stage(
    entries: Mapping[str, OpSpec], shape: Shape, n_cells: int, *edges: str
) -> tuple[OpSpec, ...]:
    """Return stem or residual block, and cells; what follows the last reads it as it is, too."""
    letters = cell_letters(edges)
    last = cell(shape, letters)
    activation = "relu" if reads_activated(letters) else "none"
    inner = cell(shape, letters, activation=activation)
    if last is None or inner is None:
        return (entries["none"],)
    return (entries[activation], *(inner,) * (n_cells - 1), last)


def _mixed_stage(
    entry: OpSpec, shape: Shape, n_cells: int, edges: tuple[str, ...]
) -> tuple[MixedPart, ...]:
    """Return what `_stage` does with all choices open; every convolution has its own ReLU."""
    return (entry, *(mixed_cell(shape, edges, OPTIONS),) * n_cells)
