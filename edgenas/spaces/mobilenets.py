"""MobileNetV2 and MobileNetV3: families of one network, scaled in width and resolution.

Sandler et al. 2018 (MobileNetV2), arXiv:1801.04381, table 2; Howard et al. 2019 (MobileNetV3),
arXiv:1905.02244, tables 1 and 2. They are what a searched network has to beat. ``*_tiny`` is ours:
the same blocks for images of 28 to 32 pixels, with as many halvings as ``mbv3_tiny`` has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from edgenas.core.errors import SpaceError
from edgenas.core.ops import OpSpec, Shape
from edgenas.spaces.base import Factor, Gene, SearchSpace
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
class Row:
    """One block of a paper's table; widths are before the multiplier.

    The block expands to `mid_width` (MobileNetV3) or, where that is 0, by `expansion`
    (MobileNetV2, where the multiplier reaches it through the width that comes in).
    """

    width: int
    kernel: int
    stride: int
    mid_width: int = 0
    expansion: int = 1
    squeeze_excite: bool = False
    activation: str = "relu6"

    @property
    def short(self) -> str:
        """All that makes the block, e.g. ``40k5s2m72.se.relu``."""
        middle = f"m{self.mid_width}" if self.mid_width else f"e{self.expansion}"
        excited = "se." if self.squeeze_excite else ""
        activation = self.activation.replace("_", "")
        return f"{self.width}k{self.kernel}s{self.stride}{middle}.{excited}{activation}"


@dataclass(frozen=True, slots=True)
class MobileNetSettings:
    """A family: the network of width 1.0, and the widths and resolutions it comes in.

    `mix_width` is the width of MobileNetV3's last layer before the classifier; 0 means
    MobileNetV2's head, whose convolution of `final_width` never gets narrower.
    """

    stem_width: int
    rows: tuple[Row, ...]
    final_width: int
    mix_width: int
    widths: tuple[float, ...]
    resolutions: tuple[int, ...]
    input_channels: int = 3
    n_classes: int = 1000

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) <= 0:
            raise SpaceError(f"widths are {self.widths}, needed: one or more above 0")


def _v2_rows() -> tuple[Row, ...]:
    table = (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )
    return tuple(
        Row(width, 3, stride if block == 0 else 1, expansion=expansion)
        for expansion, width, n_blocks, stride in table
        for block in range(n_blocks)
    )


def _v3_rows(table: tuple[tuple[int, int, int, str, int], ...]) -> tuple[Row, ...]:
    """Return rows of (kernel, mid width, width, kind, stride); the kind is RE or HS, SE or not."""
    return tuple(
        Row(
            width,
            kernel,
            stride,
            mid_width=mid,
            squeeze_excite="SE" in kind,
            activation="relu" if "RE" in kind else "h_swish",
        )
        for kernel, mid, width, kind, stride in table
    )


_LARGE = _v3_rows(
    (
        (3, 16, 16, "RE", 1),
        (3, 64, 24, "RE", 2),
        (3, 72, 24, "RE", 1),
        (5, 72, 40, "RE SE", 2),
        (5, 120, 40, "RE SE", 1),
        (5, 120, 40, "RE SE", 1),
        (3, 240, 80, "HS", 2),
        (3, 200, 80, "HS", 1),
        (3, 184, 80, "HS", 1),
        (3, 184, 80, "HS", 1),
        (3, 480, 112, "HS SE", 1),
        (3, 672, 112, "HS SE", 1),
        (5, 672, 160, "HS SE", 2),
        (5, 960, 160, "HS SE", 1),
        (5, 960, 160, "HS SE", 1),
    )
)
_SMALL = _v3_rows(
    (
        (3, 16, 16, "RE SE", 2),
        (3, 72, 24, "RE", 2),
        (3, 88, 24, "RE", 1),
        (5, 96, 40, "HS SE", 2),
        (5, 240, 40, "HS SE", 1),
        (5, 240, 40, "HS SE", 1),
        (5, 120, 48, "HS SE", 1),
        (5, 144, 48, "HS SE", 1),
        (5, 288, 96, "HS SE", 2),
        (5, 576, 96, "HS SE", 1),
        (5, 576, 96, "HS SE", 1),
    )
)
_RESOLUTIONS = (96, 128, 160, 192, 224)
_V3_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.25)


def _keep_halvings(rows: tuple[Row, ...], kept: tuple[int, ...]) -> tuple[Row, ...]:
    """Return `rows` with stride 1 wherever the stride is 2 and its number is not in `kept`."""
    numbers = {i: n for n, i in enumerate(i for i, row in enumerate(rows) if row.stride == 2)}
    return tuple(
        replace(row, stride=2 if numbers.get(i) in kept else 1) for i, row in enumerate(rows)
    )


def _tiny(settings: MobileNetSettings, kept: tuple[int, ...]) -> MobileNetSettings:
    return replace(
        settings,
        rows=_keep_halvings(settings.rows, kept),
        widths=(0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0),
        resolutions=(20, 24, 28, 32),
        input_channels=1,
        n_classes=10,
    )


_V2 = MobileNetSettings(
    32, _v2_rows(), 1280, 0, (0.35, 0.5, 0.75, 1.0, 1.3, 1.4), resolutions=_RESOLUTIONS
)
_V3_LARGE = MobileNetSettings(16, _LARGE, 960, 1280, _V3_WIDTHS, _RESOLUTIONS)
_V3_SMALL = MobileNetSettings(16, _SMALL, 576, 1024, _V3_WIDTHS, _RESOLUTIONS)

PRESETS = {
    "mobilenet_v2": _V2,
    "mobilenet_v3_large": _V3_LARGE,
    "mobilenet_v3_small": _V3_SMALL,
    # With the stem, 28 pixels become 4, as in mbv3_tiny.
    "mobilenet_v2_tiny": _tiny(_V2, (0, 2)),
    "mobilenet_v3_large_tiny": _tiny(_V3_LARGE, (0, 2)),
    "mobilenet_v3_small_tiny": _tiny(_V3_SMALL, (1, 2)),
}
"""Settings by preset name."""


class MobileNetSpace(SearchSpace):
    """The space of one `MobileNetSettings`: genes ``width`` and ``resolution``.

    Its networks share no weights: each is trained alone.
    """

    def __init__(self, name: str, settings: MobileNetSettings, parameters: dict[str, Any]) -> None:
        self.settings = settings
        names = ("stem", *(f"block{i}" for i in range(len(settings.rows))), "head")
        super().__init__(
            name,
            (Gene("width", settings.widths), Gene("resolution", settings.resolutions)),
            tuple(
                Factor(part, ("width", "resolution"), _part(settings, i))
                for i, part in enumerate(names)
            ),
            parameters=parameters,
            n_classes=settings.n_classes,
        )


def mobilenet(preset: str, **changes: Any) -> MobileNetSpace:
    """Return the space of a preset, with fields of `MobileNetSettings` changed (see `choose`)."""
    chosen = choose(preset, PRESETS[preset], changes)
    return MobileNetSpace(chosen.name, chosen.settings, chosen.parameters)


def _part(settings: MobileNetSettings, i: int) -> Callable[..., tuple[OpSpec, ...]]:
    return partial(_build, settings, i)


def _build(
    settings: MobileNetSettings, i: int, width: float, resolution: int
) -> tuple[OpSpec, ...]:
    return (_network(settings, width, resolution)[i],)


def _network(settings: MobileNetSettings, width: float, resolution: int) -> list[OpSpec]:
    """Return the operators of the network of one width and resolution, in order."""
    is_v3 = settings.mix_width > 0
    image = (settings.input_channels, resolution, resolution)
    parts = [
        conv_block(
            image,
            make_divisible(settings.stem_width * width),
            kernel=3,
            stride=2,
            activation="h_swish" if is_v3 else "relu6",
        )
    ]
    for row in settings.rows:
        parts.append(_block(row, out_shape(parts[-1]), width))
    last = out_shape(parts[-1])
    return [*parts, _head(settings, last, width)]


def _block(row: Row, in_shape: Shape, width: float) -> OpSpec:
    middle = make_divisible(row.mid_width * width) if row.mid_width else in_shape[0] * row.expansion
    return mbconv(
        in_shape,
        make_divisible(row.width * width),
        mid_channels=middle,
        kernel=row.kernel,
        stride=row.stride,
        activation=row.activation,
        squeeze_excite=row.squeeze_excite,
    )


def _head(settings: MobileNetSettings, last: Shape, width: float) -> OpSpec:
    if settings.mix_width:
        return mbv3_head(
            last,
            final_channels=make_divisible(settings.final_width * width),
            mix_channels=make_divisible(settings.mix_width * width),
            n_classes=settings.n_classes,
        )
    final = make_divisible(settings.final_width * max(1.0, width))
    return conv_head(last, width=final, n_classes=settings.n_classes, activation="relu6")
