"""Which operators can share weights in a supernet, and what they share; known without torch.

Weights do not depend on the size of images: two spaces that differ in resolutions only have the
same weights, and so have spaces of which one lacks some narrower or shallower choices. Operators
that cannot be cut from one another have weights of their own each, as the candidates of a
differentiable search have in the papers; cells share what the same edge runs in all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from edgenas.core.errors import SpaceError, UsageError, choices
from edgenas.core.ops import NORM_EPSILON, Graph, OpSpec
from edgenas.spaces.base import Factor, SearchSpace
from edgenas.spaces.blocks import expand
from edgenas.spaces.mixed_cell import MixedCell, MixedPart

TRANSFORM_PREFIX = "kernel_transform_"
"""Parameters that map a kernel to the next smaller one are called this and its size."""

STATISTICS = ("running_mean", "running_var")
"""What a batch norm may keep."""

IN_CHANNELS = "in_channels"
"""Stands for the channels of the first input where attributes are meant."""

ELASTIC: Mapping[str, frozenset[str]] = {
    "mbconv": frozenset({"mid_channels", "kernel"}),
    "bottleneck": frozenset({IN_CHANNELS, "mid_channels", "out_channels"}),
    "resnet_stem": frozenset({"mid_channels", "out_channels", "residual"}),
    "pool_head": frozenset({IN_CHANNELS}),
}
"""By kind of operator: in what two of a factor may differ and still share weights.

Narrower ones are the first channels of the widest, smaller kernels are cut from larger ones (see
`edgenas.oneshot.elastic`); a flag may leave out operators that the largest one has.
"""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the operators of one factor share.

    Attributes:
        largest: of them; all others are cut from it.
        elastic: names of the attributes in which they differ, sorted.
        kernels: sizes of the elastic kernel, descending; none if it is not elastic.
        variants: the operators, one of each that differ in more than the size of the image.
    """

    largest: OpSpec
    elastic: tuple[str, ...]
    kernels: tuple[int, ...]
    variants: tuple[OpSpec, ...]

    @property
    def identity(self) -> tuple[object, ...]:
        """What decides the weights; equal exactly where they can be exchanged."""
        return (signature(self.largest), self.elastic, self.kernels)

    def check(self, op: OpSpec) -> None:
        """Refuse an operator that cannot be cut from the largest one.

        Raises:
            SpaceError: it is of another kind, differs in more than `elastic`, or is larger.
        """
        fits = (
            signature(op, ignored=self.elastic) == signature(self.largest, ignored=self.elastic)
            and all(_value(op, name) <= _value(self.largest, name) for name in self.elastic)
            and (not self.kernels or op.integer("kernel") in self.kernels)
        )
        if not fits:
            raise SpaceError(f"{op.key} cannot be cut from the weights of {self.largest.key}")


@dataclass(frozen=True, slots=True)
class Separate:
    """Operators of one part of the network with weights of their own each.

    Attributes:
        variants: the operators, one of each that differ in more than the size of the image.
    """

    variants: tuple[OpSpec, ...]

    @property
    def identity(self) -> tuple[object, ...]:
        """What decides the weights; equal exactly where they can be exchanged."""
        return ("separate", *(signature(op) for op in self.variants))

    def check(self, op: OpSpec) -> None:
        """Refuse an operator that has no weights here.

        Raises:
            SpaceError: it is none of the variants.
        """
        if signature(op) not in {signature(variant) for variant in self.variants}:
            keys = ", ".join(variant.key for variant in self.variants[:3])
            raise SpaceError(f"{op.key} is none of the {len(self.variants)} operators {keys}, ...")


@dataclass(frozen=True, slots=True)
class ByNode:
    """A part of a factor that mixes cells: equal nodes of equal names have the same weights.

    Attributes:
        layers: every layer that has weights, of any size of images, by (name of the node, its
            `signature`).
    """

    layers: Mapping[tuple[str, object], OpSpec]

    @property
    def identity(self) -> tuple[object, ...]:
        """What decides the weights; equal exactly where they can be exchanged."""
        return ("by node", *sorted(self.layers, key=repr))

    def check(self, op: OpSpec) -> None:
        """Refuse a cell some layer of which has no weights here.

        Raises:
            SpaceError: one has none.
        """
        for node in graph_of(op).nodes:
            if has_weights(node.op):
                self.check_layer(node.name, node.op)

    def check_layer(self, name: str, op: OpSpec) -> None:
        """Refuse a layer that has no weights here (errors as `check`)."""
        if (name, signature(op)) not in self.layers:
            known = sorted({node for node, _ in self.layers})
            raise SpaceError(f"{name} has no weights of {op.key}; layers: {', '.join(known)}")


Weights = Shared | Separate | ByNode
"""How the operators of a part come by their weights."""


def share(name: str, ops: Sequence[OpSpec]) -> Shared:
    """Return what `ops`, the operators of factor `name`, share.

    Raises:
        SpaceError: they differ in more than can be cut, and cannot share weights.
    """
    distinct: dict[object, OpSpec] = {}
    for op in ops:
        distinct.setdefault(signature(op), op)
    variants = tuple(distinct.values())
    elastic = tuple(sorted(_differing(variants)))
    largest = max(variants, key=lambda op: tuple(_value(op, a) for a in elastic))
    sizes = {op.integer("kernel") for op in variants} if "kernel" in elastic else set()
    whole = len({signature(op, ignored=elastic) for op in variants}) == 1 and all(
        _value(op, a) <= _value(largest, a) for op in variants for a in elastic
    )
    if whole and all(size % 2 for size in sizes):
        return Shared(largest, elastic, tuple(sorted(sizes, reverse=True)), variants)
    allowed = "; ".join(
        f"{kind}: {', '.join(sorted(names)).replace('kernel', 'odd kernel')}"
        for kind, names in ELASTIC.items()
    )
    keys = ", ".join(op.key for op in ops[:3])
    raise SpaceError(
        f"factor {name} has no shared weights: its operators may differ in resolution and in "
        f"these attributes, where one of them is the largest in all ({allowed}); found {keys}, "
        "..."
    )


HOW = ("elastic", "separate")
"""Whether operators are cut from the largest one wherever they can be, or nowhere."""


def weights_of(space: SearchSpace, *, how: str = "elastic") -> dict[str, Weights]:
    """Return how the operators of every part of the network come by their weights.

    Args:
        space: whose architectures are to have weights.
        how: one of `HOW`.

    Returns:
        By the name of the part, as `part_name` makes it.

    Raises:
        UsageError: no such way.
    """
    if how not in HOW:
        raise UsageError(f"weights {how!r}; {choices(how, HOW)}")
    found: dict[str, Weights] = {}
    for factor, table in zip(space.factors, space.combination_ops, strict=True):
        if factor.mixed is not None:
            for i, mixed in enumerate(factor.mixed()):
                found[part_name(f"{factor.name}.{i}")] = ByNode(_layers(mixed))
            continue
        for part, ops in _part_ops(factor, table).items():
            try:
                found[part] = share(part, ops) if how == "elastic" else _separate(ops)
            except SpaceError:
                found[part] = _separate(ops)
    return found


def shared_weights(space: SearchSpace) -> dict[str, Shared]:
    """Return what the operators of every factor share, by the factor's name.

    Raises:
        SpaceError: the operators of a factor cannot be cut from one another.
    """
    return {name: share(name, ops) for name, ops in space.factor_ops().items()}


def part_name(name: str) -> str:
    """Return what the weights of a part are called: its first operator's are the factor's.

    A factor that runs one operator or several calls the first ``NAME`` or ``NAME.0``.
    """
    return name.removesuffix(".0")


def weights_fingerprint(space: SearchSpace, *, how: str = "elastic") -> str:
    """Return a hash of the slots: equal where the weights of one space can be those of another."""
    weights = weights_of(space, how=how)
    identities = [(name, one.identity) for name, one in weights.items()]
    decisive = (identities, space.norm_epsilon)
    return hashlib.sha256(repr(decisive).encode()).hexdigest()[:16]


def has_weights(op: OpSpec) -> bool:
    """Return whether a primitive operator has anything to learn."""
    return op.kind in ("conv2d", "linear", "batch_norm")


def module_name(part: str) -> str:
    """Return what the slot of a part is called in the names of tensors."""
    return part.replace(".", "/")


@lru_cache(maxsize=4096)
def graph_of(op: OpSpec, *, norm_epsilon: float = NORM_EPSILON) -> Graph:
    """Return the primitives of `op`, remembered."""
    return replace(expand(op), norm_epsilon=norm_epsilon)


def signature(op: OpSpec, *, ignored: Iterable[str] = ()) -> tuple[object, ...]:
    """Return what operators with the same weights agree in, but for what is `ignored`."""
    first, *others = (shape[0] for shape in op.in_shapes)
    channels = (None if IN_CHANNELS in ignored else first, *others)
    return (op.kind, channels, tuple(a for a in op.attrs if a[0] not in ignored))


def _part_ops(factor: Factor, table: Sequence[Sequence[OpSpec]]) -> dict[str, list[OpSpec]]:
    """Return the distinct operators of every part of a factor, by `part_name`."""
    found: dict[str, dict[OpSpec, None]] = {}
    for specs in table:
        for i, op in enumerate(specs):
            found.setdefault(part_name(f"{factor.name}.{i}"), {})[op] = None
    return {part: list(ops) for part, ops in found.items()}


def _separate(ops: Sequence[OpSpec]) -> Separate:
    distinct: dict[object, OpSpec] = {}
    for op in ops:
        distinct.setdefault(signature(op), op)
    return Separate(tuple(distinct.values()))


def _layers(mixed: MixedPart) -> dict[tuple[str, object], OpSpec]:
    """Return every layer with weights of a part of a factor whose choices are edges of cells."""
    named: list[tuple[str, OpSpec]] = []
    if isinstance(mixed, MixedCell):
        for edge in mixed.edges:
            graphs = [graph for graph in edge.options if graph is not None and graph.nodes]
            named += [(edge.layer, graph.nodes[-1].op) for graph in graphs]
    else:
        named = [(node.name, node.op) for node in graph_of(mixed).nodes]
    return {(name, signature(op)): op for name, op in named if has_weights(op)}


def _differing(variants: Sequence[OpSpec]) -> set[str]:
    """Return the elastic attributes in which `variants` differ; none if kinds differ."""
    kinds = {op.kind for op in variants}
    allowed = ELASTIC.get(kinds.pop(), frozenset()) if len(kinds) == 1 else frozenset()
    return {name for name in allowed if len({_value(op, name) for op in variants}) > 1}


def _value(op: OpSpec, name: str) -> int:
    return op.in_shape[0] if name == IN_CHANNELS else op.integer(name)
