"""Slots: the shared weights of one factor, from which every operator of it is cut.

Kernels are centre crops, each led through a learned linear map that starts as the identity (Cai et
al. 2020, arXiv:1908.09791, section 3.3); narrower operators are the first channels of the widest.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgenas.core.ops import OpSpec
from edgenas.lowering.torch import attach_parameters
from edgenas.oneshot.sharing import STATISTICS, TRANSFORM_PREFIX, Shared, graph_of


class _Cut(NamedTuple):
    """How much of a layer an operator takes: its first outputs, its first inputs, its kernel.

    A batch norm that follows no convolution has no inputs: it is all norm.
    """

    name: str
    n_out: int
    n_in: int
    kernel: int


@lru_cache(maxsize=4096)
def _cuts(op: OpSpec) -> tuple[_Cut, ...]:
    cuts: list[_Cut] = []
    for node in graph_of(op).nodes:
        layer = node.op
        if layer.kind == "conv2d":
            n_in = layer.in_shape[0] // layer.integer("groups")
            kernel = layer.integer("kernel")
            cuts.append(_Cut(node.name, layer.integer("out_channels"), n_in, kernel))
        elif layer.kind == "linear":
            n_out = layer.integer("out_features")
            cuts.append(_Cut(node.name, n_out, prod(layer.in_shape), 0))
        elif layer.kind == "batch_norm":  # one that follows no convolution
            cuts.append(_Cut(node.name, layer.in_shape[0], 0, 0))
    return tuple(cuts)


class Slot(nn.Module):
    """Weights of the largest operator of a factor; all others are cut from them.

    Args:
        shared: what the operators of the factor share.
        generator: of the first weights.
        statistics: whether batch norms keep running means and variances, of the largest operator.
    """

    def __init__(
        self, shared: Shared, generator: torch.Generator, *, statistics: bool = False
    ) -> None:
        super().__init__()
        self.shared = shared
        self._checked: set[OpSpec] = set()
        attach_parameters(self, graph_of(shared.largest), generator, statistics=statistics)
        for kernel in shared.kernels[1:]:
            self.register_parameter(
                f"{TRANSFORM_PREFIX}{kernel}", nn.Parameter(torch.eye(kernel * kernel))
            )

    def tensors(self, op: OpSpec, *, statistics: bool = False) -> dict[str, Tensor]:
        """Return the parameters of `op`, named as `GraphModule` names them; gradients flow back.

        They are views of the slot's, but for kernels that are led through a map.

        Args:
            op: an operator of the factor.
            statistics: return those of the batch norms too, where the slot keeps them.

        Raises:
            SpaceError: `op` cannot be cut from this slot.
        """
        if op not in self._checked:
            self.shared.check(op)
            self._checked.add(op)
        found: dict[str, Tensor] = {}
        for name, n_out, n_in, kernel in _cuts(op):
            layer = self.get_submodule(name)
            if n_in:
                found[f"{name}.weight"] = self._weight(layer, n_out, n_in, kernel)
                if layer.bias is not None:
                    found[f"{name}.bias"] = _first(layer.get_parameter("bias"), n_out)
            if "norm" in layer._modules:
                norm = layer.get_submodule("norm")
                for key in ("weight", "bias"):
                    found[f"{name}.norm.{key}"] = _first(norm.get_parameter(key), n_out)
                if statistics and norm.running_mean is not None:
                    for key in STATISTICS:
                        found[f"{name}.norm.{key}"] = _first(norm.get_buffer(key), n_out)
        return found

    def _weight(self, layer: nn.Module, n_out: int, n_in: int, kernel: int) -> Tensor:
        weight: Tensor = layer.get_parameter("weight")
        if weight.shape[:2] != (n_out, n_in):
            weight = weight[:n_out, :n_in]
        if kernel and weight.shape[-1] != kernel:
            weight = self._smaller_kernel(weight, kernel)
        return weight

    def _smaller_kernel(self, weight: Tensor, kernel: int) -> Tensor:
        """Crop and map, from each of the sizes to the next smaller one."""
        n_out, n_in = weight.shape[:2]
        for smaller in self.shared.kernels[1:]:
            margin = (weight.shape[-1] - smaller) // 2
            cropped = weight[..., margin : margin + smaller, margin : margin + smaller]
            flat = cropped.reshape(n_out, n_in, smaller * smaller)
            mapped = flat @ self.get_parameter(f"{TRANSFORM_PREFIX}{smaller}").T
            weight = mapped.reshape(n_out, n_in, smaller, smaller)
            if smaller == kernel:
                break
        return weight


def _first(tensor: Tensor, n: int) -> Tensor:
    return tensor if len(tensor) == n else tensor[:n]
