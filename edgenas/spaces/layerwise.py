"""Layer-wise spaces: a stem, layers that each are one of several blocks, a head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError, choices
from edgenas.core.ops import NORM_EPSILON, OpSpec, Shape
from edgenas.spaces.base import Factor, Gene, SearchSpace
from edgenas.spaces.blocks import conv_block, conv_head, out_shape


@dataclass(frozen=True, slots=True)
class Stage:
    """Layers of one width; the first has the stride."""

    width: int
    stride: int
    n_layers: int

    @property
    def short(self) -> str:
        """All that makes the stage, e.g. ``24s2n4``."""
        return f"{self.width}s{self.stride}n{self.n_layers}"


@dataclass(frozen=True, slots=True)
class Layer:
    """A searched layer: what goes in, and what every block of it makes of that."""

    name: str
    in_shape: Shape
    width: int
    stride: int

    @property
    def keeps_shape(self) -> bool:
        """Whether the layer can be left out."""
        return self.stride == 1 and self.in_shape[0] == self.width

    @property
    def out_shape(self) -> Shape:
        """Shape that the layer returns."""
        return (self.width, *((size - 1) // self.stride + 1 for size in self.in_shape[1:]))


def stage_layers(in_shape: Shape, stages: Iterable[Stage]) -> list[Layer]:
    """Return the layers ``stage1.layer0`` and so on, of which the first reads `in_shape`."""
    layers: list[Layer] = []
    for s, stage in enumerate(stages, start=1):
        for i in range(stage.n_layers):
            shape = layers[-1].out_shape if layers else in_shape
            stride = stage.stride if i == 0 else 1
            layers.append(Layer(f"stage{s}.layer{i}", shape, stage.width, stride))
    return layers


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the layers: a 3x3 convolution before, pooling and a classifier after.

    `head_width` is that of the 1x1 convolution before the pooling.
    """

    resolution: int
    input_channels: int
    n_classes: int
    stem_width: int
    stem_stride: int
    head_width: int
    activation: str

    def stem(self) -> OpSpec:
        """Return what reads the image."""
        image = (self.input_channels, self.resolution, self.resolution)
        return conv_block(
            image, self.stem_width, kernel=3, stride=self.stem_stride, activation=self.activation
        )

    def head(self, in_shape: Shape) -> OpSpec:
        """Return what reads the last layer's result."""
        return conv_head(
            in_shape, width=self.head_width, n_classes=self.n_classes, activation=self.activation
        )


class LayerwiseSpace(SearchSpace):
    """A space of layers in a row; each layer's gene is called as the layer.

    Where layers in a row keep the shape and option 0 runs nothing, it makes no difference which
    of them have it: canonical genes have it last.

    Args:
        name: see `SearchSpace`.
        frame: what runs before and after the layers.
        layers: makes them, in order, from the shape that goes into the first.
        options: names of a layer's blocks, the smallest first.
        build: makes the operators of a layer from the name of its block.
        parameters: see `SearchSpace`.
        blocks: every layer's block in one network that is given; empty: all options are open.
        norm_epsilon: see `SearchSpace`.

    Raises:
        SpaceError: not one block a layer, or one that is no option of its layer.
    """

    def __init__(  # noqa: PLR0913
        self,
        name: str,
        *,
        frame: Frame,
        layers: Callable[[Shape], Sequence[Layer]],
        options: Callable[[Layer], tuple[str, ...]],
        build: Callable[[Layer, str], tuple[OpSpec, ...]],
        parameters: dict[str, Any],
        blocks: Sequence[str] = (),
        norm_epsilon: float = NORM_EPSILON,
    ) -> None:
        stem = frame.stem()
        self.layers = row = tuple(layers(out_shape(stem)))
        chosen = _options(name, row, options, blocks)
        head = frame.head(row[-1].out_shape if row else out_shape(stem))
        super().__init__(
            name,
            tuple(Gene(layer.name, own) for layer, own in zip(row, chosen, strict=True)),
            (
                Factor("stem", (), lambda: (stem,)),
                *(Factor(layer.name, (layer.name,), partial(build, layer)) for layer in row),
                Factor("head", (), lambda: (head,)),
            ),
            parameters=parameters,
            n_classes=frame.n_classes,
            sequences=_sequences(
                layer if not build(layer, own[0]) else None
                for layer, own in zip(row, chosen, strict=True)
            ),
            norm_epsilon=norm_epsilon,
        )

    def from_blocks(self, names: Sequence[str]) -> Genes:
        """Return canonical genes, shape (n_genes,), from the name of every layer's block.

        Raises:
            SpaceError: not one name a layer, or a name that is no option.
        """
        if len(names) != self.n_genes:
            raise SpaceError(f"{self.name} has {self.n_genes} layers, got {len(names)} blocks")
        return self.parse(dict(zip((gene.name for gene in self.genes), names, strict=True)))


def _options(
    name: str,
    row: Sequence[Layer],
    options: Callable[[Layer], tuple[str, ...]],
    blocks: Sequence[str],
) -> list[tuple[str, ...]]:
    """Return the options of every layer: all, or of a given network its block alone."""
    if not blocks:
        return [options(layer) for layer in row]
    if len(blocks) < len(row):
        raise SpaceError(f"{row[len(blocks)].name} has no block: {len(blocks)} are given")
    if len(blocks) > len(row):
        raise SpaceError(f"{name} has {len(row)} layers, got {len(blocks)} blocks")
    for layer, block in zip(row, blocks, strict=True):
        if block not in options(layer):
            raise SpaceError(
                f"{layer.name} has no option {block}; {choices(block, options(layer))}"
            )
    return [(block,) for block in blocks]


def _sequences(skippable: Iterable[Layer | None]) -> tuple[tuple[str, ...], ...]:
    """Return runs of two or more layers; None stands for one that always runs something."""
    runs: list[list[str]] = [[]]
    for layer in skippable:
        if layer is None:
            runs.append([])
        else:
            runs[-1].append(layer.name)
    return tuple(tuple(run) for run in runs if len(run) > 1)
