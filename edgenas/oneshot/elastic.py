"""Slots: the shared weights of one factor, from which every operator of it is cut.

Kernels are centre crops, each led through a learned linear map that starts as the identity (Cai et
al. 2020, arXiv:1908.09791, section 3.3); narrower blocks are the first channels of the widest one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from edgenas.core.errors import SpaceError
from edgenas.core.ops import Graph, OpSpec
from edgenas.lowering.torch import attach_parameters
from edgenas.spaces.blocks import expand

TRANSFORM_PREFIX = "kernel_transform_"
"""Parameters that map a kernel to the next smaller one are called this and its size."""


@lru_cache(maxsize=4096)
def graph_of(op: OpSpec) -> Graph:
    """Return the primitives of `op`, remembered."""
    return expand(op)


class Slot(nn.Module):
    """Weights of one operator that is the same, up to resolution, in all architectures."""

    def __init__(self, op: OpSpec, generator: torch.Generator) -> None:
        super().__init__()
        self.op = op
        attach_parameters(self, graph_of(op), generator, statistics=False)

    def tensors(self, op: OpSpec) -> dict[str, Tensor]:
        """Return the parameters of `op`, named as `GraphModule` names them; gradients flow back.

        Raises:
            SpaceError: `op` cannot be cut from this slot.
        """
        if _signature(op) != _signature(self.op):
            raise SpaceError(f"{op.key} cannot be cut from the weights of {self.op.key}")
        return dict(self.named_parameters())


class MbconvSlot(Slot):
    """Weights of an inverted residual block that is elastic in kernel and middle channels."""

    def __init__(self, op: OpSpec, kernels: Sequence[int], generator: torch.Generator) -> None:
        super().__init__(op, generator)
        self.kernels = sorted(kernels, reverse=True)
        for kernel in self.kernels[1:]:
            self.register_parameter(
                f"{TRANSFORM_PREFIX}{kernel}", nn.Parameter(torch.eye(kernel * kernel))
            )

    def tensors(self, op: OpSpec) -> dict[str, Tensor]:
        """Return the parameters of `op` (see `Slot.tensors`)."""
        mid, kernel = op.integer("mid_channels"), op.integer("kernel")
        if (
            _signature(op, elastic=True) != _signature(self.op, elastic=True)
            or mid > self.op.integer("mid_channels")
            or kernel not in self.kernels
        ):
            raise SpaceError(f"{op.key} cannot be cut from the weights of {self.op.key}")
        own = dict(self.named_parameters())
        cut: dict[str, Tensor] = {}
        for node in graph_of(op).nodes:
            if node.op.kind != "conv2d":
                continue
            n_out, n_in = node.op.integer("out_channels"), node.op.in_shape[0]
            weight = own[f"{node.name}.weight"]
            if node.name == "depthwise":
                cut["depthwise.weight"] = self._kernel(weight[:n_out], kernel, own)
            else:
                cut[f"{node.name}.weight"] = weight[:n_out, :n_in]
            for name in (f"{node.name}.bias", f"{node.name}.norm.weight", f"{node.name}.norm.bias"):
                if name in own:
                    cut[name] = own[name][:n_out]
        return cut

    def _kernel(self, weight: Tensor, kernel: int, own: Mapping[str, Tensor]) -> Tensor:
        for smaller in self.kernels[1:]:
            if weight.shape[-1] == kernel:
                break
            margin = (weight.shape[-1] - smaller) // 2
            cropped = weight[..., margin : margin + smaller, margin : margin + smaller]
            flat = cropped.reshape(len(weight), smaller * smaller)
            mapped = flat @ own[f"{TRANSFORM_PREFIX}{smaller}"].T
            weight = mapped.reshape(len(weight), 1, smaller, smaller)
        return weight


def make_slot(name: str, ops: Sequence[OpSpec], generator: torch.Generator) -> Slot:
    """Return the slot from which each of `ops`, the operators of factor `name`, can be cut.

    Raises:
        SpaceError: they differ in more than resolution, and an inverted residual block's kernel
            and middle channels.
    """
    if len({_signature(op) for op in ops}) == 1:
        return Slot(ops[0], generator)
    if len({_signature(op, elastic=True) for op in ops}) == 1:
        largest = max(ops, key=lambda op: (op.integer("mid_channels"), op.integer("kernel")))
        kernels = {op.integer("kernel") for op in ops}
        same = all(k % 2 for k in kernels) and largest.integer("kernel") == max(kernels)
        if same:
            return MbconvSlot(largest, sorted(kernels), generator)
    keys = ", ".join(op.key for op in ops[:3])
    raise SpaceError(
        f"factor {name} has no shared weights: its operators may differ in resolution and, for "
        f"mbconv, in odd kernels and middle channels; found {keys}, ..."
    )


def _signature(op: OpSpec, *, elastic: bool = False) -> tuple[object, ...]:
    """Return what operators with the same weights agree in; `elastic` ignores what can be cut."""
    channels = tuple(shape[0] for shape in op.in_shapes)
    ignored = ("mid_channels", "kernel") if elastic and op.kind == "mbconv" else ()
    return (op.kind, channels, tuple(a for a in op.attrs if a[0] not in ignored))
