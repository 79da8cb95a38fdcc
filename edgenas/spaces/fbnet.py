"""FBNet: 22 layers, each one of eight inverted residual blocks or a skip.

Wu et al. 2019 (FBNet), arXiv:1812.03443, table 1 and figure 3. Where the paper is silent the
authors' public code decides: a skip that changes the shape is a 1x1 convolution with batch norm
and ReLU, and grouped blocks shuffle between the first 1x1 convolution and the depthwise one. The
first 1x1 convolution is there at expansion 1, too: only so do the MACs of FBNet-A come out.
``fbnet_cifar`` is the geometry of HW-NAS-Bench (Li et al. 2021, arXiv:2103.10584) for 32 pixels,
``fbnet_tiny`` one of ours for small grey images.
FBNet-A, B and C, which the authors found, are spaces of one architecture; where their model zoo
counts two 3x3 depthwise convolutions in a row, ``k3x2_e6``, which is none of the nine choices,
stands for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError
from edgenas.core.ops import OpSpec
from edgenas.spaces.blocks import conv_block, fbnet_block
from edgenas.spaces.layerwise import (
    Frame,
    Layer,
    LayerwiseSpace,
    Stage,
    stage_layers,
)
from edgenas.spaces.presets import choose

SKIP = "skip"

BLOCKS = {
    "k3_e1_g2": (3, 1, 2),
    "k5_e1_g2": (5, 1, 2),
    "k3_e1": (3, 1, 1),
    "k5_e1": (5, 1, 1),
    "k3_e3": (3, 3, 1),
    "k5_e3": (5, 3, 1),
    "k3_e6": (3, 6, 1),
    "k5_e6": (5, 6, 1),
}
"""Kernel, expansion and groups by block, the smallest first."""

OPTIONS = (SKIP, *BLOCKS)
"""Options of every layer's gene."""

TWICE = "k3x2_e6"
"""Expansion 6 and two 3x3 depthwise convolutions: in the authors' networks, not in their space."""

HW_NAS_BENCH_ORDER = (
    "k3_e1",
    "k3_e1_g2",
    "k3_e3",
    "k3_e6",
    "k5_e1",
    "k5_e1_g2",
    "k5_e3",
    "k5_e6",
    "skip",
)
"""What the numbers 0 to 8 mean in HW-NAS-Bench and in data sets that follow it."""


@dataclass(frozen=True, slots=True)
class FbnetSettings:
    """Everything that makes one space of the family."""

    resolution: int
    stem_width: int
    stem_stride: int
    stages: tuple[Stage, ...]
    head_width: int
    input_channels: int = 3
    n_classes: int = 1000
    blocks: tuple[str, ...] = ()
    """Every layer's block in one network that is given; empty: all choices are open."""


_WIDTHS = (16, 24, 32, 64, 112, 184, 352)
_N_LAYERS = (1, 4, 4, 4, 4, 4, 1)


def _stages(*strides: int) -> tuple[Stage, ...]:
    return tuple(map(Stage, _WIDTHS, strides, _N_LAYERS))


_IMAGENET = FbnetSettings(
    resolution=224,
    stem_width=16,
    stem_stride=2,
    stages=_stages(1, 2, 2, 2, 1, 2, 1),
    head_width=1984,
)


def _published(head_width: int, blocks: str) -> FbnetSettings:
    return replace(_IMAGENET, head_width=head_width, blocks=tuple(blocks.split()))


PRESETS = {
    "fbnet": _IMAGENET,
    "fbnet_a": _published(
        1504,
        """skip  k3_e3 k3_e1 skip skip  k5_e6 k3_e3 k5_e1 k3_e3  k5_e6 k5_e3 k5_e1_g2 k5_e6
        k3_e6 k5_e1_g2 k5_e3 k3_e1_g2  k5_e6 k5_e6 k5_e3 k5_e6  k5_e6""",
    ),
    "fbnet_b": _published(
        1984,
        """k3_e1  k3_e6 k5_e1 k3_e1 k3_e1  k5_e6 k5_e3 k3_e6 k3x2_e6  k5_e6 k5_e1 skip k5_e3
        k5_e6 k3_e1 k5_e1 k5_e3  k5_e6 k5_e1 k5_e6 k5_e6  k3_e6""",
    ),
    "fbnet_c": _published(
        1984,
        """k3_e1  k3_e6 skip k3_e1 k3_e1  k5_e6 k5_e3 k3x2_e6 k3_e6  k5_e6 k5_e3 k5_e6 k5_e6
        k5_e6 k3x2_e6 k5_e6 k5_e3  k5_e6 k5_e6 k5_e6 k5_e6  k3_e6""",
    ),
    "fbnet_cifar": replace(
        _IMAGENET,
        resolution=32,
        stem_stride=1,
        stages=_stages(1, 1, 2, 2, 1, 2, 1),
        head_width=1504,
        n_classes=100,
    ),
    "fbnet_tiny": FbnetSettings(
        resolution=28,
        stem_width=16,
        stem_stride=2,
        stages=(Stage(16, 1, 1), Stage(24, 1, 3), Stage(32, 2, 3), Stage(48, 1, 3)),
        head_width=256,
        input_channels=1,
        n_classes=10,
    ),
}
"""Settings by preset name."""


class FbnetSpace(LayerwiseSpace):
    """The space of one `FbnetSettings`; the genes are the layers, ``stage1.layer0`` and so on."""

    def __init__(self, name: str, settings: FbnetSettings, parameters: dict[str, Any]) -> None:
        self.settings = settings
        super().__init__(
            name,
            frame=Frame(
                resolution=settings.resolution,
                input_channels=settings.input_channels,
                n_classes=settings.n_classes,
                stem_width=settings.stem_width,
                stem_stride=settings.stem_stride,
                head_width=settings.head_width,
                activation="relu",
            ),
            layers=partial(stage_layers, stages=settings.stages),
            options=lambda _: (*OPTIONS, TWICE) if settings.blocks else OPTIONS,
            blocks=settings.blocks,
            build=_build,
            parameters=parameters,
        )

    def from_hw_nas_bench(self, numbers: Sequence[int]) -> Genes:
        """Return canonical genes from the numbers of `HW_NAS_BENCH_ORDER`, one a layer.

        Raises:
            SpaceError: not one number a layer, or one that means no block.
        """
        for number in numbers:
            if not 0 <= number < len(HW_NAS_BENCH_ORDER):
                raise SpaceError(
                    f"{self.name}: block number {number}, allowed: 0 to "
                    f"{len(HW_NAS_BENCH_ORDER) - 1}"
                )
        return self.from_blocks([HW_NAS_BENCH_ORDER[number] for number in numbers])


def fbnet(preset: str, **changes: Any) -> FbnetSpace:
    """Return the space of a preset, with fields of `FbnetSettings` changed (see `choose`)."""
    chosen = choose(preset, PRESETS[preset], changes)
    return FbnetSpace(chosen.name, chosen.settings, chosen.parameters)


def _build(layer: Layer, option: str) -> tuple[OpSpec, ...]:
    if option == SKIP:
        if layer.keeps_shape:
            return ()
        return (
            conv_block(
                layer.in_shape, layer.width, kernel=1, stride=layer.stride, activation="relu"
            ),
        )
    kernel, expansion, groups = (3, 6, 1) if option == TWICE else BLOCKS[option]
    return (
        fbnet_block(
            layer.in_shape,
            layer.width,
            mid_channels=layer.in_shape[0] * expansion,
            kernel=kernel,
            stride=layer.stride,
            groups=groups,
            n_depthwise=2 if option == TWICE else 1,
        ),
    )
