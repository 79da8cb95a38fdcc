"""Names of the tensors in checkpoints of the public once-for-all code, in all its spellings.

Cai et al. 2020 (Once-for-All), arXiv:1908.09791: the public code's supernets over MobileNetV3,
ProxylessNAS and ResNet50. Known without torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from edgenas.core.errors import UsageError
from edgenas.core.ops import OpSpec, Shape
from edgenas.oneshot.sharing import (
    STATISTICS,
    TRANSFORM_PREFIX,
    Shared,
    graph_of,
    module_name,
    shared_weights,
)
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.ofa_mbv3 import PRESETS as MOBILENETS
from edgenas.spaces.ofa_mbv3 import OfaMbv3Space
from edgenas.spaces.ofa_resnet50 import PRESETS as RESNETS
from edgenas.spaces.ofa_resnet50 import OfaResnet50Space

PRESETS = (*MOBILENETS, *RESNETS)
"""Spaces whose supernets the public code has names for."""

COUNTER = "num_batches_tracked"
"""What torch counts in a batch norm; decides nothing, and may be missing."""

_LAYERS = {
    "conv_block": {"conv": ""},
    "mbconv": {
        "expand": "inverted_bottleneck",
        "depthwise": "depth_conv",
        "se_reduce": "depth_conv.se.fc.reduce",
        "se_expand": "depth_conv.se.fc.expand",
        "project": "point_linear",
    },
    "mbv3_head": {
        "final_expand": "final_expand_layer",
        "feature_mix": "feature_mix_layer",
        "classifier": "classifier",
    },
    "conv_head": {"conv": "feature_mix_layer", "classifier": "classifier"},
    "resnet_stem": {"conv1": "input_stem.0", "conv2": "input_stem.1.conv", "conv3": "input_stem.2"},
    "bottleneck": {name: name for name in ("conv1", "conv2", "conv3", "downsample")},
    "pool_head": {"classifier": "classifier"},
}
"""By kind of block: our names of its layers to those of the public code."""


@dataclass(frozen=True, slots=True)
class PublicTensor:
    """A tensor of a supernet: what edgenas calls it, what the public code calls it, its shape."""

    ours: str
    public: str
    shape: Shape

    @property
    def optional(self) -> bool:
        """Whether a checkpoint may lack it."""
        return self.public.endswith(COUNTER)


def public_tensors(space: SearchSpace) -> list[PublicTensor]:
    """Return all tensors of the supernet of `space`, statistics included.

    Raises:
        UsageError: the public code has no such supernet.
    """
    if not isinstance(space, OfaMbv3Space | OfaResnet50Space):
        raise UsageError(
            f"the public once-for-all code has no supernet of {space.name}; allowed: "
            f"{', '.join(PRESETS)}, also with changed settings"
        )
    resnet = isinstance(space, OfaResnet50Space)
    found: list[PublicTensor] = []
    n_blocks = 0 if resnet else 1
    for part, shared in shared_weights(space).items():
        prefix = {"stem": "" if resnet else "first_conv.", "first": "blocks.0.conv."}.get(part, "")
        if part.startswith("stage"):
            prefix = f"blocks.{n_blocks}." if resnet else f"blocks.{n_blocks}.conv."
            n_blocks += 1
        nested = resnet or part.startswith("stage")
        found += [
            PublicTensor(f"{module_name(part)}.{ours}", prefix + public, shape)
            for ours, public, shape in _block(shared, nested=nested)
        ]
    return found


def spellings(public: str) -> tuple[str, ...]:
    """Return what `public`, a name as `PublicTensor` has it, may be called in a checkpoint.

    Layers stand alone in some versions of the public code and nested in one of the same name in
    others (``.bn.`` and ``.bn.bn.``), and blocks had another name (``.mobile_inverted_conv.``).
    """
    short = re.sub(r"\.conv\.conv\.weight$", ".conv.weight", public)
    short = short.replace(".bn.bn.", ".bn.").replace(".linear.linear.", ".linear.")
    nested = re.sub(r"\.conv\.weight$", ".conv.conv.weight", short)
    nested = nested.replace(".bn.", ".bn.bn.").replace(".linear.", ".linear.linear.")
    blocks = [
        re.sub(r"^(blocks\.\d+)\.conv\.", r"\1.mobile_inverted_conv.", name)
        for name in (public, short, nested)
    ]
    return tuple(dict.fromkeys((public, short, nested, *blocks)))


def _block(shared: Shared, *, nested: bool) -> Iterator[tuple[str, str, Shape]]:
    """Yield our name, the public one and the shape of all tensors of one block."""
    layers = _LAYERS[shared.largest.kind]
    for node in graph_of(shared.largest).nodes:
        if node.name not in layers:
            continue
        for name, public, shape in _layer(node.op, layers[node.name], nested=nested):
            yield f"{node.name}.{name}", public, shape
    for larger, smaller in zip(shared.kernels, shared.kernels[1:], strict=False):
        shape = (smaller * smaller, smaller * smaller)
        name = f"{layers['depthwise']}.conv.{larger}to{smaller}_matrix"
        yield f"{TRANSFORM_PREFIX}{smaller}", name, shape


def _layer(op: OpSpec, layer: str, *, nested: bool) -> Iterator[tuple[str, str, Shape]]:
    if op.kind == "linear":
        shape: Shape = (op.integer("out_features"), prod(op.in_shape))
        inner = ["linear"] * (1 + nested)
    else:
        kernel = op.integer("kernel")
        shape = (op.integer("out_channels"), op.in_shape[0] // op.integer("groups"), kernel, kernel)
        # Layers of squeeze and excitation are plain convolutions.
        inner = [] if ".se." in layer else ["conv"] * (1 + nested)
    yield "weight", _joined(layer, *inner, "weight"), shape
    if op["bias"]:
        yield "bias", _joined(layer, *inner, "bias"), shape[:1]
    if op.kind == "conv2d" and op["norm"]:
        norm = ["bn"] * (1 + nested)
        for name in ("weight", "bias", *STATISTICS):
            yield f"norm.{name}", _joined(layer, *norm, name), shape[:1]
        yield f"norm.{COUNTER}", _joined(layer, *norm, COUNTER), ()


def _joined(*names: str) -> str:
    return ".".join(name for name in names if name)
