"""ProxylessNAS: 21 layers of inverted residual blocks, which may be skipped where that can be.

Cai et al. 2019 (ProxylessNAS), arXiv:1812.00332, section 4.2. Geometry and choices are those of
the authors' public search code, whose Zero block under a shortcut is the skip here. The networks
that they found for a phone, a GPU and a CPU are spaces of one architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from edgenas.core.ops import NORM_EPSILON, OpSpec, Shape
from edgenas.spaces.blocks import make_divisible, mbconv
from edgenas.spaces.layerwise import (
    Frame,
    Layer,
    LayerwiseSpace,
    Stage,
    stage_layers,
)
from edgenas.spaces.presets import choose

SKIP = "skip"


@dataclass(frozen=True, slots=True)
class ProxylessNasSettings:
    """Everything that makes one space of the family; widths are before the multiplier.

    `first_kernels` are the choices of the block before the stages, which does not expand. `blocks`
    names every layer's block in one network that is given; empty: all choices are open.
    """

    stem_width: int = 32
    first_width: int = 16
    first_kernels: tuple[int, ...] = (3,)
    stages: tuple[Stage, ...] = (
        Stage(24, 2, 4),
        Stage(40, 2, 4),
        Stage(80, 2, 4),
        Stage(96, 1, 4),
        Stage(192, 2, 4),
        Stage(320, 1, 1),
    )
    head_width: int = 1280
    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (3, 6)
    width_multiplier: float = 1.0
    resolution: int = 224
    input_channels: int = 3
    n_classes: int = 1000
    blocks: tuple[str, ...] = ()
    norm_epsilon: float = NORM_EPSILON

    def width(self, base: int) -> int:
        """Return a width after the multiplier, a multiple of 8."""
        return make_divisible(base * self.width_multiplier)


def _published(
    stem_width: int, widths: tuple[int, ...], head_width: int, blocks: str
) -> ProxylessNasSettings:
    """Return the settings of one network; `widths` are those of the first block and the stages."""
    return ProxylessNasSettings(
        stem_width=stem_width,
        first_width=widths[0],
        stages=tuple(map(Stage, widths[1:], (2, 2, 2, 1, 2, 1), (4, 4, 4, 4, 4, 1))),
        head_width=head_width,
        blocks=("k3_e1", *blocks.split()),
        norm_epsilon=1e-3,
    )


PRESETS = {
    "proxylessnas": ProxylessNasSettings(),
    "proxylessnas_mobile": _published(
        32,
        (16, 32, 40, 80, 96, 192, 320),
        1280,
        """k5_e3 k3_e3 skip skip  k7_e3 k3_e3 k5_e3 k5_e3  k7_e6 k5_e3 k5_e3 k5_e3
        k5_e6 k5_e3 k5_e3 k5_e3  k7_e6 k7_e6 k7_e3 k7_e3  k7_e6""",
    ),
    "proxylessnas_gpu": _published(
        40,
        (24, 32, 56, 112, 128, 256, 432),
        1728,
        """k5_e3 skip skip skip  k7_e3 skip skip k3_e3  k7_e6 skip skip k5_e3
        k5_e6 skip k3_e3 k5_e3  k7_e6 k7_e6 k7_e6 k5_e6  k7_e6""",
    ),
    "proxylessnas_cpu": _published(
        40,
        (24, 32, 48, 88, 104, 216, 360),
        1432,
        """k3_e6 k3_e3 k3_e3 k3_e3  k3_e6 k3_e3 k3_e3 k5_e3  k3_e6 skip skip k3_e3
        k5_e6 k3_e3 k3_e3 k3_e3  k5_e6 k5_e3 k5_e3 k3_e3  k5_e6""",
    ),
}
"""Settings by preset name."""


class ProxylessNasSpace(LayerwiseSpace):
    """The space of one `ProxylessNasSettings`; genes are ``first``, ``stage1.layer0`` and so on.

    Blocks are called ``k5_e3``: kernel 5, expansion 3.
    """

    def __init__(
        self, name: str, settings: ProxylessNasSettings, parameters: dict[str, Any]
    ) -> None:
        self.settings = settings
        super().__init__(
            name,
            frame=Frame(
                resolution=settings.resolution,
                input_channels=settings.input_channels,
                n_classes=settings.n_classes,
                stem_width=settings.width(settings.stem_width),
                stem_stride=2,
                # Narrow networks keep the head of the plain one.
                head_width=max(settings.head_width, settings.width(settings.head_width)),
                activation="relu6",
            ),
            layers=partial(_layers, settings),
            options=partial(_options, settings),
            blocks=settings.blocks,
            build=_build,
            parameters=parameters,
            norm_epsilon=settings.norm_epsilon,
        )


def proxylessnas(preset: str, **changes: Any) -> ProxylessNasSpace:
    """Return the space, with fields of `ProxylessNasSettings` changed (see `choose`)."""
    chosen = choose(preset, PRESETS[preset], changes)
    return ProxylessNasSpace(chosen.name, chosen.settings, chosen.parameters)


def _layers(settings: ProxylessNasSettings, in_shape: Shape) -> list[Layer]:
    first = Layer("first", in_shape, settings.width(settings.first_width), 1)
    stages = [Stage(settings.width(s.width), s.stride, s.n_layers) for s in settings.stages]
    return [first, *stage_layers(first.out_shape, stages)]


def _options(settings: ProxylessNasSettings, layer: Layer) -> tuple[str, ...]:
    if layer.name == "first":
        return tuple(f"k{kernel}_e1" for kernel in settings.first_kernels)
    blocks = tuple(f"k{k}_e{e}" for e in settings.expansions for k in settings.kernels)
    return (SKIP, *blocks) if layer.keeps_shape else blocks


def _build(layer: Layer, option: str) -> tuple[OpSpec, ...]:
    if option == SKIP:
        return ()
    kernel, expansion = (int(part[1:]) for part in option.split("_"))
    return (
        mbconv(
            layer.in_shape,
            layer.width,
            mid_channels=layer.in_shape[0] * expansion,
            kernel=kernel,
            stride=layer.stride,
            activation="relu6",
            squeeze_excite=False,
        ),
    )
