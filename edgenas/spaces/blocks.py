"""Composite operators: what the factors of a space are made of and what tables have rows for.

Each block is an `OpSpec` of a composite kind; `expand` turns it into primitives. A new kind is a
function from `OpSpec` to `Graph`, registered in `BLOCKS`; counts and all lowerings follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgenas.core import ops
from edgenas.core.errors import SpaceError
from edgenas.core.ops import Graph, Node, OpSpec, Shape
from edgenas.core.registry import Registry

BLOCKS: Registry[Callable[[OpSpec], Graph]] = Registry("block")


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a channel count to a multiple of `divisor`, losing at most 10 %.

    Source: Sandler et al. 2018 (MobileNetV2), arXiv:1801.04381, the public code's rounding.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class GraphBuilder:
    """Chains primitives; remembers the name and shape of the last one."""

    def __init__(self, in_shape: Shape) -> None:
        self.in_shape = in_shape
        self.last, self.shape = "input", in_shape
        self._nodes: list[Node] = []

    def then(self, name: str, op: OpSpec, *more_inputs: str) -> str:
        """Append `op` after the last node (and `more_inputs`); return its name."""
        self._nodes.append(Node(name, op, (self.last, *more_inputs)))
        self.last, self.shape = name, ops.out_shape(op)
        return name

    def conv(  # noqa: PLR0913
        self,
        name: str,
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        norm: bool = True,
        activation: str = "",
    ) -> None:
        """Append a convolution and, if named, its activation."""
        op = ops.conv2d(
            self.shape,
            out_channels,
            kernel=kernel,
            stride=stride,
            groups=groups,
            bias=bias,
            norm=norm,
        )
        self.then(name, op)
        if activation:
            self.then(f"{name}_act", ops.activation(self.shape, activation))

    def graph(self) -> Graph:
        """Return what was built."""
        return Graph(self.in_shape, tuple(self._nodes))


def conv_block(
    in_shape: Shape, out_channels: int, *, kernel: int, stride: int, activation: str
) -> OpSpec:
    """Return convolution, batch norm, activation (or ``"none"``)."""
    return OpSpec.make(
        "conv_block",
        in_shape,
        out_channels=out_channels,
        kernel=kernel,
        stride=stride,
        activation=activation,
    )


@BLOCKS.add("conv_block")
def _expand_conv_block(op: OpSpec) -> Graph:
    builder, function = GraphBuilder(op.in_shape), str(op["activation"])
    builder.conv(
        "conv",
        op.integer("out_channels"),
        kernel=op.integer("kernel"),
        stride=op.integer("stride"),
        activation="" if function == "none" else function,
    )
    return builder.graph()


def mbconv(  # noqa: PLR0913
    in_shape: Shape,
    out_channels: int,
    *,
    mid_channels: int,
    kernel: int,
    stride: int,
    activation: str,
    squeeze_excite: bool,
) -> OpSpec:
    """Return an inverted residual block.

    Expand (unless `mid_channels` equals the input's), depthwise, squeeze and excitation over a
    quarter of the channels, project; a shortcut where the shape is kept.
    Source: Howard et al. 2019 (MobileNetV3), arXiv:1905.02244, figure 4.
    """
    return OpSpec.make(
        "mbconv",
        in_shape,
        out_channels=out_channels,
        mid_channels=mid_channels,
        kernel=kernel,
        stride=stride,
        activation=activation,
        se=int(squeeze_excite),
    )


@BLOCKS.add("mbconv")
def _expand_mbconv(op: OpSpec) -> Graph:
    builder = GraphBuilder(op.in_shape)
    mid, stride, function = op.integer("mid_channels"), op.integer("stride"), str(op["activation"])
    if mid != op.in_shape[0]:
        builder.conv("expand", mid, activation=function)
    builder.conv(
        "depthwise",
        mid,
        kernel=op.integer("kernel"),
        stride=stride,
        groups=mid,
        activation=function,
    )
    if op["se"]:
        _excite(builder, make_divisible(mid // 4), gate="h_sigmoid")
    builder.conv("project", op.integer("out_channels"))
    if stride == 1 and op.in_shape[0] == op["out_channels"]:
        builder.then("shortcut", ops.add(builder.shape), "input")
    return builder.graph()


def fbnet_block(  # noqa: PLR0913
    in_shape: Shape,
    out_channels: int,
    *,
    mid_channels: int,
    kernel: int,
    stride: int,
    groups: int,
    n_depthwise: int = 1,
) -> OpSpec:
    """Return FBNet's inverted residual block.

    Expand, shuffle the channels if there are `groups`, depthwise, project; a shortcut where the
    shape is kept. Both 1x1 convolutions have `groups`; the first is there even if it widens
    nothing. ReLU after the first two. Of several depthwise convolutions in a row the first has the
    stride, and the ReLU stands after the last.
    Source: Wu et al. 2019 (FBNet), arXiv:1812.03443, figure 3.
    """
    more = {"n_depthwise": n_depthwise} if n_depthwise > 1 else {}
    return OpSpec.make(
        "fbnet_block",
        in_shape,
        out_channels=out_channels,
        mid_channels=mid_channels,
        kernel=kernel,
        stride=stride,
        groups=groups,
        **more,
    )


@BLOCKS.add("fbnet_block")
def _expand_fbnet_block(op: OpSpec) -> Graph:
    builder = GraphBuilder(op.in_shape)
    mid, stride, groups = (op.integer(name) for name in ("mid_channels", "stride", "groups"))
    builder.conv("expand", mid, groups=groups, activation="relu")
    if groups > 1:
        builder.then("shuffle", ops.channel_shuffle(builder.shape, groups))
    kernel, repeats = op.integer("kernel"), int(dict(op.attrs).get("n_depthwise", 1))
    for i in range(1, repeats):
        builder.conv(f"depthwise{i}", mid, kernel=kernel, stride=stride, groups=mid)
        stride = 1  # the first has it
    builder.conv("depthwise", mid, kernel=kernel, stride=stride, groups=mid, activation="relu")
    builder.conv("project", op.integer("out_channels"), groups=groups)
    if stride == 1 and op.in_shape[0] == op["out_channels"]:
        builder.then("shortcut", ops.add(builder.shape), "input")
    return builder.graph()


def mnas_layer(  # noqa: PLR0913
    in_shape: Shape,
    out_channels: int,
    *,
    mid_channels: int,
    kernel: int,
    stride: int,
    se_channels: int,
    skip: str,
) -> OpSpec:
    """Return a layer of MnasNet's space: a convolution or an inverted residual block, and a skip.

    With `mid_channels` of 0 a plain convolution with ReLU; else expand (unless `mid_channels`
    equals the input's), depthwise, project. A gate of squeeze and excitation (0 channels: none)
    stands before the projection, or after the plain convolution. `skip` adds the input
    (``identity``), its average over 3x3 pixels (``pool``) or nothing (``none``).
    Source: Tan et al. 2019 (MnasNet), arXiv:1807.11626, section 4.1.

    Raises:
        SpaceError: a skip where the shape changes.
    """
    if skip != "none" and (stride > 1 or in_shape[0] != out_channels):
        raise SpaceError(
            f"a skip ({skip}) needs a layer that keeps its shape, got {in_shape[0]} to "
            f"{out_channels} channels with stride {stride}"
        )
    return OpSpec.make(
        "mnas_layer",
        in_shape,
        out_channels=out_channels,
        mid_channels=mid_channels,
        kernel=kernel,
        stride=stride,
        se_channels=se_channels,
        skip=skip,
    )


@BLOCKS.add("mnas_layer")
def _expand_mnas_layer(op: OpSpec) -> Graph:
    builder, width = GraphBuilder(op.in_shape), op.integer("out_channels")
    mid, kernel, stride = (op.integer(name) for name in ("mid_channels", "kernel", "stride"))
    if mid == 0:
        builder.conv("conv", width, kernel=kernel, stride=stride, activation="relu")
    elif mid != op.in_shape[0]:
        builder.conv("expand", mid, activation="relu")
    if mid:
        builder.conv("depthwise", mid, kernel=kernel, stride=stride, groups=mid, activation="relu")
    if op["se_channels"]:
        _excite(builder, op.integer("se_channels"), gate="sigmoid")
    if mid:
        builder.conv("project", width)
    if op["skip"] == "identity":
        builder.then("shortcut", ops.add(builder.shape), "input")
    elif op["skip"] == "pool":
        trunk, shape = builder.last, builder.shape
        builder.last, builder.shape = "input", op.in_shape
        builder.then("pool", ops.avg_pool2d(op.in_shape, kernel=3, stride=1, padding=1))
        pooled, builder.last, builder.shape = builder.last, trunk, shape
        builder.then("shortcut", ops.add(builder.shape), pooled)
    return builder.graph()


def _excite(builder: GraphBuilder, n_squeezed: int, *, gate: str) -> None:
    """Append squeeze and excitation: the last value times a gate for every channel."""
    trunk, shape = builder.last, builder.shape
    builder.then("se_pool", ops.global_avg_pool(shape))
    builder.conv("se_reduce", n_squeezed, bias=True, norm=False, activation="relu")
    builder.conv("se_expand", shape[0], bias=True, norm=False, activation=gate)
    opened, builder.last, builder.shape = builder.last, trunk, shape
    builder.then("se_scale", ops.multiply(shape, (shape[0], 1, 1)), opened)


def resnet_stem(
    in_shape: Shape, out_channels: int, *, mid_channels: int, stride: int, residual: bool
) -> OpSpec:
    """Return the stem of the later ResNets: 3x3 convolutions, then max pooling by 2.

    `residual` adds a third convolution, with an identity around it, between the two.
    Source: He et al. 2019 (Bag of Tricks), arXiv:1812.01187, figure 2b, and the public code of
    Cai et al. 2020.
    """
    return OpSpec.make(
        "resnet_stem",
        in_shape,
        out_channels=out_channels,
        mid_channels=mid_channels,
        stride=stride,
        residual=int(residual),
    )


@BLOCKS.add("resnet_stem")
def _expand_resnet_stem(op: OpSpec) -> Graph:
    builder, mid = GraphBuilder(op.in_shape), op.integer("mid_channels")
    builder.conv("conv1", mid, kernel=3, stride=op.integer("stride"), activation="relu")
    if op["residual"]:
        trunk = builder.last
        builder.conv("conv2", mid, kernel=3, activation="relu")
        builder.then("shortcut", ops.add(builder.shape), trunk)
    builder.conv("conv3", op.integer("out_channels"), kernel=3, activation="relu")
    builder.then("pool", ops.max_pool2d(builder.shape, kernel=3, stride=2, padding=1))
    return builder.graph()


def bottleneck(
    in_shape: Shape, out_channels: int, *, mid_channels: int, stride: int, downsample: bool
) -> OpSpec:
    """Return a ResNet bottleneck: 1x1, 3x3 with the stride, 1x1, each with batch norm.

    The shortcut is the input or, with `downsample`, its average over `stride` x `stride` pixels
    (at the far ends over those that are there) through a 1x1 convolution and batch norm.
    Source: He et al. 2016, arXiv:1512.03385, figure 5; He et al. 2019 (Bag of Tricks),
    arXiv:1812.01187, figure 2c.

    Raises:
        SpaceError: the shape changes and there is no `downsample`, or another stride than 1 and 2.
    """
    if stride not in (1, 2):
        raise SpaceError(f"a bottleneck has stride 1 or 2, got {stride}")
    if not downsample and (stride > 1 or in_shape[0] != out_channels):
        raise SpaceError(
            f"a bottleneck from {in_shape[0]} to {out_channels} channels with stride {stride} "
            "needs a shortcut that changes the shape; give downsample=True"
        )
    return OpSpec.make(
        "bottleneck",
        in_shape,
        out_channels=out_channels,
        mid_channels=mid_channels,
        stride=stride,
        downsample=int(downsample),
    )


@BLOCKS.add("bottleneck")
def _expand_bottleneck(op: OpSpec) -> Graph:
    builder, shortcut = GraphBuilder(op.in_shape), "input"
    mid, width, stride = (op.integer(n) for n in ("mid_channels", "out_channels", "stride"))
    if op["downsample"]:
        if stride > 1:
            pool = ops.avg_pool2d(builder.shape, kernel=stride, stride=stride, ceil=True)
            builder.then("downsample_pool", pool)
        builder.conv("downsample", width)
        shortcut, builder.last, builder.shape = builder.last, "input", op.in_shape
    builder.conv("conv1", mid, activation="relu")
    builder.conv("conv2", mid, kernel=3, stride=stride, activation="relu")
    builder.conv("conv3", width)
    builder.then("shortcut", ops.add(builder.shape), shortcut)
    builder.then("shortcut_act", ops.activation(builder.shape, "relu"))
    return builder.graph()


def pool_head(in_shape: Shape, *, n_classes: int) -> OpSpec:
    """Return the head of ResNets: pool, classifier."""
    return OpSpec.make("pool_head", in_shape, n_classes=n_classes)


@BLOCKS.add("pool_head")
def _expand_pool_head(op: OpSpec) -> Graph:
    builder = GraphBuilder(op.in_shape)
    builder.then("pool", ops.global_avg_pool(builder.shape))
    builder.then("classifier", ops.linear(builder.shape, op.integer("n_classes")))
    return builder.graph()


def norm_head(in_shape: Shape, *, n_classes: int) -> OpSpec:
    """Return batch norm, ReLU, pool, classifier: the head of networks that normalise before."""
    return OpSpec.make("norm_head", in_shape, n_classes=n_classes)


@BLOCKS.add("norm_head")
def _expand_norm_head(op: OpSpec) -> Graph:
    builder = GraphBuilder(op.in_shape)
    builder.then("norm", ops.batch_norm(builder.shape))
    builder.then("norm_act", ops.activation(builder.shape, "relu"))
    builder.then("pool", ops.global_avg_pool(builder.shape))
    builder.then("classifier", ops.linear(builder.shape, op.integer("n_classes")))
    return builder.graph()


def conv_head(in_shape: Shape, *, width: int, n_classes: int, activation: str) -> OpSpec:
    """Return the head of MobileNetV2 and its kin: 1x1 conv, batch norm, pool, classifier."""
    return OpSpec.make(
        "conv_head", in_shape, width=width, n_classes=n_classes, activation=activation
    )


@BLOCKS.add("conv_head")
def _expand_conv_head(op: OpSpec) -> Graph:
    builder = GraphBuilder(op.in_shape)
    builder.conv("conv", op.integer("width"), activation=str(op["activation"]))
    builder.then("pool", ops.global_avg_pool(builder.shape))
    builder.then("classifier", ops.linear(builder.shape, op.integer("n_classes")))
    return builder.graph()


def mbv3_head(in_shape: Shape, *, final_channels: int, mix_channels: int, n_classes: int) -> OpSpec:
    """Return MobileNetV3's head: 1x1 conv, pool, 1x1 conv on the pooled features, classifier."""
    return OpSpec.make(
        "mbv3_head",
        in_shape,
        final_channels=final_channels,
        mix_channels=mix_channels,
        n_classes=n_classes,
    )


@BLOCKS.add("mbv3_head")
def _expand_mbv3_head(op: OpSpec) -> Graph:
    builder = GraphBuilder(op.in_shape)
    builder.conv("final_expand", op.integer("final_channels"), activation="h_swish")
    builder.then("pool", ops.global_avg_pool(builder.shape))
    builder.conv("feature_mix", op.integer("mix_channels"), norm=False, activation="h_swish")
    builder.then("classifier", ops.linear(builder.shape, op.integer("n_classes")))
    return builder.graph()


def expand(op: OpSpec) -> Graph:
    """Return the primitives of `op`, composite or primitive.

    Raises:
        RegistryError: nobody registered the kind.
    """
    if op.kind in ops.PRIMITIVES:
        inputs = ("input", *(f"input{i}" for i in range(1, len(op.in_shapes))))
        return Graph(op.in_shape, (Node(op.kind, op, inputs),))
    return BLOCKS.get(op.kind)(op)


def out_shape(op: OpSpec) -> Shape:
    """Return the output shape of any operator."""
    return ops.out_shape(op) if op.kind in ops.PRIMITIVES else expand(op).out_shape


def chain(parts: Iterable[tuple[str, OpSpec]], in_shape: Shape | None = None) -> Graph:
    """Return one graph of named operators in a row; node names are ``part.node``."""
    nodes: list[Node] = []
    last, shape = "input", in_shape
    for part, op in parts:
        if shape is not None and op.in_shape != shape:
            raise SpaceError(f"{part}: {op.key} does not fit after shape {shape}")
        graph = expand(op)
        in_shape = graph.in_shape if in_shape is None else in_shape
        entry = last
        for node in graph.nodes:
            inputs = tuple(entry if name == "input" else f"{part}.{name}" for name in node.inputs)
            nodes.append(Node(f"{part}.{node.name}", node.op, inputs))
        last, shape = nodes[-1].name, graph.out_shape
    return Graph(in_shape or (), tuple(nodes))
