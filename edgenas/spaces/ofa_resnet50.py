"""Once-for-all ResNet50: stages of bottlenecks, elastic in depth, inner and outer width.

Cai et al. 2020 (Once-for-All), arXiv:1908.09791; ResNet50-D of He et al. 2019 (Bag of Tricks),
arXiv:1812.01187. Widths, depths and roundings of the preset ``ofa_resnet50`` are those of the
authors' public code; ``resnet_tiny`` is ours, for images of 28 to 32 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError
from edgenas.core.ops import OpSpec
from edgenas.spaces.base import Factor, Gene, Option, SearchSpace
from edgenas.spaces.blocks import bottleneck, make_divisible, out_shape, pool_head, resnet_stem
from edgenas.spaces.presets import choose


@dataclass(frozen=True, slots=True)
class Stage:
    """Bottlenecks of one width; the first has the stride, depth says how many run."""

    width: int
    stride: int
    depths: tuple[int, ...]

    @property
    def short(self) -> str:
        """All that makes the stage, e.g. ``512s2d2.3.4``: no two share a table's file."""
        return f"{self.width}s{self.stride}d{'.'.join(map(str, self.depths))}"


@dataclass(frozen=True, slots=True)
class OfaResnet50Settings:
    """Everything that makes one space of the family.

    `widths` multiply the stem's and every stage's width, each by a gene of its own; the stem's
    inner width is half of a width of the stem. `expansions` are inner widths of bottlenecks
    relative to their outer ones.
    """

    stem_width: int
    stem_stride: int
    stages: tuple[Stage, ...]
    expansions: tuple[float, ...]
    widths: tuple[float, ...]
    resolutions: tuple[int, ...]
    input_channels: int = 3
    n_classes: int = 1000

    def __post_init__(self) -> None:
        for stage in self.stages:
            if min(stage.depths) < 1:
                raise SpaceError(
                    f"a stage has depths {', '.join(map(str, stage.depths))}; its first block "
                    "always runs: needed is 1 or more"
                )
            for width in self.widths:
                inner = [self.inner(stage, width, e) for e in self.expansions]
                if len(set(inner)) < len(inner):
                    raise SpaceError(
                        f"expansions {', '.join(map(str, self.expansions))} of width {width} x "
                        f"{stage.width} are {', '.join(map(str, inner))} channels, a multiple of 8 "
                        "each; two that are equal would be one network under two names"
                    )

    def stem_inner(self, width: float) -> int:
        """Return the channels within the stem."""
        return make_divisible(make_divisible(self.stem_width * width) // 2)

    def inner(self, stage: Stage, width: float, expansion: float) -> int:
        """Return the channels within the bottlenecks of a stage."""
        return make_divisible(round(make_divisible(stage.width * width) * expansion))

    def distinct(self, channels: Sequence[int]) -> tuple[float, ...]:
        """Return the `widths`, of those that give the same `channels` only the first."""
        return tuple(w for i, w in enumerate(self.widths) if channels[i] not in channels[:i])


PRESETS = {
    "ofa_resnet50": OfaResnet50Settings(
        stem_width=64,
        stem_stride=2,
        stages=(
            Stage(256, 1, (2, 3, 4)),
            Stage(512, 2, (2, 3, 4)),
            Stage(1024, 2, (4, 5, 6)),
            Stage(2048, 2, (2, 3, 4)),
        ),
        expansions=(0.2, 0.25, 0.35),
        widths=(0.65, 0.8, 1.0),
        resolutions=(160, 176, 192, 208, 224),
    ),
    "resnet_tiny": OfaResnet50Settings(
        stem_width=32,
        stem_stride=2,
        stages=(Stage(64, 1, (1, 2, 3)), Stage(128, 2, (1, 2, 3)), Stage(256, 2, (1, 2, 3))),
        expansions=(0.25, 0.5, 0.75),
        widths=(0.5, 0.75, 1.0),
        resolutions=(24, 28, 32),
        input_channels=1,
        n_classes=10,
    ),
}
"""Settings by preset name."""


class OfaResnet50Space(SearchSpace):
    """The space of one `OfaResnet50Settings`.

    Genes, in order: every block's expansion (``stage1.block2.expansion``), how many extra
    convolutions the stem has (``stem.depth``, 0 or 1) and every stage's depth (``stage1.depth``),
    the width multipliers within the stem (``stem.inner.width``), after it (``stem.width``) and of
    every stage (``stage1.width``), the ``resolution``.
    """

    def __init__(
        self, name: str, settings: OfaResnet50Settings, parameters: dict[str, Any]
    ) -> None:
        self.settings = settings
        super().__init__(
            name,
            tuple(_genes(settings)),
            tuple(_factors(settings)),
            parameters=parameters,
            n_classes=settings.n_classes,
        )

    def from_ofa(
        self, *, d: Sequence[int], e: Sequence[float], w: Sequence[int], resolution: int
    ) -> Genes:
        """Return genes, shape (n_genes,), from the lists of the public code.

        Args:
            d: for the stem and every stage, the blocks that it has above the least; the stem has
                its extra convolution only with the most that any stage can have.
            e: every block's expansion, inactive blocks included.
            w: indices of the widths within the stem, after it and of every stage.
            resolution: in pixels.

        Raises:
            SpaceError: a list has another length or holds something that is no option.
        """
        settings, stages = self.settings, self.settings.stages
        wanted = (1 + len(stages), sum(max(stage.depths) for stage in stages), 2 + len(stages))
        if (len(d), len(e), len(w)) != wanted:
            raise SpaceError(
                f"{self.name} takes {wanted[0]} depths, {wanted[1]} expansions and {wanted[2]} "
                f"widths, got {len(d)}, {len(e)} and {len(w)}"
            )
        bad = [index for index in w if not 0 <= index < len(settings.widths)]
        if bad:
            raise SpaceError(
                f"{self.name}: index {bad[0]} of a width, allowed: 0 to {len(settings.widths) - 1}"
            )
        most = max(max(stage.depths) - min(stage.depths) for stage in stages)
        depths = [
            int(d[0] == most),
            *(min(s.depths) + n for s, n in zip(stages, d[1:], strict=True)),
        ]
        widths = [
            settings.widths[next(i for i, c in enumerate(channels) if c == channels[index])]
            for channels, index in zip(_channels(settings), w, strict=True)
        ]
        values = (*e, *depths, *widths, resolution)
        return self.parse(dict(zip((gene.name for gene in self.genes), values, strict=True)))


def ofa_resnet50(preset: str, **changes: Any) -> OfaResnet50Space:
    """Return the space of a preset, with fields of `OfaResnet50Settings` changed (see `choose`)."""
    chosen = choose(preset, PRESETS[preset], changes)
    return OfaResnet50Space(chosen.name, chosen.settings, chosen.parameters)


def _channels(settings: OfaResnet50Settings) -> list[list[int]]:
    """Return, for every gene of a width, the channels of each of the widths."""
    outer = (settings.stem_width, *(stage.width for stage in settings.stages))
    return [
        [settings.stem_inner(width) for width in settings.widths],
        *([make_divisible(one * width) for width in settings.widths] for one in outer),
    ]


def _genes(settings: OfaResnet50Settings) -> list[Gene]:
    genes: list[Gene] = []
    for s, stage in enumerate(settings.stages, start=1):
        for block in range(max(stage.depths)):
            deep: tuple[Option, ...] = tuple(d for d in stage.depths if d > block)
            always = len(deep) == len(stage.depths)
            genes.append(
                Gene(
                    f"stage{s}.block{block}.expansion",
                    settings.expansions,
                    "" if always else f"stage{s}.depth",
                    () if always else deep,
                )
            )
    genes.append(Gene("stem.depth", (0, 1)))
    names = [f"stage{s}" for s in range(1, len(settings.stages) + 1)]
    genes += [
        Gene(f"{name}.depth", stage.depths)
        for name, stage in zip(names, settings.stages, strict=True)
    ]
    genes += [
        Gene(f"{name}.width", settings.distinct(channels))
        for name, channels in zip(("stem.inner", "stem", *names), _channels(settings), strict=True)
    ]
    return [*genes, Gene("resolution", settings.resolutions)]


def _factors(settings: OfaResnet50Settings) -> list[Factor]:
    sizes = _sizes(settings)
    last = f"stage{len(settings.stages)}.width"
    factors = [
        Factor(
            "stem",
            ("stem.inner.width", "stem.width", "stem.depth", "resolution"),
            lambda inner, width, depth, r: (_stem(settings, inner, width, depth, r),),
        )
    ]
    outer = ("stem", *(f"stage{s}" for s in range(1, len(settings.stages) + 1)))
    for s, (before, here) in enumerate(pairwise(outer)):
        stage = settings.stages[s]
        for block in range(max(stage.depths)):
            name = f"{here}.block{block}"
            read = [f"{name}.expansion", f"{here}.width", "resolution"]
            if block == 0:
                read.append(f"{before}.width")
            elif block >= min(stage.depths):
                read.append(f"{here}.depth")
            factors.append(Factor(name, tuple(read), _BlockBuilder(settings, sizes, s, block)))
    factors.append(
        Factor("head", (last, "resolution"), lambda w, r: (_head(settings, w, sizes[r][-1]),))
    )
    return factors


@dataclass(frozen=True, slots=True)
class _BlockBuilder:
    """Builds one bottleneck from (expansion, width, resolution[, width before or depth])."""

    settings: OfaResnet50Settings
    sizes: dict[int, list[int]]
    stage: int
    block: int

    def __call__(
        self, expansion: float, width: float, resolution: int, more: float | None = None
    ) -> tuple[OpSpec, ...]:
        settings, entry = self.settings, self.block == 0
        if not entry and more is not None and self.block >= more:
            return ()
        stage = settings.stages[self.stage]
        channels = make_divisible(stage.width * width)
        in_channels = channels
        if entry and more is not None:
            before = settings.stages[self.stage - 1].width if self.stage else settings.stem_width
            in_channels = make_divisible(before * more)
        size = self.sizes[resolution][self.stage if entry else self.stage + 1]
        return (
            bottleneck(
                (in_channels, size, size),
                channels,
                mid_channels=settings.inner(stage, width, expansion),
                stride=stage.stride if entry else 1,
                downsample=entry,
            ),
        )


def _stem(
    settings: OfaResnet50Settings, inner: float, width: float, depth: int, resolution: int
) -> OpSpec:
    return resnet_stem(
        (settings.input_channels, resolution, resolution),
        make_divisible(settings.stem_width * width),
        mid_channels=settings.stem_inner(inner),
        stride=settings.stem_stride,
        residual=depth > 0,
    )


def _head(settings: OfaResnet50Settings, width: float, size: int) -> OpSpec:
    channels = make_divisible(settings.stages[-1].width * width)
    return pool_head((channels, size, size), n_classes=settings.n_classes)


def _sizes(settings: OfaResnet50Settings) -> dict[int, list[int]]:
    """Return, by resolution, the size after the stem and after every stage."""
    sizes: dict[int, list[int]] = {}
    width = settings.widths[0]
    for resolution in settings.resolutions:
        size = out_shape(_stem(settings, width, width, 0, resolution))[1]
        sizes[resolution] = [size]
        for stage in settings.stages:
            size = (size - 1) // stage.stride + 1
            sizes[resolution].append(size)
    return sizes
