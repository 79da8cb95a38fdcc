"""Operator descriptions: the one intermediate representation that everything is lowered from.

An `OpSpec` is a kind, the shapes that go in, and attributes. Primitive kinds (this module)
are what runtimes know; composite kinds (`edgenas.spaces.blocks`) expand to a `Graph` of
primitives. Shapes are channels first and without the batch: ``(channels, height, width)``, or
``(features,)`` after a linear layer. Convolutions pad ``kernel // 2`` on every side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgenas.core.errors import SpaceError

Shape = tuple[int, ...]
Attribute = int | str | bool

ACTIVATIONS = ("relu", "relu6", "h_swish", "h_sigmoid", "swish", "sigmoid")
_KEY = re.compile(r"(?P<kind>[a-z0-9_]+)\((?P<shapes>[0-9x+]+)(?:;(?P<attrs>[^()]*))?\)", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+")


@dataclass(frozen=True, slots=True, order=True)
class OpSpec:
    """One operator: `kind`, input shapes, sorted attributes; equal operators are equal values."""

    kind: str
    in_shapes: tuple[Shape, ...]
    attrs: tuple[tuple[str, Attribute], ...] = ()

    @classmethod
    def make(cls, kind: str, in_shape: Shape, *more: Shape, **attrs: Attribute) -> OpSpec:
        """Return the operator of `kind` on inputs of the given shapes."""
        return cls(kind, (in_shape, *more), tuple(sorted(attrs.items())))

    def __getitem__(self, name: str) -> Attribute:
        """Return the attribute `name`.

        Raises:
            SpaceError: the operator has no such attribute.
        """
        for key, value in self.attrs:
            if key == name:
                return value
        raise SpaceError(f"operator {self.key} has no attribute {name!r}")

    def integer(self, name: str) -> int:
        """Return an attribute that is a number."""
        return int(self[name])

    @property
    def in_shape(self) -> Shape:
        """Shape of the first input."""
        return self.in_shapes[0]

    @property
    def key(self) -> str:
        """Canonical text, e.g. ``conv2d(16x32x32;bias=0,groups=1,kernel=3)``; see `parse_key`."""
        shapes = "+".join("x".join(map(str, shape)) for shape in self.in_shapes)
        attrs = ",".join(f"{name}={_text(value)}" for name, value in self.attrs)
        return f"{self.kind}({shapes};{attrs})" if attrs else f"{self.kind}({shapes})"


def parse_key(key: str) -> OpSpec:
    """Return the operator whose `OpSpec.key` is `key`.

    Raises:
        SpaceError: `key` is not such a text.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise SpaceError(f"not an operator key: {key!r}")
    try:
        shapes = tuple(tuple(map(int, s.split("x"))) for s in match["shapes"].split("+"))
    except ValueError:
        raise SpaceError(f"not an operator key: {key!r}; its shapes are not numbers") from None
    attrs: dict[str, Attribute] = {}
    for item in (match["attrs"] or "").split(","):
        name, _, value = item.partition("=")
        if name:
            attrs[name] = int(value) if _NUMBER.fullmatch(value) else value
    op = OpSpec(match["kind"], shapes, tuple(sorted(attrs.items())))
    if op.key != key:  # two texts for one operator would make two rows that never meet
        raise SpaceError(f"not an operator key: {key!r}; this operator is written {op.key!r}")
    return op


def _text(value: Attribute) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Node:
    """A primitive operator in a graph; `inputs` are names of nodes, ``"input"`` is the graph's."""

    name: str
    op: OpSpec
    inputs: tuple[str, ...]


NORM_EPSILON = 1e-5
"""What batch norms add to variances, unless a graph says otherwise."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Primitive operators in topological order; the last node is the output.

    `norm_epsilon` is what its batch norms add to variances. It is no attribute of operators, as
    it costs nothing: it is gone once batch norms are folded.
    """

    in_shape: Shape
    nodes: tuple[Node, ...]
    norm_epsilon: float = NORM_EPSILON

    @property
    def out_shape(self) -> Shape:
        """Shape that the graph returns."""
        return out_shape(self.nodes[-1].op) if self.nodes else self.in_shape


def conv2d(  # noqa: PLR0913
    in_shape: Shape,
    out_channels: int,
    *,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    norm: bool = False,
) -> OpSpec:
    """Return a convolution; `norm` says that batch normalisation follows it."""
    return OpSpec.make(
        "conv2d",
        in_shape,
        out_channels=out_channels,
        kernel=kernel,
        stride=stride,
        groups=groups,
        bias=int(bias),
        norm=int(norm),
    )


def activation(in_shape: Shape, function: str) -> OpSpec:
    """Return an element-wise activation (one of `ACTIVATIONS`)."""
    if function not in ACTIVATIONS:
        raise SpaceError(f"unknown activation {function!r}; allowed: {', '.join(ACTIVATIONS)}")
    return OpSpec.make("activation", in_shape, function=function)


def global_avg_pool(in_shape: Shape) -> OpSpec:
    """Return the mean over height and width, kept as ``(channels, 1, 1)``."""
    return OpSpec.make("global_avg_pool", in_shape)


def max_pool2d(
    in_shape: Shape, *, kernel: int, stride: int, padding: int = 0, ceil: bool = False
) -> OpSpec:
    """Return the greatest value under each window; padding is never the greatest.

    `ceil` lets the last window reach over the far end, if it starts before it.

    Raises:
        SpaceError: no window fits, or one could see nothing but padding.
    """
    return _pool2d("max_pool2d", in_shape, kernel, stride, padding, ceil)


def avg_pool2d(
    in_shape: Shape, *, kernel: int, stride: int, padding: int = 0, ceil: bool = False
) -> OpSpec:
    """Return the mean of the pixels under each window, padding not counted (see `max_pool2d`)."""
    return _pool2d("avg_pool2d", in_shape, kernel, stride, padding, ceil)


def _pool2d(  # noqa: PLR0913
    kind: str, in_shape: Shape, kernel: int, stride: int, padding: int, ceil: bool
) -> OpSpec:
    op = OpSpec.make(kind, in_shape, kernel=kernel, stride=stride, padding=padding, ceil=int(ceil))
    sound = kernel > 0 and stride > 0 and 0 <= padding <= kernel // 2
    if not sound or min(_pooled(op)) < 1:
        raise SpaceError(
            f"{op.key} has no windows; allowed: kernel and stride of 1 or more, padding of at most "
            "half the kernel, and no kernel larger than what it pools"
        )
    return op


def multiply(in_shape: Shape, gate_shape: Shape) -> OpSpec:
    """Return the product of a tensor with a gate that is broadcast over height and width."""
    return OpSpec.make("multiply", in_shape, gate_shape)


def add(in_shape: Shape) -> OpSpec:
    """Return the sum of two tensors of the same shape."""
    return OpSpec.make("add", in_shape, in_shape)


def concat(in_shape: Shape, *more: Shape) -> OpSpec:
    """Return tensors of the same height and width put together, channel behind channel.

    Raises:
        SpaceError: their sizes differ.
    """
    op = OpSpec.make("concat", in_shape, *more)
    if any(shape[1:] != in_shape[1:] for shape in more):
        raise SpaceError(f"{op.key} joins tensors of different sizes; allowed: other channels only")
    return op


def channel_shuffle(in_shape: Shape, groups: int) -> OpSpec:
    """Return the transposition of (groups, channels / groups) that mixes groups of channels.

    Source: Zhang et al. 2018 (ShuffleNet), arXiv:1707.01083, section 3.1.
    """
    if groups < 1 or in_shape[0] % groups:
        raise SpaceError(f"{in_shape[0]} channels cannot be shuffled in {groups} groups")
    return OpSpec.make("channel_shuffle", in_shape, groups=groups)


def linear(in_shape: Shape, out_features: int, *, bias: bool = True) -> OpSpec:
    """Return a fully connected layer on the flattened input."""
    return OpSpec.make("linear", in_shape, out_features=out_features, bias=int(bias))


def batch_norm(in_shape: Shape) -> OpSpec:
    """Return batch normalisation that follows no convolution: of a sum, of an input."""
    return OpSpec.make("batch_norm", in_shape)


def zeros(in_shape: Shape) -> OpSpec:
    """Return zeros in the shape of a tensor: what a cell makes where no path leads through it."""
    return OpSpec.make("zeros", in_shape)


PRIMITIVES = (
    "conv2d",
    "batch_norm",
    "zeros",
    "activation",
    "global_avg_pool",
    "max_pool2d",
    "avg_pool2d",
    "multiply",
    "add",
    "concat",
    "channel_shuffle",
    "linear",
)
POOLS = ("max_pool2d", "avg_pool2d")
"""Kinds that slide a window; see `pool_borders`."""


def out_shape(op: OpSpec) -> Shape:
    """Return the output shape of a primitive operator.

    Raises:
        SpaceError: `op` is not primitive.
    """
    if op.kind == "conv2d":
        kernel, stride = op.integer("kernel"), op.integer("stride")
        return (
            op.integer("out_channels"),
            *((size + 2 * (kernel // 2) - kernel) // stride + 1 for size in op.in_shape[1:]),
        )
    if op.kind in POOLS:
        return (op.in_shape[0], *_pooled(op))
    if op.kind == "global_avg_pool":
        return (op.in_shape[0], 1, 1)
    if op.kind == "linear":
        return (op.integer("out_features"),)
    if op.kind == "concat":
        return (sum(shape[0] for shape in op.in_shapes), *op.in_shape[1:])
    if op.kind in PRIMITIVES:
        return op.in_shape
    raise SpaceError(f"operator {op.key} is not primitive; primitives: {', '.join(PRIMITIVES)}")


def _pooled(op: OpSpec) -> tuple[int, ...]:
    """Return the number of windows in each direction."""
    kernel, stride, padding = (op.integer(name) for name in ("kernel", "stride", "padding"))
    more = stride - 1 if op["ceil"] else 0
    counts = []
    for size in op.in_shape[1:]:
        n = (size + 2 * padding - kernel + more) // stride + 1
        # A window that starts in the far padding is left out.
        counts.append(n - 1 if op["ceil"] and (n - 1) * stride >= size + padding else n)
    return tuple(counts)


def pool_borders(op: OpSpec) -> tuple[tuple[int, int], ...]:
    """Return, for height and width, how many pixels windows reach over the near and far ends."""
    kernel, stride, padding = (op.integer(name) for name in ("kernel", "stride", "padding"))
    return tuple(
        (padding, max(0, (n - 1) * stride + kernel - size - padding))
        for size, n in zip(op.in_shape[1:], _pooled(op), strict=True)
    )
