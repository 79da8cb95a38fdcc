"""What both graph writers settle first: sound weights, and which activations ride along."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod

from edgenas.core.errors import ExportError
from edgenas.core.ops import PRIMITIVES, Graph, Node, OpSpec, conv2d
from edgenas.core.precision import PRECISIONS
from edgenas.lowering.weights import Weights, has_bias

_MOST_SUMMED = 4096
_WINDOWS = range(8, 33)


@dataclass(frozen=True, slots=True)
class Step:
    """A node and the activation that nothing but this activation reads its result for."""

    node: Node
    activation: Node | None = None

    @property
    def function(self) -> str:
        """Name of the activation that follows, or ``""``."""
        return "" if self.activation is None else str(self.activation.op["function"])

    @property
    def output(self) -> str:
        """Name of the value that the step leaves."""
        return self.node.name if self.activation is None else self.activation.name


def node_weights(node: Node) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the arrays that `node` needs, weight first, then bias."""
    op = node.op
    if op.kind == "conv2d":
        kernel, in_channels = op.integer("kernel"), op.in_shape[0] // op.integer("groups")
        shape: tuple[int, ...] = (op.integer("out_channels"), in_channels, kernel, kernel)
        bias = has_bias(op["bias"], op["norm"])
    elif op.kind == "linear":
        shape = (op.integer("out_features"), prod(op.in_shape))
        bias = bool(op["bias"])
    else:
        return {}
    shapes: dict[str, tuple[int, ...]] = {f"{node.name}.weight": shape}
    if bias:
        shapes[f"{node.name}.bias"] = shape[:1]
    return shapes


def deployed(graph: Graph) -> Graph:
    """Return `graph` as it is written: lone batch norms and zeros as depthwise 1x1 convolutions.

    Every engine has a fast kernel for those in every precision; a product with a constant is not
    taken by all of them.
    """
    return replace(graph, nodes=tuple(replace(n, op=deployed_op(n.op)) for n in graph.nodes))


def deployed_op(op: OpSpec) -> OpSpec:
    """Return what stands for an operator in a file (see `deployed`)."""
    if op.kind not in ("batch_norm", "zeros"):
        return op
    channels = op.in_shape[0]
    return conv2d(op.in_shape, channels, kernel=1, groups=channels, bias=True)


def check(graph: Graph, weights: Weights) -> None:
    """Check that `graph` has one input, is made of primitives, and that `weights` fit it.

    Raises:
        ExportError: it does not; the message names the node or the array.
    """
    if not graph.nodes:
        raise ExportError("the graph has no operators: there is nothing to lower")
    known = {"input"}
    for node in graph.nodes:
        if node.op.kind not in PRIMITIVES:
            raise ExportError(
                f"{node.name}: operator {node.op.key} is not primitive; allowed: "
                f"{', '.join(PRIMITIVES)}; expand it with edgenas.spaces.blocks.expand"
            )
        missing = [name for name in node.inputs if name not in known]
        if missing:
            raise ExportError(
                f"{node.name} reads {', '.join(missing)}, which nothing before it makes; "
                "only graphs with the one input 'input' are lowered"
            )
        known.add(node.name)
        for name, shape in node_weights(node).items():
            if name not in weights:
                raise ExportError(f"the weights have no array {name!r}; it must have shape {shape}")
            if weights[name].shape != shape:
                raise ExportError(f"weights {name!r} have shape {weights[name].shape}, not {shape}")


def first_window(op: OpSpec) -> int | None:
    """Return the side of the windows that a global average pool is summed in first, in float.

    Engines add up the values of a map one by one: above some thousands of them the sum is off by
    more than all rounding of a network. Means of windows, and then their mean, take no longer and
    are ten times as exact. None where the map is small, or no window fits.
    """
    _, height, width = op.in_shape
    if height * width <= _MOST_SUMMED:
        return None
    return next((k for k in _WINDOWS if height % k == width % k == 0), None)


def check_precision(precision: str) -> None:
    """Check that models are written in `precision`.

    Raises:
        ExportError: they are not.
    """
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r} asked; allowed: {', '.join(PRECISIONS)}")


def steps(graph: Graph) -> tuple[Step, ...]:
    """Return the nodes of `graph` in order, each joined with the activation that only it feeds."""
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    follower = {
        node.inputs[0]: node
        for node in graph.nodes
        if node.op.kind == "activation" and readers[node.inputs[0]] == 1
    }
    joined: list[Step] = []
    done: set[str] = set()
    for node in graph.nodes:
        if node.name in done:
            continue
        # An activation of an activation starts a step of its own.
        activation = None if node.op.kind == "activation" else follower.get(node.name)
        if activation is not None:
            done.add(activation.name)
        joined.append(Step(node, activation))
    return tuple(joined)
