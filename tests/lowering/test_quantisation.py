"""Codes of 8 bits and estimated ranges, against arithmetic done plainly."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.core import ops
from edgenas.core.errors import ExportError
from edgenas.core.ops import Graph, Node, OpSpec
from edgenas.lowering import quantisation
from edgenas.lowering.quantisation import (
    Scale,
    bias_codes,
    estimated_ranges,
    value_ranges,
    weight_codes,
)
from edgenas.lowering.weights import random_weights
from edgenas.spaces.blocks import expand, mbconv
from edgenas.testing.reference import ACTIVATIONS, evaluate

ends = st.floats(-1e4, 1e4, width=32)


def block(**changes: Any) -> Graph:
    settings: dict[str, Any] = {
        "mid_channels": 48,
        "kernel": 5,
        "stride": 1,
        "activation": "h_swish",
        "squeeze_excite": True,
    }
    return expand(mbconv((16, 14, 14), 16, **{**settings, **changes}))


@given(ends, ends, st.booleans())
def test_a_scale_holds_its_span_and_zero(one: float, other: float, signed: bool) -> None:
    low, high = min(one, other), max(one, other)
    scale = Scale.of((low, high), signed=signed)
    assert scale.encode(0.0) == scale.zero_point  # exact, for padding
    values = np.array([low, high, (low + high) / 2])
    decoded = scale.step * (scale.encode(values) - scale.zero_point)
    assert np.abs(decoded - values).max() <= scale.step * 1.001
    assert (scale.low, scale.high) == ((-128, 127) if signed else (0, 255))


def test_codes_saturate() -> None:
    scale = Scale.of((0.0, 6.0), signed=False)
    assert scale.zero_point == 0
    assert scale.encode([-3.0, 0.0, 6.0, 9.0]).tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("axis", [0, 3])
def test_weights_are_coded_by_channel(axis: int) -> None:
    weight = np.random.default_rng(0).normal(size=(8, 3, 3, 5)).astype(np.float32)
    weight *= np.geomspace(1e-2, 1e2, weight.shape[axis]).reshape(-1, *[1] * (3 - axis))
    codes, steps = weight_codes(weight, axis=axis)
    assert codes.dtype == np.int8
    assert (np.abs(codes.astype(int)).max(axis=tuple({0, 1, 2, 3} - {axis})) == 127).all()
    decoded = codes * steps.reshape(-1, *[1] * (3 - axis))
    assert (np.abs(decoded - weight) <= 0.501 * steps.reshape(-1, *[1] * (3 - axis))).all()


def test_a_channel_of_zeros_has_a_sound_step() -> None:
    codes, steps = weight_codes(np.zeros((2, 3), np.float32), axis=0)
    assert (codes == 0).all()
    assert (steps > 1e-8).all()


def test_biases_saturate_rather_than_wrap() -> None:
    codes = bias_codes(np.array([1e9, -1e9, 3.0], np.float32), np.full(3, 0.1, np.float32))
    assert codes.tolist() == [2**31 - 1, -(2**31), 30]


@pytest.mark.parametrize("function", ops.ACTIVATIONS)
def test_activations_are_those_of_the_reference(function: str) -> None:
    x = np.linspace(-9, 9, 400)
    np.testing.assert_allclose(quantisation.ACTIVATIONS[function](x), ACTIVATIONS[function](x))


@pytest.mark.parametrize("activation", ["relu", "h_swish", "swish"])
@pytest.mark.parametrize("kernel", [3, 7])
def test_estimated_ranges_are_close_to_what_is_seen(activation: str, kernel: int) -> None:
    graph = block(activation=activation, kernel=kernel)
    weights = random_weights(graph, seed=1)
    ranges = estimated_ranges(graph, weights)
    image = np.random.default_rng(2).normal(size=(2, *graph.in_shape)).astype(np.float32)
    assert list(ranges) == ["input", *(node.name for node in graph.nodes)]
    for i, node in enumerate(graph.nodes):
        values = evaluate(Graph(graph.in_shape, graph.nodes[: i + 1]), weights, image)
        low, high = ranges[node.name]
        assert np.mean((values >= low - 1e-3) & (values <= high)) > 0.998, node.name
        seen = values.max() - min(values.min(), 0)
        assert high - min(low, 0) < 4 * seen, node.name  # or most codes would be idle


@pytest.mark.parametrize("kernel", [2, 3])
def test_estimated_ranges_after_pools_are_close_to_what_is_seen(kernel: int) -> None:
    shape = (16, 14, 14)
    pool = ops.max_pool2d(shape, kernel=kernel, stride=2, padding=kernel // 2)
    small = ops.out_shape(pool)
    mean = ops.avg_pool2d(small, kernel=2, stride=2, ceil=True)
    nodes = (
        Node("act", ops.activation(shape, "relu"), ("input",)),
        Node("pool", pool, ("act",)),
        Node("one", ops.conv2d(small, 24, kernel=1, bias=True), ("pool",)),
        Node("mean", mean, ("pool",)),
        Node("two", ops.conv2d(ops.out_shape(mean), 24, kernel=1, bias=True), ("mean",)),
    )
    graph = Graph(shape, nodes)
    weights = random_weights(graph, seed=1)
    ranges = estimated_ranges(graph, weights)
    image = np.random.default_rng(2).normal(size=(4, *shape)).astype(np.float32)
    for i, node in enumerate(nodes):
        values = evaluate(Graph(shape, nodes[: i + 1]), weights, image)
        low, high = ranges[node.name]
        assert np.mean((values >= low - 1e-3) & (values <= high)) > 0.995, node.name
        assert high - min(low, 0) < 3 * (values.max() - min(values.min(), 0)), node.name


@pytest.mark.parametrize(("kernel", "stride"), [(9, 1), (7, 2), (3, 1)])
def test_kernels_that_reach_over_the_border_see_less(kernel: int, stride: int) -> None:
    """Over 8 pixels, a kernel of 9 sees 13 to 40 % of what it would see in the middle of many."""
    shape, rng = (16, 8, 8), np.random.default_rng(2)
    nodes = [Node("act", ops.activation(shape, "relu"), ("input",))]
    for name in ("one", "two"):
        conv = ops.conv2d(
            shape, 16, kernel=kernel, stride=stride if name == "two" else 1, bias=True
        )
        nodes.append(Node(name, conv, (nodes[-1].name,)))
        nodes.append(Node(f"{name}_act", ops.activation(ops.out_shape(conv), "relu"), (name,)))
    graph = Graph(shape, tuple(nodes))
    weights = random_weights(graph, seed=1)
    images = rng.normal(size=(100, *shape)).astype(np.float32)
    values = {
        node.name: evaluate(Graph(shape, graph.nodes[: i + 1]), weights, images)
        for i, node in enumerate(nodes)
    }
    found = quantisation._moments(graph, weights)
    for name in ("one", "two"):
        seen = values[name].transpose(1, 0, 2, 3).reshape(16, -1)
        tolerance = 0.22 * seen.std()  # were the border forgotten: 0.25 to 1.6
        np.testing.assert_allclose(found[name].mean, seen.mean(axis=1), atol=tolerance)
        deviations = np.sqrt(found[name].variance)
        np.testing.assert_allclose(deviations, seen.std(axis=1), rtol=0.15)
        low, high = found[name].span
        assert np.mean((seen >= low) & (seen <= high)) > 0.9995
        assert high - low < 1.5 * (seen.max() - seen.min())


def test_values_that_are_added_to_themselves_grow_with_their_number() -> None:
    """Four paths of a cell that skip are four times its input, not twice."""
    shape = (8, 20, 20)
    nodes = (
        Node("conv", ops.conv2d(shape, 8, kernel=1, bias=True), ("input",)),
        Node("two", ops.add(shape), ("conv", "conv")),
        Node("three", ops.add(shape), ("two", "conv")),
        Node("mixed", ops.add(shape), ("three", "input")),
        Node("seven", ops.add(shape), ("mixed", "three")),
    )
    graph = Graph(shape, nodes)
    weights = random_weights(graph, seed=1)
    ranges = estimated_ranges(graph, weights)
    low, high = ranges["conv"]
    assert ranges["three"] == pytest.approx((3 * low, 3 * high))
    image = np.random.default_rng(2).normal(size=(2, *shape)).astype(np.float32)
    for i, node in enumerate(nodes):
        values = evaluate(Graph(shape, nodes[: i + 1]), weights, image)
        assert np.mean((values >= ranges[node.name][0]) & (values <= ranges[node.name][1])) > 0.998


def test_the_greatest_of_normal_values() -> None:
    drawn = np.random.default_rng(0).normal(size=(200_000, 9)).max(axis=1)
    mean, variance = quantisation._greatest(9)
    assert abs(mean - drawn.mean()) < 0.01
    assert abs(variance - drawn.var()) < 0.01
    assert quantisation._greatest(1) == pytest.approx((0, 1), abs=1e-5)


def test_an_unknown_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph((2, 3, 3), (Node("odd", OpSpec.make("fold", (2, 3, 3)), ("input",)),))
    with pytest.raises(ExportError, match=r"odd: operator fold\(2x3x3\) has no int8 lowering"):
        estimated_ranges(graph, {})


class TestGivenRanges:
    graph = block()
    weights = random_weights(graph)

    def test_are_taken(self) -> None:
        given = dict.fromkeys(estimated_ranges(self.graph, self.weights), (-1.0, 2.0))
        assert value_ranges(self.graph, self.weights, given) == given

    @pytest.mark.parametrize("span", [None, (0.0, np.nan), (-np.inf, 0.0), (1.0, 0.0)])
    def test_are_refused_unless_complete_and_finite(self, span: tuple[float, float] | None) -> None:
        given = estimated_ranges(self.graph, self.weights)
        del given["project"]
        if span is not None:
            given["project"] = span
        with pytest.raises(ExportError, match=r"'project' has .* \(1 such values\)"):
            value_ranges(self.graph, self.weights, given)

    def test_weights_that_are_not_numbers_have_no_ranges(self) -> None:
        broken = {**self.weights, "expand.weight": self.weights["expand.weight"] * np.nan}
        with pytest.raises(ExportError, match="'expand' has"):
            value_ranges(self.graph, broken, None)
