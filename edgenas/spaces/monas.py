"""MONAS's spaces: an AlexNet and a CondenseNet whose numbers are chosen.

Hsu et al. 2018 (MONAS), arXiv:1806.10332. Of AlexNet the number of filters and the kernel of every
convolution are chosen, of CondenseNet (Huang et al. 2018, arXiv:1711.09224) the number of layers
and the growth of every stage; the options are the paper's. The networks around them, where the
paper and its summaries are silent, are ours: AlexNet's (Krizhevsky et al. 2012) five convolutions
and three pools over 32 pixels, with batch norms for its response norms, and narrower hidden layers.
CondenseNet is that of its authors' public code for CIFAR, and has the parameters and operations
that they publish; which channels the learned groups read is ours (see `edgenas.spaces.dense`), and
the classifier reads all channels (converted for deployment, theirs reads half of them).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from edgenas.core.errors import SpaceError
from edgenas.core.ops import OpSpec, Shape, conv2d
from edgenas.spaces.alexnet import alexnet_head, alexnet_layer
from edgenas.spaces.base import Factor, Gene, SearchSpace
from edgenas.spaces.blocks import norm_head, out_shape
from edgenas.spaces.dense import condense_layer
from edgenas.spaces.presets import choose


@dataclass(frozen=True, slots=True)
class MonasAlexNetSettings:
    """Options of every convolution, and what stands around them.

    Attributes:
        filters: options of the number of filters.
        kernels: options of the kernel's size.
        pools: numbers of the convolutions that a max pool of 3x3 pixels and stride 2 follows.
        n_layers: convolutions.
        hidden: widths of the hidden layers behind them.
        resolution: of the image, in pixels.
        input_channels: of the image.
        n_classes: width of the output.
    """

    filters: tuple[int, ...] = (8, 16, 32, 48, 64)
    kernels: tuple[int, ...] = (3, 5, 7, 9)
    pools: tuple[int, ...] = (1, 2, 5)
    n_layers: int = 5
    hidden: tuple[int, ...] = (384, 192)
    resolution: int = 32
    input_channels: int = 3
    n_classes: int = 10


@dataclass(frozen=True, slots=True)
class MonasCondenseNetSettings:
    """Options of every stage, and what stands around them.

    Attributes:
        layers: options of the number of layers.
        growths: options of the channels that each layer adds.
        n_stages: stages, between which averages are pooled; all widths that are before a stage
            decide on its layers, so that three is about the most that tables can list.
        bottleneck: channels between a layer's convolutions, over its growth.
        groups: of both convolutions.
        resolution: of the image, in pixels.
        input_channels: of the image.
        n_classes: width of the output.
    """

    layers: tuple[int, ...] = (6, 8, 10, 12, 14)
    growths: tuple[int, ...] = (4, 8, 16, 24, 32)
    n_stages: int = 3
    bottleneck: int = 4
    groups: int = 4
    resolution: int = 32
    input_channels: int = 3
    n_classes: int = 10


ALEXNET_PRESETS = {"monas_alexnet": MonasAlexNetSettings()}
CONDENSENET_PRESETS = {"monas_condensenet": MonasCondenseNetSettings()}
"""Settings by preset name."""


def monas_alexnet(preset: str, **changes: Any) -> SearchSpace:
    """Return the space of AlexNets, with fields of `MonasAlexNetSettings` changed (see `choose`).

    Genes are ``filters1``, ``kernel1``, ``filters2`` and so on.

    Raises:
        SpaceError: a pool behind no convolution.
    """
    chosen = choose(preset, ALEXNET_PRESETS[preset], changes)
    settings = chosen.settings
    if not {*settings.pools} <= {*range(1, settings.n_layers + 1)}:
        raise SpaceError(
            f"{chosen.name}: pools stand behind {settings.pools}, allowed: 1 to {settings.n_layers}"
        )
    genes, factors = list[Gene](), list[Factor]()
    shape: Shape = (settings.input_channels, settings.resolution, settings.resolution)
    for i in range(1, settings.n_layers + 1):
        own = (f"filters{i}", f"kernel{i}")
        genes += [Gene(own[0], settings.filters), Gene(own[1], settings.kernels)]
        pool = i in settings.pools
        if i == 1:
            factors.append(Factor("conv1", own, partial(_first_conv, shape, pool)))
        else:
            build = partial(_next_conv, shape[1:], pool)
            factors.append(Factor(f"conv{i}", (f"filters{i - 1}", *own), build))
        shape = out_shape(alexnet_layer(shape, settings.filters[0], kernel=1, pool=pool))
    build_head = partial(_alexnet_head, settings, shape[1:])
    factors.append(Factor("head", (f"filters{settings.n_layers}",), build_head))
    return SearchSpace(
        chosen.name,
        tuple(genes),
        tuple(factors),
        parameters=chosen.parameters,
        n_classes=settings.n_classes,
    )


def _first_conv(in_shape: Shape, pool: bool, filters: int, kernel: int) -> tuple[OpSpec, ...]:
    return (alexnet_layer(in_shape, filters, kernel=kernel, pool=pool),)


def _next_conv(
    size: Shape, pool: bool, before: int, filters: int, kernel: int
) -> tuple[OpSpec, ...]:
    return _first_conv((before, *size), pool, filters, kernel)


def _alexnet_head(settings: MonasAlexNetSettings, size: Shape, filters: int) -> tuple[OpSpec, ...]:
    return (alexnet_head((filters, *size), hidden=settings.hidden, n_classes=settings.n_classes),)


def monas_condensenet(preset: str, **changes: Any) -> SearchSpace:
    """Return the space of CondenseNets, `MonasCondenseNetSettings` changed (see `choose`).

    Genes are ``layers1``, ``growth1``, ``layers2`` and so on. The stem has twice the first growth.
    """
    chosen = choose(preset, CONDENSENET_PRESETS[preset], changes)
    settings = chosen.settings
    if settings.n_stages < 1:
        raise SpaceError(f"{chosen.name} has {settings.n_stages} stages; allowed: 1 or more")
    genes, factors = list[Gene](), [Factor("stem", ("growth1",), partial(_stem, settings))]
    for stage in range(1, settings.n_stages + 1):
        genes.append(Gene(f"layers{stage}", settings.layers))
        genes.append(Gene(f"growth{stage}", settings.growths))
        names = tuple(gene.name for gene in genes)
        build: Callable[..., tuple[OpSpec, ...]] = partial(_stage, settings)
        factors.append(Factor(f"stage{stage}", names, build))
    factors.append(Factor("head", names, partial(_condensenet_head, settings)))
    return SearchSpace(
        chosen.name,
        tuple(genes),
        tuple(factors),
        parameters=chosen.parameters,
        n_classes=settings.n_classes,
    )


def _stem(settings: MonasCondenseNetSettings, growth: int) -> tuple[OpSpec, ...]:
    image = (settings.input_channels, settings.resolution, settings.resolution)
    return (conv2d(image, 2 * growth, kernel=3),)


def _stage(settings: MonasCondenseNetSettings, *numbers: int) -> tuple[OpSpec, ...]:
    """Return the last of the stages whose layers and growths are given in turn."""
    *before, n_layers, growth = numbers
    stage = len(before) // 2
    width = _width(before) if before else 2 * growth
    size = settings.resolution >> stage
    pool = stage < settings.n_stages - 1
    groups, bottleneck = settings.groups, settings.bottleneck
    return _layers((width, size, size), n_layers, growth, bottleneck, groups, pool)


@cache
def _layers(  # noqa: PLR0913
    in_shape: Shape, n_layers: int, growth: int, bottleneck: int, groups: int, pool: bool
) -> tuple[OpSpec, ...]:
    """Return a stage; many combinations of those before it lead to the same width."""
    width, *size = in_shape
    return tuple(
        condense_layer(
            (width + i * growth, *size),
            growth,
            bottleneck=bottleneck,
            groups=groups,
            pool=pool and i == n_layers - 1,
        )
        for i in range(n_layers)
    )


def _condensenet_head(settings: MonasCondenseNetSettings, *numbers: int) -> tuple[OpSpec, ...]:
    size = settings.resolution >> (settings.n_stages - 1)
    return (norm_head((_width(numbers), size, size), n_classes=settings.n_classes),)


def _width(numbers: tuple[int, ...] | list[int]) -> int:
    """Return the channels behind stages whose layers and growths are given in turn."""
    return 2 * numbers[1] + sum(
        n * growth for n, growth in zip(numbers[::2], numbers[1::2], strict=True)
    )
