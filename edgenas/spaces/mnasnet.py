"""MnasNet: seven blocks, each with its own operator, kernel, width and number of equal layers.

Tan et al. 2019 (MnasNet), arXiv:1807.11626, sections 4.1 and 5.1, around MobileNetV2 (Sandler et
al. 2018, arXiv:1801.04381, table 2). MnasNet-A1 and B1, which the authors found, are spaces of one
architecture; their widths are those of the public code. ``mnasnet_accel`` is the space of
Accel-NASBench. Where the paper is silent this is our reading: the gates of squeeze and excitation
have a quarter of the channels that come into the layer, as in the public code; pooling as the skip
is an average over 3x3 pixels, and like the identity it stands where a layer keeps its shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgenas.core.errors import SpaceError
from edgenas.core.ops import NORM_EPSILON, OpSpec
from edgenas.spaces.base import Factor, Gene, SearchSpace
from edgenas.spaces.blocks import conv_block, conv_head, make_divisible, mnas_layer, out_shape
from edgenas.spaces.presets import choose

OPS = {"conv": 0, "mbconv_e1": 1, "mbconv_e3": 3, "mbconv_e4": 4, "mbconv_e6": 6}
"""Expansion by operator; 0 is a plain convolution. The paper's depthwise one is ``mbconv_e1``."""

SKIPS = ("none", "identity", "pool")


@dataclass(frozen=True, slots=True)
class Block:
    """Choices of one block; its first layer has the stride."""

    widths: tuple[int, ...]
    stride: int
    n_layers: tuple[int, ...]
    ops: tuple[str, ...]
    kernels: tuple[int, ...]
    se_ratios: tuple[float, ...]
    skips: tuple[str, ...]

    @property
    def short(self) -> str:
        """All that makes the block: no two share a table's file."""
        parts = (self.widths, self.n_layers, self.ops, self.kernels, self.se_ratios, self.skips)
        return f"s{self.stride}." + ".".join("~".join(map(str, part)) for part in parts)


@dataclass(frozen=True, slots=True)
class MnasNetSettings:
    """Everything that makes one space of the family."""

    blocks: tuple[Block, ...]
    stem_width: int = 32
    head_width: int = 1280
    resolution: int = 224
    input_channels: int = 3
    n_classes: int = 1000
    norm_epsilon: float = NORM_EPSILON

    def __post_init__(self) -> None:
        for block in self.blocks:
            unknown = sorted({*block.ops} - {*OPS}) + sorted({*block.skips} - {*SKIPS})
            if unknown:
                raise SpaceError(
                    f"a block of MnasNet has no {', '.join(unknown)}; operators: "
                    f"{', '.join(OPS)}; skips: {', '.join(SKIPS)}"
                )


_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_V2 = tuple(zip((16, 24, 32, 64, 96, 160, 320), _STRIDES, (1, 2, 3, 4, 3, 3, 1), strict=True))


def _searched(width: int, stride: int, n_layers: int) -> Block:
    """Return the choices around a block of MobileNetV2."""
    return Block(
        # Multiples of 8 would make two of the narrowest block's three widths the same.
        widths=tuple(make_divisible(width * ratio, 4) for ratio in (0.75, 1.0, 1.25)),
        stride=stride,
        n_layers=tuple(n for n in (n_layers - 1, n_layers, n_layers + 1) if n),
        ops=("mbconv_e1", "mbconv_e3", "conv", "mbconv_e6"),
        kernels=(3, 5),
        se_ratios=(0.0, 0.25),
        skips=SKIPS,
    )


def _found(specs: tuple[tuple[int, int, int, float, int], ...]) -> tuple[Block, ...]:
    """Return blocks of (layers, kernel, expansion, SE ratio, width), one choice each."""
    return tuple(
        Block((width,), stride, (n,), (f"mbconv_e{e}",), (k,), (se,), ("identity",))
        for (n, k, e, se, width), stride in zip(specs, _STRIDES, strict=True)
    )


_A1 = _found(
    (
        (1, 3, 1, 0.0, 16),
        (2, 3, 6, 0.0, 24),
        (3, 5, 3, 0.25, 40),
        (4, 3, 6, 0.0, 80),
        (2, 3, 6, 0.25, 112),
        (3, 5, 6, 0.25, 160),
        (1, 3, 6, 0.0, 320),
    )
)
_B1 = _found(
    (
        (1, 3, 1, 0.0, 16),
        (3, 3, 3, 0.0, 24),
        (3, 5, 3, 0.0, 40),
        (3, 5, 6, 0.0, 80),
        (2, 3, 6, 0.0, 96),
        (4, 5, 6, 0.0, 192),
        (1, 3, 6, 0.0, 320),
    )
)
_ACCEL = tuple(
    Block(
        (width,),
        stride,
        (1, 2, 3, 4) if width == 192 else (1, 2, 3),
        ("mbconv_e1", "mbconv_e4", "mbconv_e6"),
        (3, 5),
        (0.0, 0.25),
        ("identity",),
    )
    for width, stride in zip((16, 24, 40, 80, 96, 192, 320), _STRIDES, strict=True)
)

PRESETS = {
    "mnasnet": MnasNetSettings(tuple(_searched(*block) for block in _V2)),
    "mnasnet_a1": MnasNetSettings(_A1),
    "mnasnet_b1": MnasNetSettings(_B1),
    "mnasnet_accel": MnasNetSettings(_ACCEL),
}
"""Settings by preset name."""


class MnasNetSpace(SearchSpace):
    """The space of one `MnasNetSettings`.

    Genes of every block: ``block1.op``, ``.kernel``, ``.se``, ``.skip`` (active where there is a
    second layer, as first ones change the shape), ``.width``, ``.n_layers``. All layers of a block
    are equal but for the first one's stride and input, which is why the space is called factorised.
    """

    def __init__(self, name: str, settings: MnasNetSettings, parameters: dict[str, Any]) -> None:
        self.settings = settings
        super().__init__(
            name,
            tuple(gene for b, block in enumerate(settings.blocks, 1) for gene in _genes(b, block)),
            tuple(_factors(settings)),
            parameters=parameters,
            n_classes=settings.n_classes,
            norm_epsilon=settings.norm_epsilon,
        )


def mnasnet(preset: str, **changes: Any) -> MnasNetSpace:
    """Return the space of a preset, with fields of `MnasNetSettings` changed (see `choose`)."""
    chosen = choose(preset, PRESETS[preset], changes)
    return MnasNetSpace(chosen.name, chosen.settings, chosen.parameters)


def _genes(b: int, block: Block) -> tuple[Gene, ...]:
    name = f"block{b}"
    several = tuple(n for n in block.n_layers if n > 1)
    always = len(several) == len(block.n_layers)
    parent, under = ("", ()) if always else (f"{name}.n_layers", several)
    return (
        Gene(f"{name}.op", block.ops),
        Gene(f"{name}.kernel", block.kernels),
        Gene(f"{name}.se", block.se_ratios),
        Gene(f"{name}.skip", block.skips, parent, under),
        Gene(f"{name}.width", block.widths),
        Gene(f"{name}.n_layers", block.n_layers),
    )


def _factors(settings: MnasNetSettings) -> list[Factor]:
    stem = conv_block(
        (settings.input_channels, settings.resolution, settings.resolution),
        settings.stem_width,
        kernel=3,
        stride=2,
        activation="relu",
    )
    factors = [Factor("stem", (), lambda: (stem,))]
    size = out_shape(stem)[1]
    for b, block in enumerate(settings.blocks, 1):
        names = tuple(f"block{b}.{what}" for what in ("op", "kernel", "se", "width"))
        before = (f"block{b - 1}.width",) if b > 1 else ()
        first = partial(_first, size, block.stride, settings.stem_width)
        factors.append(Factor(f"block{b}.layer0", (*names, *before), first))
        size = (size - 1) // block.stride + 1
        for i in range(1, max(block.n_layers)):
            genes = (*names, f"block{b}.skip", f"block{b}.n_layers")
            factors.append(Factor(f"block{b}.layer{i}", genes, partial(_next, size, i)))
    head: Callable[[int], tuple[OpSpec, ...]] = partial(_head, settings, size)
    return [*factors, Factor("head", (f"block{len(settings.blocks)}.width",), head)]


def _first(  # noqa: PLR0913
    size: int,
    stride: int,
    stem_width: int,
    op: str,
    kernel: int,
    se: float,
    width: int,
    before: int | None = None,
) -> tuple[OpSpec, ...]:
    channels = stem_width if before is None else before
    return (_layer(channels, size, width, stride=stride, op=op, kernel=kernel, se=se),)


def _next(  # noqa: PLR0913
    size: int, i: int, op: str, kernel: int, se: float, width: int, skip: str, n_layers: int
) -> tuple[OpSpec, ...]:
    if i >= n_layers:
        return ()
    return (_layer(width, size, width, stride=1, op=op, kernel=kernel, se=se, skip=skip),)


def _layer(  # noqa: PLR0913
    channels: int,
    size: int,
    width: int,
    *,
    stride: int,
    op: str,
    kernel: int,
    se: float,
    skip: str = "none",
) -> OpSpec:
    return mnas_layer(
        (channels, size, size),
        width,
        mid_channels=channels * OPS[op],
        kernel=kernel,
        stride=stride,
        se_channels=max(1, int(channels * se)) if se else 0,
        skip=skip,
    )


def _head(settings: MnasNetSettings, size: int, width: int) -> tuple[OpSpec, ...]:
    shape = (width, size, size)
    classes = settings.n_classes
    return (conv_head(shape, width=settings.head_width, n_classes=classes, activation="relu"),)
