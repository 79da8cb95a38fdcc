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
from edgenas.oneshot.separate import AnySlot, NodeSlot, make_slot
from edgenas.oneshot.sharing import (
    ByNode,
    Separate,
    graph_of,
    module_name,
    part_name,
    weights_fingerprint,
    weights_of,
)
from edgenas.spaces.base import SearchSpace

Parts = Sequence[tuple[str, OpSpec]]
"""What `SearchSpace.ops` returns: the named operators of one architecture."""


class Supernet(nn.Module):
    """The shared weights of all architectures of `space`: one slot for each part of the network.

    Nothing in it depends on the size of images: it serves every space whose operators can be cut
    from its slots (`check_space`).

    Args:
        space: whose architectures it is to hold.
        seed: of the first weights.
        weights: ``elastic``: operators are cut from the largest one of their part wherever that
            can be; ``separate``: all have weights of their own, as candidates of a
            differentiable search have in the papers.
        statistics: whether batch norms keep running means and variances, those of the widest
            network. Training leaves them alone: each architecture has its own, which
            `edgenas.oneshot.evaluate.recalibrate` measures for an extracted network. Published
            supernets have them.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        weights: str = "elastic",
        statistics: bool = False,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weights, self.weights_fingerprint = weights, weights_fingerprint(space, how=weights)
        self.statistics, self.norm_epsilon = statistics, space.norm_epsilon
        self.slots: dict[str, AnySlot] = {}
        for name, one in weights_of(space, how=weights).items():
            self.slots[name] = make_slot(one, generator, statistics=statistics)
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

    def slot(self, name: str) -> AnySlot:
        """Return the slot of a part, called as in `Parts`.

        Raises:
            SpaceError: no part of the space has that name.
        """
        slot = self.slots.get(part_name(name))
        if slot is None:
            raise SpaceError(f"the supernet has no part {name!r}; parts: {', '.join(self.slots)}")
        return slot

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
            for name, one in weights_of(space, how="separate").items():
                slot = self.slot(name)
                if isinstance(one, Separate):
                    for op in one.variants:
                        slot.shared.check(op)
                elif isinstance(slot, NodeSlot) and isinstance(one, ByNode):
                    for (layer, _), op in one.layers.items():
                        slot.shared.check_layer(layer, op)
                else:
                    raise SpaceError(f"{name} is a cell there, and none here")
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
        "how": supernet.weights,
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
    how = header.get("how", "elastic")
    asked = weights_fingerprint(space, how=how) if "weights" in header else space.fingerprint
    found = header.get("weights", header.get("space"))
    if found != asked:
        raise _cannot_load(path, f"it holds the weights {found}, those of {space.name} are {asked}")
    supernet = Supernet(space, weights=how, statistics=header.get("statistics") == "kept")
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
