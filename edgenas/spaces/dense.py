"""Blocks of densely connected networks: each adds channels to all that is there already.

Huang et al. 2017 (DenseNet), arXiv:1608.06993; Huang et al. 2018 (CondenseNet), arXiv:1711.09224.
"""

from __future__ import annotations

from edgenas.core import ops
from edgenas.core.errors import SpaceError, choices
from edgenas.core.ops import Graph, OpSpec, Shape
from edgenas.spaces.blocks import BLOCKS, GraphBuilder

NORMS = ("identity", "bn", "bn_relu")
"""What may stand before a dense layer's convolution."""

CONVS = ("group1x1", "learned1x1", "conv1x1", "depthwise3x3", "group3x3", "conv3x3")
"""Convolutions of a dense layer, about in the order of their costs."""


def dense_layer(  # noqa: PLR0913
    in_shape: Shape, growth: int, *, norm: str, conv: str, groups: int, pool: bool = False
) -> OpSpec:
    """Return a layer of DPP-Net's cell: its input, and `growth` channels made of all of it.

    The layer normalises (one of `NORMS`), convolves (one of `CONVS`) and appends. A learned
    group convolution (CondenseNet, section 3) is, once trained, an index of channels and a 1x1
    group convolution. Here the index is a channel shuffle, whatever would have been learned: the
    cost is the same, the choice of channels is ours. A depthwise convolution returns as
    many channels as it reads; that a 1x1 convolution follows it and leaves `growth` of them (a
    separable convolution) is ours, too, as the source does not say.

    Args:
        in_shape: what there is so far.
        growth: channels that are added.
        norm: batch normalisation, with or without a ReLU behind it, or nothing.
        conv: name of the convolution.
        groups: of the convolutions with groups.
        pool: whether the layer ends its stage, with an average over 2x2 pixels of all there is.

    Raises:
        SpaceError: no such norm or convolution, or channels that do not divide into groups.
    """
    for name, allowed in ((norm, NORMS), (conv, CONVS)):
        if name not in allowed:
            raise SpaceError(f"a dense layer has no {name!r}; {choices(name, allowed)}")
    in_groups = conv in ("group1x1", "learned1x1", "group3x3")
    if in_groups:
        _check_groups(in_shape[0], growth, groups=groups)
    return OpSpec.make(
        "dense_layer",
        in_shape,
        growth=growth,
        norm=norm,
        conv=conv,
        groups=groups if in_groups else 1,
        **({"pool": 2} if pool else {}),
    )


@BLOCKS.add("dense_layer")
def _expand_dense_layer(op: OpSpec) -> Graph:
    builder, conv = GraphBuilder(op.in_shape), str(op["conv"])
    growth, groups = op.integer("growth"), op.integer("groups")
    if op["norm"] != "identity":
        builder.then("norm", ops.batch_norm(builder.shape))
    if op["norm"] == "bn_relu":
        builder.then("norm_act", ops.activation(builder.shape, "relu"))
    if conv == "learned1x1":
        builder.then("index", ops.channel_shuffle(builder.shape, groups))
    if conv == "depthwise3x3":
        builder.conv("depthwise", op.in_shape[0], kernel=3, groups=op.in_shape[0], norm=False)
    kernel = 3 if conv in ("conv3x3", "group3x3") else 1
    builder.conv("conv", growth, kernel=kernel, groups=groups, norm=False)
    return _appended(builder, op)


def condense_layer(
    in_shape: Shape, growth: int, *, bottleneck: int, groups: int, pool: bool = False
) -> OpSpec:
    """Return a layer of CondenseNet as it is deployed: its input and `growth` channels more.

    Batch norm, ReLU, index (see `dense_layer`), 1x1 group convolution to `bottleneck` times
    `growth` channels, batch norm, ReLU, 3x3 group convolution. The channels are shuffled between
    the two, so that the groups of the second do not repeat those of the first. `pool` as of a
    `dense_layer`.
    Source: Huang et al. 2018 (CondenseNet), arXiv:1711.09224, figure 1 and section 3.

    Raises:
        SpaceError: channels that do not divide into groups.
    """
    _check_groups(in_shape[0], growth, groups=groups)
    return OpSpec.make(
        "condense_layer",
        in_shape,
        growth=growth,
        bottleneck=bottleneck,
        groups=groups,
        **({"pool": 2} if pool else {}),
    )


@BLOCKS.add("condense_layer")
def _expand_condense_layer(op: OpSpec) -> Graph:
    builder, growth, groups = GraphBuilder(op.in_shape), op.integer("growth"), op.integer("groups")
    builder.then("norm", ops.batch_norm(builder.shape))
    builder.then("norm_act", ops.activation(builder.shape, "relu"))
    builder.then("index", ops.channel_shuffle(builder.shape, groups))
    width = op.integer("bottleneck") * growth
    builder.conv("conv1", width, groups=groups, activation="relu")
    builder.then("shuffle", ops.channel_shuffle(builder.shape, groups))
    builder.conv("conv2", growth, kernel=3, groups=groups, norm=False)
    return _appended(builder, op)


def _appended(builder: GraphBuilder, op: OpSpec) -> Graph:
    """Return what was built, behind the channels that it was built of, and pooled if asked."""
    made, shape = builder.last, builder.shape
    builder.last, builder.shape = "input", builder.in_shape
    builder.then("joined", ops.concat(builder.shape, shape), made)
    size = int(dict(op.attrs).get("pool", 1))
    if size > 1:
        builder.then("pool", ops.avg_pool2d(builder.shape, kernel=size, stride=size))
    return builder.graph()


def _check_groups(in_channels: int, growth: int, *, groups: int) -> None:
    if groups < 1 or in_channels % groups or growth % groups:
        raise SpaceError(
            f"{in_channels} channels, to which {growth} are added, do not divide into {groups} "
            "groups; allowed: widths and growths that are multiples of the groups"
        )
