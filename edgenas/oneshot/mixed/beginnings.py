"""What candidates of one factor begin with is computed once where they share its weights.

A narrower candidate's layer is the first channels of the widest one's (`edgenas.oneshot.elastic`).
As long as layers treat every channel by itself (depthwise convolutions, batch norms, activations),
behind a first convolution that reads all of the input, that is so for what they return, too:
nine inverted residuals of three kernels and three expansions need one expansion and three
depthwise convolutions, the widest, of which each candidate goes on with its first channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from torch import Tensor

from edgenas.core.ops import Graph, Node, OpSpec, out_shape
from edgenas.lowering.torch import channels_last, run_graph
from edgenas.oneshot.elastic import Slot
from edgenas.oneshot.sharing import graph_of

_WIDTHS = frozenset({"out_channels", "groups"})
_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One node at the beginning of some candidates, as wide as the widest of them has it.

    Attributes:
        op: that candidate.
        graph: of the node alone.
        before: number of the layer that it reads; None: the input of the factor.
    """

    op: OpSpec
    graph: Graph
    before: int | None


@dataclass(frozen=True, slots=True)
class Beginnings:
    """How several candidates begin.

    Attributes:
        layers: each behind the one that it reads.
        last: for every candidate, the number of the layer that it goes on from, None: none.
        n_nodes: for every candidate, how many of its nodes that layer and those before it are.
    """

    layers: tuple[Layer, ...]
    last: tuple[int | None, ...]
    n_nodes: tuple[int, ...]


@lru_cache(maxsize=4096)
def beginnings(specs: tuple[tuple[OpSpec, ...], ...], norm_epsilon: float) -> Beginnings:
    """Return what candidates of one elastic slot have in common at their beginning.

    Args:
        specs: of every candidate its operators; only those with one operator begin with others.
        norm_epsilon: of batch norms.
    """
    graphs = [
        graph_of(row[0], norm_epsilon=norm_epsilon) if len(row) == 1 else None for row in specs
    ]
    keys = [_keys(graph) if graph else () for graph in graphs]
    members: dict[tuple[_Key, ...], list[int]] = {}
    for i, own in enumerate(keys):
        for n in range(1, len(own) + 1):
            members.setdefault(own[:n], []).append(i)
    shared = {key: who for key, who in members.items() if len(who) > 1}
    numbers: dict[tuple[_Key, ...], int] = {}
    layers: list[Layer] = []
    for key in sorted(shared, key=len):
        step = len(key) - 1
        widest = max(shared[key], key=lambda i: _channels(graphs[i], step))
        graph = graphs[widest]
        assert graph is not None  # noqa: S101  # it has keys
        node = graph.nodes[step]
        alone = Graph(
            node.op.in_shape,
            (Node(node.name, node.op, ("input",)),),
            norm_epsilon=graph.norm_epsilon,
        )
        numbers[key] = len(layers)
        layers.append(Layer(specs[widest][0], alone, numbers.get(key[:-1])))
    n_nodes = tuple(sum(own[:n] in shared for n in range(1, len(own) + 1)) for own in keys)
    last = tuple(numbers.get(own[:n]) if n else None for own, n in zip(keys, n_nodes, strict=True))
    return Beginnings(tuple(layers), last, n_nodes)


def run_candidates(
    slot: Slot, specs: Sequence[tuple[OpSpec, ...]], values: Tensor, *, norm_epsilon: float
) -> list[Tensor | None]:
    """Return what every candidate of one operator makes of `values`; None for all others.

    Args:
        slot: has the weights of all of them.
        specs: of every candidate its operators.
        values: input of the factor, shape (n, channels, height, width); narrower candidates read
            the first channels.
        norm_epsilon: of batch norms, which use the batch's own statistics.
    """
    found = beginnings(tuple(specs), norm_epsilon)
    tensors = cache(slot.tensors)  # smaller kernels are computed: once a step is enough
    made: list[Tensor] = []
    for layer in found.layers:
        source = values if layer.before is None else made[layer.before]
        source = _first(source, layer.graph.in_shape[0])
        made.append(run_graph(layer.graph, tensors(layer.op), source, training=True))
    results: list[Tensor | None] = []
    for row, last, n_nodes in zip(specs, found.last, found.n_nodes, strict=True):
        if len(row) != 1:
            results.append(None)
            continue
        graph = graph_of(row[0], norm_epsilon=norm_epsilon)
        begun = None
        if last is not None:
            channels = out_shape(graph.nodes[n_nodes - 1].op)[0]
            begun = (n_nodes, _first(made[last], channels))
        own = values
        if any("input" in node.inputs for node in graph.nodes[n_nodes:]):
            own = _first(values, graph.in_shape[0])
        results.append(run_graph(graph, tensors(row[0]), own, training=True, begun=begun))
    return results


def _first(values: Tensor, channels: int) -> Tensor:
    return values if values.shape[1] == channels else channels_last(values[:, :channels])


def _keys(graph: Graph) -> tuple[_Key, ...]:
    """Return what tells the nodes apart that can be shared, but for their width.

    They follow one another, and nothing but the next one reads any of them.
    """
    found: list[_Key] = []
    reads = [name for node in graph.nodes for name in node.inputs]
    before = "input"
    for node in graph.nodes:
        is_first = not found
        if node.inputs != (before,) or not _is_by_channel(node.op, is_first=is_first):
            break
        if not is_first and reads.count(before) > 1:
            break
        attributes = tuple((k, v) for k, v in node.op.attrs if k not in _WIDTHS)
        size = graph.in_shape if is_first else node.op.in_shape[1:]
        found.append((node.name, node.op.kind, _is_depthwise(node.op), attributes, size))
        before = node.name
    return tuple(found)


def _is_by_channel(op: OpSpec, *, is_first: bool) -> bool:
    """Return whether the first channels of what a node returns are all that a narrower one does."""
    if op.kind == "conv2d":
        return _is_depthwise(op) or (is_first and op.integer("groups") == 1)
    return op.kind in {"activation", "batch_norm"}


def _is_depthwise(op: OpSpec) -> bool:
    return op.kind == "conv2d" and (
        op.integer("groups") == op.in_shape[0] == op.integer("out_channels")
    )


def _channels(graph: Graph | None, step: int) -> int:
    return 0 if graph is None else out_shape(graph.nodes[step].op)[0]
