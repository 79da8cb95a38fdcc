"""The weight-sharing supernet over a space, and the extraction of single networks from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError, StorageError
from edgenas.core.ops import OpSpec
from edgenas.lowering.torch import GraphModule, channels_last, run_graph
from edgenas.oneshot.checkpoint import write_tensors
from edgenas.oneshot.elastic import Slot, graph_of, make_slot
from edgenas.spaces.base import SearchSpace

Parts = Sequence[tuple[str, OpSpec]]
"""What `SearchSpace.ops` returns: the named operators of one architecture."""


class Supernet(nn.Module):
    """The shared weights of all architectures of `space`: one slot a factor.

    It keeps no batch norm statistics: each architecture has its own, which
    `edgenas.oneshot.evaluate.recalibrate` measures for an extracted network.
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.space_fingerprint = space.fingerprint
        self.slots: dict[str, Slot] = {}
        for name, ops in space.factor_ops().items():
            self.slots[name] = make_slot(name, ops, generator)
            self.add_module(name.replace(".", "/"), self.slots[name])

    def forward(self, images: Tensor, parts: Parts) -> Tensor:
        """Return the logits of one architecture, batch norms using the batch's own statistics.

        `images` may have another resolution than the architecture: no weight depends on it.
        """
        values = channels_last(images)
        for name, op in parts:
            values = run_graph(graph_of(op), self.slot(name).tensors(op), values, training=True)
        return values

    def slot(self, name: str) -> Slot:
        """Return the slot of a part.

        Raises:
            SpaceError: no factor of the space has that name.
        """
        if name not in self.slots:
            raise SpaceError(f"the supernet has no part {name!r}; parts: {', '.join(self.slots)}")
        return self.slots[name]


def extract(supernet: Supernet, space: SearchSpace, row: Genes) -> GraphModule:
    """Return the network of one architecture with copies of the shared weights.

    Its batch norm statistics are those of a new network: recalibrate before evaluating.
    """
    parts = space.ops(row)
    module = GraphModule(space.network(row))
    with torch.no_grad():
        shared = {
            f"{name}.{key}": tensor
            for name, op in parts
            for key, tensor in supernet.slot(name).tensors(op).items()
        }
        own = dict(module.named_parameters())
        if own.keys() != shared.keys():
            raise SpaceError(
                f"{space.name}: the network and the supernet disagree about "
                f"{', '.join(sorted(own.keys() ^ shared.keys())[:5])}"
            )
        for key, parameter in own.items():
            parameter.copy_(shared[key])
    return module


def save_supernet(supernet: Supernet, path: Path) -> None:
    """Write the shared weights as safetensors (errors as `write_tensors`)."""
    write_tensors(path, supernet.state_dict(), {"space": supernet.space_fingerprint})


def load_supernet(space: SearchSpace, path: Path) -> Supernet:
    """Return the supernet that `save_supernet` wrote.

    Raises:
        StorageError: the file is missing, damaged or of another space.
    """
    supernet = Supernet(space)
    load_into(supernet, path)
    return supernet


def load_into(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into `module`, every tensor and no other.

    Raises:
        StorageError: the file is missing, damaged or of another network.
    """
    try:
        module.load_state_dict(load_file(path))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise StorageError(
            f"cannot load the weights in {path}: {error}; delete the file to train again"
        ) from error
