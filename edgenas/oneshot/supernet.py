"""The weight-sharing supernet over a space, and the extraction of single networks from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError, StorageError
from edgenas.core.ops import OpSpec
from edgenas.lowering.torch import GraphModule, channels_last, run_graph
from edgenas.oneshot.checkpoint import write_tensors
from edgenas.oneshot.elastic import Slot
from edgenas.oneshot.sharing import (
    graph_of,
    module_name,
    shared_weights,
    weights_fingerprint,
)
from edgenas.spaces.base import SearchSpace

Parts = Sequence[tuple[str, OpSpec]]
"""What `SearchSpace.ops` returns: the named operators of one architecture."""


class Supernet(nn.Module):
    """The shared weights of all architectures of `space`: one slot a factor.

    Nothing in it depends on the size of images: it serves every space whose operators can be cut
    from its slots (`check_space`).

    Args:
        space: whose architectures it is to hold.
        seed: of the first weights.
        statistics: whether batch norms keep running means and variances, those of the widest
            network. Training leaves them alone: each architecture has its own, which
            `edgenas.oneshot.evaluate.recalibrate` measures for an extracted network. Published
            supernets have them.
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0, statistics: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weights_fingerprint = weights_fingerprint(space)
        self.statistics, self.norm_epsilon = statistics, space.norm_epsilon
        self.slots: dict[str, Slot] = {}
        for name, shared in shared_weights(space).items():
            self.slots[name] = Slot(shared, generator, statistics=statistics)
            self.add_module(module_name(name), self.slots[name])

    def forward(self, images: Tensor, parts: Parts) -> Tensor:
        """Return the logits of one architecture, batch norms using the batch's own statistics.

        `images` may have another resolution than the architecture: no weight depends on it.
        """
        return self._run(images, parts, training=True)

    def evaluate(self, images: Tensor, parts: Parts) -> Tensor:
        """Return the logits of one architecture, batch norms using the first kept statistics.

        Raises:
            SpaceError: the supernet keeps none.
        """
        if not self.statistics:
            raise SpaceError(
                "this supernet keeps no batch norm statistics; extract the network and "
                "recalibrate it, or make the supernet with statistics=True"
            )
        return self._run(images, parts, training=False)

    def _run(self, images: Tensor, parts: Parts, *, training: bool) -> Tensor:
        values = channels_last(images)
        for name, op in parts:
            tensors = self.slot(name).tensors(op, statistics=not training)
            graph = graph_of(op, norm_epsilon=self.norm_epsilon)
            values = run_graph(graph, tensors, values, training=training)
        return values

    def slot(self, name: str) -> Slot:
        """Return the slot of a part.

        Raises:
            SpaceError: no factor of the space has that name.
        """
        if name not in self.slots:
            raise SpaceError(f"the supernet has no part {name!r}; parts: {', '.join(self.slots)}")
        return self.slots[name]

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a space that this supernet has not the weights of.

        Raises:
            SpaceError: some operator cannot be cut from the slots, or batch norms differ.
        """
        try:
            if self.norm_epsilon != space.norm_epsilon:
                raise SpaceError(
                    f"its batch norms add {space.norm_epsilon} to variances, the supernet's "
                    f"{self.norm_epsilon}"
                )
            for name, shared in shared_weights(space).items():
                for op in shared.variants:
                    self.slot(name).shared.check(op)
        except SpaceError as error:
            raise SpaceError(
                f"the supernet has not the weights of {space.name}: {error}; train a supernet for "
                "this space"
            ) from error


def extract(supernet: Supernet, space: SearchSpace, row: Genes) -> GraphModule:
    """Return the network of one architecture with copies of the shared weights.

    Its batch norm statistics are the first of those that the supernet keeps; where it keeps none,
    they are those of a new network: recalibrate before evaluating.
    """
    parts = space.ops(row)
    module = GraphModule(space.network(row))
    own: dict[str, Tensor] = dict(module.named_parameters())
    if supernet.statistics:
        own |= {
            name: buffer for name, buffer in module.named_buffers() if buffer.is_floating_point()
        }
    with torch.no_grad():
        shared = {
            f"{name}.{key}": tensor
            for name, op in parts
            for key, tensor in supernet.slot(name).tensors(op, statistics=True).items()
        }
        if own.keys() != shared.keys():
            raise SpaceError(
                f"{space.name}: the network and the supernet disagree about "
                f"{', '.join(sorted(own.keys() ^ shared.keys())[:5])}"
            )
        for key, tensor in own.items():
            tensor.copy_(shared[key])
    return module


def save_supernet(supernet: Supernet, path: Path) -> None:
    """Write the shared weights as safetensors (errors as `write_tensors`)."""
    header = {
        "weights": supernet.weights_fingerprint,
        "statistics": "kept" if supernet.statistics else "none",
    }
    write_tensors(path, supernet.state_dict(), header)


def load_supernet(space: SearchSpace, path: Path) -> Supernet:
    """Return the supernet that `save_supernet` wrote, of `space` or of one with the same slots.

    Raises:
        StorageError: the file is missing, damaged or of other slots.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _cannot_load(path, error) from error
    # Files of version 0.1 name the fingerprint of the whole space.
    asked = weights_fingerprint(space) if "weights" in header else space.fingerprint
    found = header.get("weights", header.get("space"))
    if found != asked:
        raise _cannot_load(path, f"it holds the weights {found}, those of {space.name} are {asked}")
    supernet = Supernet(space, statistics=header.get("statistics") == "kept")
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
        raise _cannot_load(path, error) from error


def _cannot_load(path: Path, reason: object) -> StorageError:
    return StorageError(
        f"cannot load the weights in {path}: {reason}; delete the file to train again"
    )
