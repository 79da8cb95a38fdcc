"""8-bit numbers for a graph: the range of every value, and scales of activations and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import erf, prod, sqrt

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import ExportError
from edgenas.core.ops import Graph, Node
from edgenas.lowering.weights import Weights

Floats = npt.NDArray[np.float64]
Ranges = Mapping[str, tuple[float, float]]
"""The least and the greatest of every value: of ``"input"`` and of each node, by name."""

_SPREAD = 4.0  # standard deviations on each side; a normal value leaves them 6 times in 100 000
LEAST_WIDTH = 1e-3
"""Of a range: narrower ones would give scales that 8-bit kernels refuse."""
_BOUND = ("activation", "max_pool2d", "channel_shuffle")  # their ranges are not free to widen
_NEIGHBOURS = 9  # pixels that vary together before a pool, roughly: those of a 3x3 kernel
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(32)


@dataclass(frozen=True, slots=True)
class Scale:
    """An affine code: the value is ``step * (q - zero_point)``, with q from `low` to `high`."""

    step: float
    zero_point: int
    low: int
    high: int

    @classmethod
    def of(cls, span: tuple[float, float], *, signed: bool) -> Scale:
        """Return the finest code that holds `span` and 0, which has to be exact for padding."""
        least, greatest = min(span[0], 0.0), max(span[1], 0.0)
        greatest = max(greatest, least + LEAST_WIDTH)
        low, high = (-128, 127) if signed else (0, 255)
        step = float(np.float32((greatest - least) / (high - low)))
        zero_point = round(low - least / step)
        return cls(step, min(max(zero_point, low), high), low, high)

    def encode(self, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the codes of `values`, saturated."""
        codes = np.rint(np.asarray(values, np.float64) / self.step) + self.zero_point
        return np.asarray(np.clip(codes, self.low, self.high), np.int64)


def value_ranges(
    graph: Graph, weights: Weights, given: Ranges | None
) -> dict[str, tuple[float, float]]:
    """Return the ranges that were given for `graph`, checked, or estimated ones for None.

    Raises:
        ExportError: a value has no range or one that is not finite; the message names it.
    """
    ranges = estimated_ranges(graph, weights) if given is None else given
    wrong = [
        name
        for name in ("input", *(node.name for node in graph.nodes))
        if name not in ranges or not np.isfinite(ranges[name]).all() or np.diff(ranges[name]) < 0
    ]
    if wrong:
        raise ExportError(
            f"int8 needs a least and a greatest, both finite, of every value; "
            f"{wrong[0]!r} has {ranges.get(wrong[0])} ({len(wrong)} such values)"
        )
    return _shared(graph, ranges)


def _shared(graph: Graph, ranges: Ranges) -> dict[str, tuple[float, float]]:
    """Return ranges that are one and the same for all that is put together, and the whole.

    Kernels that join codes want one scale; with it, joining is copying. Values whose scale follows
    from another one, or whose range is that of an activation, keep theirs: they are translated.
    """
    kinds = {node.name: node.op.kind for node in graph.nodes}
    group = {name: {name} for name in ranges}
    for node in graph.nodes:
        if node.op.kind == "concat":
            for name in node.inputs:
                if kinds.get(name) not in _BOUND:
                    merged = group[node.name] | group[name]
                    group.update(dict.fromkeys(merged, merged))
    spans = {name: [ranges[name]] for name in ranges}
    for node in graph.nodes:
        if node.op.kind == "concat":
            spans[node.name] += [ranges[name] for name in node.inputs]
    return {
        name: ranges[name]
        if len(members) == 1 and kinds.get(name) != "concat"
        else _hull(members, spans)
        for name, members in group.items()
    }


def _hull(names: set[str], spans: Mapping[str, list[tuple[float, float]]]) -> tuple[float, float]:
    found = [span for name in names for span in spans[name]]
    return min(low for low, _ in found), max(high for _, high in found)


def weight_codes(
    weight: npt.NDArray[np.float32], *, axis: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return a weight as symmetric 8-bit codes and the step of each channel along `axis`."""
    others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    largest = np.abs(weight).max(axis=others)
    steps = (np.maximum(largest, LEAST_WIDTH / 127) / 127).astype(np.float32)
    shape = [1] * weight.ndim
    shape[axis] = -1
    codes = np.rint(weight / steps.reshape(shape))
    return np.clip(codes, -127, 127, out=codes).astype(np.int8), steps


def bias_codes(
    bias: npt.NDArray[np.float32], steps: npt.NDArray[np.float32]
) -> npt.NDArray[np.int32]:
    """Return a bias in 32 bits; `steps` are those of the input times those of the weight."""
    limit = np.iinfo(np.int32)
    codes = np.rint(bias.astype(np.float64) / steps.astype(np.float64))
    return np.clip(codes, limit.min, limit.max).astype(np.int32)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Mean and variance of each channel, shape (channels,), and the range of all of them.

    `terms` are the values that it is a sum of: how often each, and its variance, by name. A value
    that is no sum is its own only term.
    """

    mean: Floats
    variance: Floats
    span: tuple[float, float]
    terms: Mapping[str, tuple[int, Floats]] = field(default_factory=dict)

    @classmethod
    def normal(
        cls, mean: Floats, variance: Floats, terms: Mapping[str, tuple[int, Floats]] | None = None
    ) -> _Moments:
        """Return moments whose range is `_SPREAD` standard deviations around each mean."""
        reach = _SPREAD * np.sqrt(variance)
        span = float((mean - reach).min()), float((mean + reach).max())
        return cls(mean, variance, span, terms or {})


def estimated_ranges(graph: Graph, weights: Weights) -> dict[str, tuple[float, float]]:
    """Return the range of every value for inputs of mean 0 and variance 1.

    Means and variances of channels go from node to node as if values that layers and activations
    leave were independent and, before an activation, normal. That takes milliseconds and is close
    for random weights, which tables are made with. Trained weights deserve ranges seen on data.

    Raises:
        ExportError: there is no rule for a kind of operator; the message names it.
    """
    return {name: moments.span for name, moments in _moments(graph, weights).items()}


def _moments(graph: Graph, weights: Weights) -> dict[str, _Moments]:
    """Return the moments of every value (see `estimated_ranges`)."""
    channels = graph.in_shape[0]
    unit = np.ones(channels)
    values = {"input": _Moments.normal(np.zeros(channels), unit, {"input": (1, unit)})}
    for node in graph.nodes:
        if node.op.kind not in _RULES:
            raise ExportError(
                f"{node.name}: operator {node.op.key} has no int8 lowering; kinds that have one: "
                f"{', '.join(sorted(_RULES))}"
            )
        inputs = [values[name] for name in node.inputs]
        found = _RULES[node.op.kind](node, inputs, weights)
        terms = found.terms or {node.name: (1, found.variance)}
        values[node.name] = replace(found, terms=terms)
    return values


def _conv2d(node: Node, inputs: list[_Moments], weights: Weights) -> _Moments:
    """Average over the places of the kernel, which near the border sees less than in the middle."""
    weight = weights[f"{node.name}.weight"].astype(np.float64)
    kernel, groups = node.op.integer("kernel"), node.op.integer("groups")
    weight = weight.reshape(groups, -1, *weight.shape[1:])
    mean = inputs[0].mean.reshape(groups, -1)
    variance = inputs[0].variance.reshape(groups, -1)
    taps = [
        np.einsum("goikl,gi->gokl", *pair).reshape(-1, kernel, kernel)
        for pair in ((weight, mean), (weight**2, variance))
    ]
    (rows, row_shares), (columns, column_shares) = (
        _windows(size, kernel, node.op.integer("stride")) for size in node.op.in_shape[1:]
    )
    means, variances = (
        np.einsum("pk,okl,ql->opq", rows, one, columns, optimize=True) for one in taps
    )
    means = means + np.reshape(_bias(node, weights), (-1, 1, 1))
    shares = row_shares[:, None] * column_shares
    average = (means * shares).sum(axis=(1, 2))
    spread = ((variances + (means - average[:, None, None]) ** 2) * shares).sum(axis=(1, 2))
    reach = _SPREAD * np.sqrt(variances)
    return _Moments(average, spread, (float((means - reach).min()), float((means + reach).max())))


@cache
def _windows(size: int, kernel: int, stride: int) -> tuple[Floats, Floats]:
    """Return which pixels of the kernel lie on the image, by place, and each such place's share.

    Returns:
        Shapes (n_places, kernel), of 0 and 1, and (n_places,).
    """
    near = kernel // 2
    starts = np.arange(0, size + 2 * near - kernel + 1, stride)[:, None] - near
    pixels = starts + np.arange(kernel)
    places, counts = np.unique((pixels >= 0) & (pixels < size), axis=0, return_counts=True)
    return places.astype(np.float64), counts / counts.sum()


def _linear(node: Node, inputs: list[_Moments], weights: Weights) -> _Moments:
    weight = weights[f"{node.name}.weight"].astype(np.float64)
    repeats = prod(node.op.in_shape) // len(inputs[0].mean)
    mean = weight @ np.repeat(inputs[0].mean, repeats)
    variance = weight**2 @ np.repeat(inputs[0].variance, repeats)
    return _Moments.normal(mean + _bias(node, weights), variance)


def _bias(node: Node, weights: Weights) -> Floats | float:
    bias = weights.get(f"{node.name}.bias")
    return 0.0 if bias is None else bias.astype(np.float64)


def _activation(node: Node, inputs: list[_Moments], weights: Weights) -> _Moments:
    function = ACTIVATIONS[str(node.op["function"])]
    source = inputs[0]
    points = source.mean[:, None] + np.sqrt(source.variance)[:, None] * _NODES
    results = function(points)
    shares = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()
    mean = results @ shares
    variance = np.maximum(results**2 @ shares - mean**2, 0.0)
    reached = function(np.linspace(*source.span, 257))
    return _Moments(mean, variance, (float(reached.min()), float(reached.max())))


def _global_avg_pool(node: Node, inputs: list[_Moments], weights: Weights) -> _Moments:
    source = inputs[0]
    share = min(1.0, _NEIGHBOURS / prod(node.op.in_shape[1:]))
    pooled = _Moments.normal(source.mean, source.variance * share)
    low, high = np.clip(pooled.span, *source.span)
    return _Moments(pooled.mean, pooled.variance, (float(low), float(high)))


def _max_pool2d(node: Node, inputs: list[_Moments], weights: Weights) -> _Moments:
    source = inputs[0]
    low, high = source.span
    mean, variance = _greatest(node.op.integer("kernel") ** 2)
    means = np.clip(source.mean + mean * np.sqrt(source.variance), low, high)
    return _Moments(means, source.variance * variance, source.span)


@cache
def _greatest(n: int) -> tuple[float, float]:
    """Return mean and variance of the greatest of `n` independent standard normal values."""
    x = np.linspace(-8, 8, 4001)
    below = np.array([(1 + erf(one / sqrt(2))) / 2 for one in x]) ** n
    middle, share = (x[1:] + x[:-1]) / 2, np.diff(below)
    mean = float(middle @ share)
    return mean, float(middle**2 @ share) - mean**2


def _avg_pool2d(node: Node, inputs: list[_Moments], weights: Weights) -> _Moments:
    return inputs[0]  # the pixels of a small window vary together


def _multiply(node: Node, inputs: list[_Moments], weights: Weights) -> _Moments:
    one, other = inputs
    mean = one.mean * other.mean
    variance = (one.variance + one.mean**2) * (other.variance + other.mean**2) - mean**2
    corners = [a * b for a in one.span for b in other.span]
    return _Moments(mean, variance, (min(corners), max(corners)))


def _add(node: Node, inputs: list[_Moments], weights: Weights) -> _Moments:
    """Add means and variances; a value that is added to itself counts by its square."""
    one, other = inputs
    terms = {**one.terms}
    for name, (times, variance) in other.terms.items():
        terms[name] = (times + terms.get(name, (0, variance))[0], variance)
    variances = np.sum([times**2 * variance for times, variance in terms.values()], axis=0)
    return _Moments.normal(one.mean + other.mean, variances, terms)


def _concat(node: Node, inputs: list[_Moments], weights: Weights) -> _Moments:
    lows, highs = zip(*(one.span for one in inputs), strict=True)
    mean = np.concatenate([one.mean for one in inputs])
    return _Moments(mean, np.concatenate([one.variance for one in inputs]), (min(lows), max(highs)))


def _channel_shuffle(node: Node, inputs: list[_Moments], weights: Weights) -> _Moments:
    groups = node.op.integer("groups")
    order = np.arange(len(inputs[0].mean)).reshape(groups, -1).T.ravel()
    mean, variance = inputs[0].mean[order], inputs[0].variance[order]
    return _Moments(mean, variance, inputs[0].span)


_RULES: dict[str, Callable[[Node, list[_Moments], Weights], _Moments]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "activation": _activation,
    "global_avg_pool": _global_avg_pool,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "multiply": _multiply,
    "add": _add,
    "concat": _concat,
    "channel_shuffle": _channel_shuffle,
}


def _h_sigmoid(x: Floats) -> Floats:
    return np.clip(x + 3, 0, 6) / 6


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "h_swish": lambda x: x * _h_sigmoid(x),
    "h_sigmoid": _h_sigmoid,
    "swish": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
}
