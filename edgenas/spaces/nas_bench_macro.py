"""NAS-Bench-Macro: eight layers, each the identity or one of two inverted residual blocks.

Su et al. 2021, arXiv:2103.11922, section 4.4. The geometry is that of the authors' public code,
and reproduces the parameters and MACs that they publish for every network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError
from edgenas.core.ops import OpSpec
from edgenas.spaces.blocks import conv_block, mbconv
from edgenas.spaces.layerwise import Frame, Layer, LayerwiseSpace, Stage, stage_layers
from edgenas.spaces.presets import choose

IDENTITY = "identity"

BLOCKS = {"mb3_k3": (3, 3), "mb6_k5": (6, 5)}
"""Expansion and kernel by block."""

OPTIONS = (IDENTITY, *BLOCKS)
"""Options of every layer's gene; the benchmark's digits are their numbers."""


@dataclass(frozen=True, slots=True)
class NasBenchMacroSettings:
    """The network around the choices; every stage halves the image and doubles the channels."""

    resolution: int = 32
    stem_width: int = 32
    n_layers: tuple[int, ...] = (2, 3, 3)
    head_width: int = 1280
    input_channels: int = 3
    n_classes: int = 10


PRESETS = {"nas_bench_macro": NasBenchMacroSettings()}
"""Settings by preset name."""


class NasBenchMacroSpace(LayerwiseSpace):
    """The space of one `NasBenchMacroSettings`; genes are ``stage1.layer0`` and so on.

    The 6,561 entries of the benchmark are 3,969 networks, as identities that run nothing may
    stand anywhere in their stage; canonical genes name each once.
    """

    def __init__(
        self, name: str, settings: NasBenchMacroSettings, parameters: dict[str, Any]
    ) -> None:
        self.settings = settings
        stages = [
            Stage(settings.stem_width << s, 2, n) for s, n in enumerate(settings.n_layers, start=1)
        ]
        super().__init__(
            name,
            frame=Frame(
                resolution=settings.resolution,
                input_channels=settings.input_channels,
                n_classes=settings.n_classes,
                stem_width=settings.stem_width,
                stem_stride=1,
                head_width=settings.head_width,
                activation="relu",
            ),
            layers=partial(stage_layers, stages=stages),
            options=lambda _: OPTIONS,
            build=_build,
            parameters=parameters,
        )

    def from_code(self, code: str) -> Genes:
        """Return canonical genes, shape (n_genes,), of the network that the benchmark calls so.

        Raises:
            SpaceError: `code` is not one digit of 0, 1, 2 a layer.
        """
        if len(code) != self.n_genes or set(code) - set("012"):
            raise SpaceError(
                f"{self.name} has codes of {self.n_genes} digits 0, 1 or 2, such as "
                f"{'2' * self.n_genes!r}; got {code!r}"
            )
        return self.from_blocks([OPTIONS[int(digit)] for digit in code])


def nas_bench_macro(preset: str, **changes: Any) -> NasBenchMacroSpace:
    """Return the space, with fields of `NasBenchMacroSettings` changed (see `choose`)."""
    chosen = choose(preset, PRESETS[preset], changes)
    return NasBenchMacroSpace(chosen.name, chosen.settings, chosen.parameters)


def _build(layer: Layer, option: str) -> tuple[OpSpec, ...]:
    shape, width, stride = layer.in_shape, layer.width, layer.stride
    if option == IDENTITY:
        if layer.keeps_shape:
            return ()
        return (conv_block(shape, width, kernel=1, stride=stride, activation="none"),)
    expansion, kernel = BLOCKS[option]
    return (
        mbconv(
            shape,
            width,
            mid_channels=expansion * shape[0],
            kernel=kernel,
            stride=stride,
            activation="relu",
            squeeze_excite=False,
        ),
    )
