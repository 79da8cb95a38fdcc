"""Blocks of AlexNet and its kin: convolutions with pools, and hidden layers behind them.

Krizhevsky et al. 2012, ImageNet classification with deep convolutional neural networks, figure 2.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.core import ops
from edgenas.core.ops import Graph, OpSpec, Shape
from edgenas.spaces.blocks import BLOCKS, GraphBuilder


def alexnet_layer(in_shape: Shape, out_channels: int, *, kernel: int, pool: bool) -> OpSpec:
    """Return convolution, batch norm, ReLU and, with `pool`, a max pool of 3x3 with stride 2."""
    return OpSpec.make(
        "alexnet_layer", in_shape, out_channels=out_channels, kernel=kernel, pool=int(pool)
    )


@BLOCKS.add("alexnet_layer")
def _expand_alexnet_layer(op: OpSpec) -> Graph:
    builder = GraphBuilder(op.in_shape)
    width, kernel = op.integer("out_channels"), op.integer("kernel")
    builder.conv("conv", width, kernel=kernel, activation="relu")
    if op["pool"]:
        builder.then("pool", ops.max_pool2d(builder.shape, kernel=3, stride=2, padding=1))
    return builder.graph()


def alexnet_head(in_shape: Shape, *, hidden: Sequence[int], n_classes: int) -> OpSpec:
    """Return hidden layers, each with ReLU, of the given widths, and the classifier."""
    # A number where there is one: keys are read back, and one width reads as that.
    widths = hidden[0] if len(hidden) == 1 else "-".join(map(str, hidden)) or "none"
    return OpSpec.make("alexnet_head", in_shape, hidden=widths, n_classes=n_classes)


@BLOCKS.add("alexnet_head")
def _expand_alexnet_head(op: OpSpec) -> Graph:
    builder, hidden = GraphBuilder(op.in_shape), str(op["hidden"])
    widths = [] if hidden == "none" else hidden.split("-")
    for i, width in enumerate(map(int, widths), start=1):
        builder.then(f"hidden{i}", ops.linear(builder.shape, width))
        builder.then(f"hidden{i}_act", ops.activation(builder.shape, "relu"))
    builder.then("classifier", ops.linear(builder.shape, op.integer("n_classes")))
    return builder.graph()
