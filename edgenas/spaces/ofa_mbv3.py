"""Once-for-all MobileNets: stages of inverted residual blocks, elastic in depth, kernel, width.

Cai et al. 2020 (Once-for-All), arXiv:1908.09791; MobileNetV3 of Howard et al. 2019,
arXiv:1905.02244; ``ofa_proxyless_*`` is the space over the network of Cai et al. 2019
(ProxylessNAS), arXiv:1812.00332. The widths, strides and activations of the presets ``ofa_*`` are
those of the authors' public code; ``mbv3_tiny`` is ours, for images of 28 to 32 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError
from edgenas.core.ops import NORM_EPSILON, OpSpec, Shape
from edgenas.spaces.base import Factor, Gene, Option, SearchSpace
from edgenas.spaces.blocks import (
    conv_block,
    conv_head,
    make_divisible,
    mbconv,
    mbv3_head,
    out_shape,
)
from edgenas.spaces.presets import choose


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width; the first has the stride, depth says how many run."""

    width: int
    stride: int
    depths: tuple[int, ...]
    squeeze_excite: bool
    activation: str

    @property
    def short(self) -> str:
        """All that makes the stage, e.g. ``40s2d2.3.4se.relu``: no two share a table's file."""
        depths = ".".join(map(str, self.depths))
        excited = "se." if self.squeeze_excite else "."
        return f"{self.width}s{self.stride}d{depths}{excited}{self.activation.replace('_', '')}"


@dataclass(frozen=True, slots=True)
class OfaMbv3Settings:
    """Everything that makes one space of the family; widths are before the multiplier.

    `mobilenet` says whose stem, first block and head stand around the stages: those of
    MobileNetV3, or (2) of MobileNetV2 with ReLU6, whose head has one layer: `mix_width` is not
    read then. `norm_epsilon` is what batch norms add to variances.
    """

    stem_width: int
    stem_stride: int
    first_width: int
    stages: tuple[Stage, ...]
    final_width: int
    mix_width: int
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    resolutions: tuple[int, ...]
    width_multiplier: float = 1.0
    input_channels: int = 3
    n_classes: int = 1000
    mobilenet: int = 3
    norm_epsilon: float = NORM_EPSILON

    def __post_init__(self) -> None:
        if self.mobilenet not in (2, 3):
            raise SpaceError(f"mobilenet is {self.mobilenet!r}, allowed: 2, 3")

    def width(self, base: int) -> int:
        """Return a width after the multiplier, a multiple of 8."""
        return make_divisible(base * self.width_multiplier)


_OFA = OfaMbv3Settings(
    stem_width=16,
    stem_stride=2,
    first_width=16,
    stages=(
        Stage(24, 2, (2, 3, 4), squeeze_excite=False, activation="relu"),
        Stage(40, 2, (2, 3, 4), squeeze_excite=True, activation="relu"),
        Stage(80, 2, (2, 3, 4), squeeze_excite=False, activation="h_swish"),
        Stage(112, 1, (2, 3, 4), squeeze_excite=True, activation="h_swish"),
        Stage(160, 2, (2, 3, 4), squeeze_excite=True, activation="h_swish"),
    ),
    final_width=960,
    mix_width=1280,
    kernels=(3, 5, 7),
    expansions=(3, 4, 6),
    resolutions=(160, 176, 192, 208, 224),
)

_PROXYLESS = replace(
    _OFA,
    stem_width=32,
    stages=tuple(
        Stage(width, stride, depths, squeeze_excite=False, activation="relu6")
        for width, stride, depths in (
            (24, 2, (2, 3, 4)),
            (40, 2, (2, 3, 4)),
            (80, 2, (2, 3, 4)),
            (96, 1, (2, 3, 4)),
            (192, 2, (2, 3, 4)),
            (320, 1, (1,)),
        )
    ),
    final_width=1280,
    mix_width=0,
    mobilenet=2,
    norm_epsilon=1e-3,
)

PRESETS = {
    "ofa_mbv3_w1.0": _OFA,
    "ofa_mbv3_w1.2": replace(_OFA, width_multiplier=1.2),
    "ofa_proxyless_w1.3": replace(_PROXYLESS, width_multiplier=1.3),
    "mbv3_tiny": OfaMbv3Settings(
        stem_width=16,
        stem_stride=2,
        first_width=16,
        stages=(
            Stage(24, 2, (1, 2, 3), squeeze_excite=False, activation="relu"),
            Stage(40, 1, (1, 2, 3), squeeze_excite=True, activation="h_swish"),
            Stage(80, 2, (1, 2, 3), squeeze_excite=True, activation="h_swish"),
        ),
        final_width=320,
        mix_width=480,
        kernels=(3, 5, 7),
        expansions=(2, 3, 4),
        resolutions=(20, 24, 28, 32),
        input_channels=1,
        n_classes=10,
    ),
}
"""Settings by preset name."""


class OfaMbv3Space(SearchSpace):
    """The space of one `OfaMbv3Settings`.

    Genes, in order: every block's kernel, every block's expansion, every stage's depth, the
    resolution, named ``stage1.block2.kernel``, ``.expansion``, ``stage1.depth``, ``resolution``.
    """

    def __init__(self, name: str, settings: OfaMbv3Settings, parameters: dict[str, Any]) -> None:
        self.settings = settings
        super().__init__(
            name,
            tuple(_genes(settings)),
            tuple(_factors(settings)),
            parameters=parameters,
            n_classes=settings.n_classes,
            norm_epsilon=settings.norm_epsilon,
        )

    def from_ofa(
        self,
        kernels: Sequence[int],
        expansions: Sequence[int],
        depths: Sequence[int],
        resolution: int,
    ) -> Genes:
        """Return genes, shape (n_genes,), from the lists that the public code calls ks, e, d.

        The lists have a place for every block and stage, inactive blocks included.

        Raises:
            SpaceError: a list has another length or holds something that is no option.
        """
        names = [gene.name for gene in self.genes]
        n_blocks = sum(max(stage.depths) for stage in self.settings.stages)
        wanted = (n_blocks, n_blocks, len(self.settings.stages))
        found = (len(kernels), len(expansions), len(depths))
        if found != wanted:
            raise SpaceError(
                f"{self.name} takes {wanted[0]} kernels, {wanted[1]} expansions and {wanted[2]} "
                f"depths, got {found[0]}, {found[1]} and {found[2]}"
            )
        values = (*kernels, *expansions, *depths, resolution)
        return self.parse(dict(zip(names, values, strict=True)))


def ofa_mbv3(preset: str, **changes: Any) -> OfaMbv3Space:
    """Return the space of a preset, with fields of `OfaMbv3Settings` changed (see `choose`)."""
    chosen = choose(preset, PRESETS[preset], changes)
    return OfaMbv3Space(chosen.name, chosen.settings, chosen.parameters)


def _genes(settings: OfaMbv3Settings) -> list[Gene]:
    genes: list[Gene] = []
    depths = [
        Gene(f"stage{s}.depth", stage.depths) for s, stage in enumerate(settings.stages, start=1)
    ]
    for what, options in (("kernel", settings.kernels), ("expansion", settings.expansions)):
        for s, stage in enumerate(settings.stages, start=1):
            for block in range(max(stage.depths)):
                deep: tuple[Option, ...] = tuple(d for d in stage.depths if d > block)
                always = len(deep) == len(stage.depths)
                genes.append(
                    Gene(
                        f"stage{s}.block{block}.{what}",
                        options,
                        "" if always else f"stage{s}.depth",
                        () if always else deep,
                    )
                )
    return [*genes, *depths, Gene("resolution", settings.resolutions)]


def _factors(settings: OfaMbv3Settings) -> list[Factor]:
    sizes = _sizes(settings)
    factors = [
        Factor("stem", ("resolution",), lambda r: (_stem(settings, r),)),
        Factor("first", ("resolution",), lambda r: (_first(settings, sizes[r][0]),)),
    ]
    for s, stage in enumerate(settings.stages, start=1):
        for block in range(max(stage.depths)):
            always = block < min(stage.depths)
            name = f"stage{s}.block{block}"
            genes = (f"{name}.kernel", f"{name}.expansion", "resolution")
            factors.append(
                Factor(
                    name,
                    genes if always else (*genes, f"stage{s}.depth"),
                    _BlockBuilder(settings, sizes, s, block),
                )
            )
    factors.append(Factor("head", ("resolution",), lambda r: (_head(settings, sizes[r][-1]),)))
    return factors


@dataclass(frozen=True, slots=True)
class _BlockBuilder:
    """Builds one searched block from (kernel, expansion, resolution[, depth])."""

    settings: OfaMbv3Settings
    sizes: dict[int, list[int]]
    stage: int
    block: int

    def __call__(
        self, kernel: int, expansion: int, resolution: int, depth: int | None = None
    ) -> tuple[OpSpec, ...]:
        if depth is not None and self.block >= depth:
            return ()
        stages, entry = self.settings.stages, self.block == 0
        stage = stages[self.stage - 1]
        before = stages[self.stage - 2].width if self.stage > 1 else self.settings.first_width
        in_channels = self.settings.width(before if entry else stage.width)
        size = self.sizes[resolution][self.stage - 1 if entry else self.stage]
        return (
            mbconv(
                (in_channels, size, size),
                self.settings.width(stage.width),
                mid_channels=make_divisible(round(in_channels * expansion)),
                kernel=kernel,
                stride=stage.stride if entry else 1,
                activation=stage.activation,
                squeeze_excite=stage.squeeze_excite,
            ),
        )


def _stem(settings: OfaMbv3Settings, resolution: int) -> OpSpec:
    return conv_block(
        (settings.input_channels, resolution, resolution),
        settings.width(settings.stem_width),
        kernel=3,
        stride=settings.stem_stride,
        activation="h_swish" if settings.mobilenet == 3 else "relu6",
    )


def _first(settings: OfaMbv3Settings, size: int) -> OpSpec:
    stem = settings.width(settings.stem_width)
    return mbconv(
        (stem, size, size),
        settings.width(settings.first_width),
        mid_channels=stem,
        kernel=3,
        stride=1,
        activation="relu" if settings.mobilenet == 3 else "relu6",
        squeeze_excite=False,
    )


def _head(settings: OfaMbv3Settings, size: int) -> OpSpec:
    last: Shape = (settings.width(settings.stages[-1].width), size, size)
    final = settings.width(settings.final_width)
    if settings.mobilenet == 2:
        return conv_head(last, width=final, n_classes=settings.n_classes, activation="relu6")
    return mbv3_head(
        last,
        final_channels=final,
        mix_channels=settings.width(settings.mix_width),
        n_classes=settings.n_classes,
    )


def _sizes(settings: OfaMbv3Settings) -> dict[int, list[int]]:
    """Return, by resolution, the size after the stem and after every stage."""
    sizes: dict[int, list[int]] = {}
    for resolution in settings.resolutions:
        size = out_shape(_stem(settings, resolution))[1]
        sizes[resolution] = [size]
        for stage in settings.stages:
            size = (size - 1) // stage.stride + 1
            sizes[resolution].append(size)
    return sizes
