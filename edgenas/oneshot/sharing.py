"""Which operators can share weights in a supernet, and what they share; known without torch.

Weights do not depend on the size of images: two spaces that differ in resolutions only have the
same weights, and so have spaces of which one lacks some narrower or shallower choices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from edgenas.core.errors import SpaceError
from edgenas.core.ops import NORM_EPSILON, Graph, OpSpec
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import expand

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
        "... A space with such factors can be profiled and costed; to train a supernet take one "
        "like mbv3_tiny"
    )


def shared_weights(space: SearchSpace) -> dict[str, Shared]:
    """Return what the operators of every factor share, by the factor's name.

    Raises:
        SpaceError: the operators of a factor cannot share weights.
    """
    return {name: share(name, ops) for name, ops in space.factor_ops().items()}


def check_shared(space: SearchSpace) -> None:
    """Refuse a space that no supernet can be made of (errors as `shared_weights`)."""
    shared_weights(space)


def weights_fingerprint(space: SearchSpace) -> str:
    """Return a hash of the slots: equal where the weights of one space can be those of another.

    Raises:
        SpaceError: the operators of a factor cannot share weights.
    """
    identities = [(name, shared.identity) for name, shared in shared_weights(space).items()]
    decisive = (identities, space.norm_epsilon)
    return hashlib.sha256(repr(decisive).encode()).hexdigest()[:16]


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


def _differing(variants: Sequence[OpSpec]) -> set[str]:
    """Return the elastic attributes in which `variants` differ; none if kinds differ."""
    kinds = {op.kind for op in variants}
    allowed = ELASTIC.get(kinds.pop(), frozenset()) if len(kinds) == 1 else frozenset()
    return {name for name in allowed if len({_value(op, name) for op in variants}) > 1}


def _value(op: OpSpec, name: str) -> int:
    return op.in_shape[0] if name == IN_CHANNELS else op.integer(name)
