"""The operator description as a trainable torch module, and its weights with batch norms folded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgenas.core.errors import SpaceError, choices
from edgenas.core.ops import POOLS, Graph, OpSpec, Shape
from edgenas.lowering.plan import deployed_op
from edgenas.lowering.torch_depthwise import depthwise_conv2d
from edgenas.lowering.weights import Weights, zero_weights

NORM_MOMENTUM = 0.1

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "h_swish": functional.hardswish,
    "h_sigmoid": functional.hardsigmoid,
    "swish": functional.silu,
    "sigmoid": torch.sigmoid,
}


class GraphModule(nn.Module):
    """A graph that can be trained; parameters are named after the nodes.

    The convolution ``stage2.block1.depthwise`` has ``.weight``, ``.bias`` if it has one, and its
    batch norm under ``.norm``. Images go in as (n, channels, height, width) in any memory format
    and of any size that the strides allow; everything runs channels last.
    """

    def __init__(self, graph: Graph, *, seed: int = 0) -> None:
        super().__init__()
        self.graph = graph
        attach_parameters(self, graph, torch.Generator().manual_seed(seed), statistics=True)

    def forward(self, images: Tensor) -> Tensor:
        """Return the output of the graph's last node."""
        return run_graph(self.graph, self.tensors(), channels_last(images), training=self.training)

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and statistics by name."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def norms(self) -> list[nn.BatchNorm2d]:
        """Return all batch norms in network order."""
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]


class _Layer(nn.Module):
    """Parameters of one convolution or linear layer; `run_graph` knows what to do with them."""

    def __init__(self, shape: Shape, generator: torch.Generator, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        fan_out = shape[0] * prod(shape[2:])
        # He et al. 2015, arXiv:1502.01852, equation 14; classifiers start near zero.
        scale = sqrt(2 / fan_out) if len(shape) == 4 else 0.01
        nn.init.normal_(self.weight, 0.0, scale, generator=generator)


def attach_parameters(
    root: nn.Module, graph: Graph, generator: torch.Generator, *, statistics: bool
) -> None:
    """Give `root` the parameters of `graph`, nested by the dots in the node names.

    `statistics` says whether batch norms keep running means and variances. Blocks whose sum goes
    through an activation start as their shortcut alone (He et al. 2019, arXiv:1812.01187, section
    3.1): a network of many of them would not learn at the usual rates. What is put behind its own
    input (dense layers) starts at the scale of that: nothing normalises it before it is read.
    """
    silent, joined = _ends_of_branches(graph), _joined(graph)
    for node in graph.nodes:
        op = node.op
        layer: nn.Module
        if op.kind == "conv2d":
            kernel, groups = op.integer("kernel"), op.integer("groups")
            shape: Shape = (op.integer("out_channels"), op.in_shape[0] // groups, kernel, kernel)
            layer = conv = _Layer(shape, generator, bias=bool(op["bias"]))
            if groups > 1:  # each output sees one group only
                conv.weight.data.mul_(sqrt(groups))
            if node.name in joined:
                conv.weight.data.mul_(joined[node.name])
            if op["norm"]:
                norm = _norm(graph, shape[0], statistics=statistics)
                if node.name in silent:
                    nn.init.zeros_(norm.weight)
                layer.add_module("norm", norm)
        elif op.kind == "linear":
            shape = (op.integer("out_features"), prod(op.in_shape))
            layer = _Layer(shape, generator, bias=bool(op["bias"]))
        elif op.kind == "batch_norm":
            layer = nn.Module()
            layer.add_module("norm", _norm(graph, op.in_shape[0], statistics=statistics))
        else:
            continue
        _nest(root, node.name, layer)


def _norm(graph: Graph, channels: int, *, statistics: bool) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(
        channels, graph.norm_epsilon, NORM_MOMENTUM, track_running_stats=statistics
    )


def _ends_of_branches(graph: Graph) -> set[str]:
    """Return the nodes to which shortcuts are added before an activation."""
    activated = {node.inputs[0] for node in graph.nodes if node.op.kind == "activation"}
    # Other sums than shortcuts (of a cell's edges) are of branches that are all to learn.
    names = {name for name in activated if name.rpartition(".")[2] == "shortcut"}
    sums = [node for node in graph.nodes if node.op.kind == "add" and node.name in names]
    return {node.inputs[0] for node in sums}


def _joined(graph: Graph) -> dict[str, float]:
    """Return the convolutions that a concatenation reads, and what leaves them unit variance.

    The factor turns weights that keep the variance of gradients behind a ReLU into those that keep
    that of values (He et al. 2015, arXiv:1502.01852, section 2.2), behind one or not.
    """
    nodes = {node.name: node for node in graph.nodes}
    read = {name for node in graph.nodes if node.op.kind == "concat" for name in node.inputs}
    found = {}
    for node in graph.nodes:
        if node.name in read and node.op.kind == "conv2d" and not node.op["norm"]:
            source = nodes.get(node.inputs[0])
            while source is not None and source.op.kind == "channel_shuffle":
                source = nodes.get(source.inputs[0])
            gain = 1.0 if source is not None and source.op.kind == "activation" else 0.5
            found[node.name] = sqrt(gain * node.op.integer("out_channels") / node.op.in_shape[0])
    return found


def _nest(root: nn.Module, name: str, layer: nn.Module) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(last, layer)


def run_graph(  # noqa: PLR0913
    graph: Graph,
    tensors: Mapping[str, Tensor],
    images: Tensor,
    *,
    training: bool,
    begun: tuple[int, Tensor] | None = None,
    rounded: Callable[[str, Tensor], Tensor] | None = None,
) -> Tensor:
    """Return the output of `graph` on `images` (channels last) with the parameters `tensors`.

    Names are those of `GraphModule`. Batch norms use the batch's own statistics when `training`,
    and update the running ones where `tensors` has them. With `begun` so many nodes have run
    already, and the last of them returned the value that is given, all that others need of them.
    `rounded` takes every value by its node's name and returns what is read in its place.
    """
    last_use = {name: step for step, node in enumerate(graph.nodes) for name in node.inputs}
    values = {"input": images if rounded is None else rounded("input", images)}
    n_begun = 0
    if begun is not None:
        n_begun, values[graph.nodes[begun[0] - 1].name] = begun
    for step, node in enumerate(graph.nodes):
        if step < n_begun:
            continue
        inputs = [values[name] for name in node.inputs]
        for name in node.inputs:
            if last_use[name] == step:
                values.pop(name, None)
        result = _run_node(node.op, inputs, tensors, node.name)
        if has_norm(node.op):
            norm = f"{node.name}.norm"
            result = _batch_norm(result, tensors, norm, graph.norm_epsilon, training=training)
        values[node.name] = result if rounded is None else rounded(node.name, result)
    return values[graph.nodes[-1].name] if graph.nodes else images


def has_norm(op: OpSpec) -> bool:
    """Return whether a node carries a batch norm, its own or that of its convolution."""
    return op.kind == "batch_norm" or (op.kind == "conv2d" and bool(op["norm"]))


def _run_node(op: OpSpec, inputs: list[Tensor], tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if op.kind == "conv2d":
        return _conv2d(op, inputs[0], tensors, name)
    if op.kind == "linear":
        flat = inputs[0].flatten(1)
        return functional.linear(flat, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))
    if op.kind == "activation":
        return ACTIVATIONS[str(op["function"])](inputs[0])
    if op.kind == "global_avg_pool":
        return inputs[0].mean((2, 3), keepdim=True)
    if op.kind in POOLS:
        return _pool2d(op, inputs[0])
    if op.kind in _ELEMENTWISE:
        return _ELEMENTWISE[op.kind](*inputs)
    if op.kind == "concat":
        return torch.cat(inputs, 1)
    if op.kind == "channel_shuffle":
        return functional.channel_shuffle(inputs[0], op.integer("groups"))
    raise SpaceError(f"{name}: torch has no lowering of {op.key}; {choices(op.kind, _KINDS)}")


_ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    "multiply": torch.mul,
    "add": torch.add,
    "batch_norm": lambda values: values,  # `run_graph` normalises after it
    "zeros": torch.zeros_like,
}
_KINDS = (
    "conv2d",
    "linear",
    "activation",
    "global_avg_pool",
    *POOLS,
    *_ELEMENTWISE,
    "concat",
    "channel_shuffle",
)


def _pool2d(op: OpSpec, images: Tensor) -> Tensor:
    kernel, stride, padding = (op.integer(name) for name in ("kernel", "stride", "padding"))
    ceil = bool(op["ceil"])
    if op.kind == "max_pool2d":
        return functional.max_pool2d(images, kernel, stride, padding, ceil_mode=ceil)
    return functional.avg_pool2d(images, kernel, stride, padding, ceil, count_include_pad=False)


def _conv2d(op: OpSpec, images: Tensor, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    weight, bias = tensors[f"{name}.weight"], tensors.get(f"{name}.bias")
    groups, stride = op.integer("groups"), op.integer("stride")
    if groups > 1 and groups == weight.shape[0] == images.shape[1] and bias is None:
        return depthwise_conv2d(images, weight, stride=stride)
    padding = op.integer("kernel") // 2
    return functional.conv2d(images, weight, bias, stride, padding, 1, groups)


def _batch_norm(
    images: Tensor, tensors: Mapping[str, Tensor], name: str, epsilon: float, *, training: bool
) -> Tensor:
    mean = tensors.get(f"{name}.running_mean")
    return functional.batch_norm(
        images,
        mean,
        tensors.get(f"{name}.running_var"),
        tensors[f"{name}.weight"],
        tensors[f"{name}.bias"],
        training or mean is None,
        NORM_MOMENTUM,
        epsilon,
    )


def channels_last(images: Tensor) -> Tensor:
    """Return `images` with channels-last strides, also where one channel makes them ambiguous."""
    _n, channels, height, width = images.shape
    strides = (channels * height * width, 1, channels * width, channels)
    if images.stride() == strides:
        return images
    result = torch.empty_strided(images.shape, strides, dtype=images.dtype, device=images.device)
    return result.copy_(images)


def folded_weights(module: GraphModule) -> Weights:
    """Return the weights with every batch norm folded into its convolution.

    Folding is done in float64 and rounded once, so that it adds no error of its own.
    """
    tensors = {
        name: value.detach().cpu().double().numpy() for name, value in module.tensors().items()
    }
    weights: Weights = {}
    for node in module.graph.nodes:
        name = node.name
        if node.op.kind == "zeros":
            weights |= zero_weights(node)
            continue
        if node.op.kind == "batch_norm":
            weight, bias = np.ones((node.op.in_shape[0], 1, 1, 1)), None
        elif f"{name}.weight" in tensors:
            weight, bias = tensors[f"{name}.weight"], tensors.get(f"{name}.bias")
        else:
            continue
        if f"{name}.norm.weight" in tensors:
            scale = tensors[f"{name}.norm.weight"] / np.sqrt(
                tensors[f"{name}.norm.running_var"] + module.graph.norm_epsilon
            )
            weight = weight * scale.reshape(-1, 1, 1, 1)
            shift = (0.0 if bias is None else bias) - tensors[f"{name}.norm.running_mean"]
            bias = tensors[f"{name}.norm.bias"] + shift * scale
        weights[f"{name}.weight"] = weight.astype(np.float32)
        if bias is not None:
            weights[f"{name}.bias"] = bias.astype(np.float32)
    return weights


def folded(module: GraphModule) -> GraphModule:
    """Return the same function without batch norms, in evaluation mode; it runs faster."""
    return from_folded(module.graph, folded_weights(module))


def from_folded(graph: Graph, weights: Weights) -> GraphModule:
    """Return the module, in evaluation mode, of a graph whose norms are folded into `weights`.

    It has no batch norms; the weights are copied. What exporters are asked to write is such a pair.
    """
    nodes = tuple(replace(node, op=_without_norm(node.op)) for node in graph.nodes)
    result = GraphModule(Graph(graph.in_shape, nodes))
    arrays = {name: np.array(weights[name], np.float32) for name in result.state_dict()}
    result.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return result.eval()


def _without_norm(op: OpSpec) -> OpSpec:
    op = deployed_op(op)
    if op.kind != "conv2d" or not op["norm"]:
        return op
    return OpSpec.make(op.kind, op.in_shape, **{**dict(op.attrs), "norm": 0, "bias": 1})
