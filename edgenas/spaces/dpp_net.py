"""DPP-Net's space: a cell of up to four layers, each a norm and a convolution, densely connected.

Dong et al. 2018 (DPP-Net), arXiv:1806.08198, section 3.1. The network repeats one cell. As in
CondenseNet (Huang et al. 2018, arXiv:1711.09224), every layer reads what all layers before
it made, in its cell and in those before, and the stages, between which averages are pooled, grow
by more channels the smaller their images are. The six convolutions, the three norms and the four
layers are the paper's. Widths, the number of cells and the stem (a 3x3 convolution with batch norm)
are ours; see `edgenas.spaces.dense` for what is ours in a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from edgenas.core.errors import SpaceError
from edgenas.core.ops import OpSpec, Shape
from edgenas.spaces.base import Factor, Gene, SearchSpace
from edgenas.spaces.blocks import conv_block, norm_head
from edgenas.spaces.dense import CONVS, NORMS, dense_layer
from edgenas.spaces.presets import choose


@dataclass(frozen=True, slots=True)
class DppNetSettings:
    """The network around the cell, and how large the cell may be.

    Attributes:
        growths: channels that a layer adds, a number a stage.
        n_cells: cells of every stage.
        stem_width: channels of the stem.
        groups: of the convolutions with groups; divides all widths.
        max_layers: most layers of a cell.
        resolution: of the image, in pixels.
        input_channels: of the image.
        n_classes: width of the output.
    """

    growths: tuple[int, ...] = (8, 16, 32)
    n_cells: tuple[int, ...] = (4, 4, 4)
    stem_width: int = 16
    groups: int = 4
    max_layers: int = 4
    resolution: int = 32
    input_channels: int = 3
    n_classes: int = 10


PRESETS = {
    "dpp_net": DppNetSettings(),
    "dpp_net_tiny": DppNetSettings(
        growths=(4, 8, 16), n_cells=(1, 2, 2), stem_width=8, resolution=28, input_channels=1
    ),
}
"""Settings by preset name."""


class DppNetSpace(SearchSpace):
    """The space of one `DppNetSettings`.

    Genes are ``norm1``, ``conv1`` and so on, and ``n_layers``: those of layers that the cell does
    not have are inactive, so that a cell with its last layer left out is a network of the space.
    """

    def __init__(self, name: str, settings: DppNetSettings, parameters: dict[str, Any]) -> None:
        self.settings = settings
        if len(settings.n_cells) != len(settings.growths) or not settings.growths:
            raise SpaceError(
                f"{name}: growths {settings.growths} and n_cells {settings.n_cells} must name the "
                "same stages, one or more"
            )
        genes = [Gene("norm1", NORMS), Gene("conv1", CONVS)]
        genes.append(Gene("n_layers", tuple(range(1, settings.max_layers + 1))))
        for i in range(2, settings.max_layers + 1):
            deep = tuple(range(i, settings.max_layers + 1))
            genes += [Gene(f"norm{i}", NORMS, "n_layers", deep)]
            genes += [Gene(f"conv{i}", CONVS, "n_layers", deep)]
        super().__init__(
            name,
            tuple(genes),
            tuple(_factors(settings)),
            parameters=parameters,
            n_classes=settings.n_classes,
            growing=("n_layers",),
        )


def dpp_net(preset: str, **changes: Any) -> DppNetSpace:
    """Return the space, with fields of `DppNetSettings` changed (see `choose`)."""
    chosen = choose(preset, PRESETS[preset], changes)
    return DppNetSpace(chosen.name, chosen.settings, chosen.parameters)


def _factors(settings: DppNetSettings) -> list[Factor]:
    """Return a factor a layer of every cell; widths depend on ``n_layers`` only."""
    image = (settings.input_channels, settings.resolution, settings.resolution)
    stem = conv_block(image, settings.stem_width, kernel=3, stride=1, activation="none")
    factors = [Factor("stem", (), lambda: (stem,))]
    for stage, n_cells in enumerate(settings.n_cells):
        for cell in range(n_cells):
            for i in range(1, settings.max_layers + 1):
                genes = ("n_layers", f"norm{i}", f"conv{i}")
                build = partial(_layer, settings, stage, cell, i)
                factors.append(Factor(f"stage{stage + 1}.cell{cell}.layer{i}", genes, build))
    return [*factors, Factor("head", ("n_layers",), partial(_head, settings))]


def _shape(settings: DppNetSettings, stage: int, n_layers: int, n_before: int) -> Shape:
    """Return what a layer reads that `n_before` of its stage are before; `n_layers` a cell."""
    width, size = settings.stem_width, settings.resolution
    for growth, n_cells in zip(settings.growths[:stage], settings.n_cells[:stage], strict=True):
        width, size = width + growth * n_cells * n_layers, size // 2
    return (width + settings.growths[stage] * n_before, size, size)


def _layer(  # noqa: PLR0913
    settings: DppNetSettings, stage: int, cell: int, i: int, n_layers: int, norm: str, conv: str
) -> tuple[OpSpec, ...]:
    if i > n_layers:
        return ()
    shape = _shape(settings, stage, n_layers, cell * n_layers + i - 1)
    ends_stage = i == n_layers and cell == settings.n_cells[stage] - 1
    layer = dense_layer(
        shape,
        settings.growths[stage],
        norm=norm,
        conv=conv,
        groups=settings.groups,
        pool=ends_stage and stage < len(settings.growths) - 1,
    )
    return (layer,)


def _head(settings: DppNetSettings, n_layers: int) -> tuple[OpSpec, ...]:
    last = len(settings.growths) - 1
    shape = _shape(settings, last, n_layers, settings.n_cells[last] * n_layers)
    return (norm_head(shape, n_classes=settings.n_classes),)
