"""Dense layers: what they append, what their groups read, what they cost."""

import numpy as np
import pytest

from edgenas.core import counts, ops
from edgenas.core.errors import SpaceError
from edgenas.core.ops import Graph
from edgenas.lowering.weights import random_weights
from edgenas.spaces.blocks import expand, out_shape
from edgenas.spaces.dense import CONVS, NORMS, condense_layer, dense_layer
from edgenas.testing.reference import evaluate

SHAPE = (8, 6, 5)


def answer(graph: Graph, images: np.ndarray) -> np.ndarray:
    return evaluate(graph, random_weights(graph, seed=3), images)


def images_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("conv", CONVS)
def test_a_layer_appends_to_its_input(norm: str, conv: str) -> None:
    images = images_of(SHAPE)
    op = dense_layer(SHAPE, 4, norm=norm, conv=conv, groups=4)
    found = answer(expand(op), images)
    assert found.shape[1:] == out_shape(op) == (12, 6, 5)
    np.testing.assert_array_equal(found[:, :8], images)
    assert found[:, 8:].std() > 0.1
    pooled = dense_layer(SHAPE, 4, norm=norm, conv=conv, groups=4, pool=True)
    halves = found[:, :, :6, :4].reshape(2, 12, 3, 2, 2, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(answer(expand(pooled), images), halves, atol=1e-6)


@pytest.mark.parametrize(
    ("conv", "n_macs"),
    [
        ("group1x1", 8 * 4 // 4),
        ("learned1x1", 8 * 4 // 4),
        ("conv1x1", 8 * 4),
        ("depthwise3x3", 8 * 9 + 8 * 4),
        ("group3x3", 8 * 9 * 4 // 4),
        ("conv3x3", 8 * 9 * 4),
    ],
)
def test_a_layer_costs_its_convolution_and_its_norm(conv: str, n_macs: int) -> None:
    for norm in NORMS:
        graph = expand(dense_layer(SHAPE, 4, norm=norm, conv=conv, groups=4))
        assert counts.n_macs(graph) == n_macs * 30
        assert counts.n_params(graph) == n_macs + (0 if norm == "identity" else 16)
        # The input and what is made of it stay until they are joined, the whole beside them.
        least = counts.BYTES["float32"] * 30 * (8 + 4 + 12)
        assert counts.peak_activation_bytes(graph) >= least


def reaches(graph: Graph) -> np.ndarray:
    """Return which input channels an added channel depends on, shape (n_added, n_channels)."""
    images = images_of(graph.in_shape)
    before, channels = answer(graph, images), graph.in_shape[0]
    found = []
    for channel in range(channels):
        other = images.copy()
        other[:, channel] += 1
        changed = answer(graph, other) != before
        found.append(changed[:, channels:].any(axis=(0, 2, 3)))
    return np.array(found).T


def test_a_learned_group_reads_channels_of_all_parts() -> None:
    plain = reaches(expand(dense_layer(SHAPE, 4, norm="identity", conv="group1x1", groups=4)))
    index = reaches(expand(dense_layer(SHAPE, 4, norm="identity", conv="learned1x1", groups=4)))
    assert [np.flatnonzero(row).tolist() for row in plain] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [np.flatnonzero(row).tolist() for row in index] == [[0, 2], [4, 6], [1, 3], [5, 7]]


def test_a_layer_of_condensenet_reads_every_channel() -> None:
    op = condense_layer((16, 6, 6), 4, bottleneck=4, groups=4)
    graph = expand(op)
    assert out_shape(op) == (20, 6, 6)
    assert counts.n_macs(graph) == 36 * (16 * 16 // 4 + 16 * 9 * 4 // 4)
    assert counts.n_params(graph) == 16 * 16 // 4 + 16 * 9 * 4 // 4 + 2 * 16 + 2 * 16
    assert reaches(graph).all()
    images = images_of((16, 6, 6))
    np.testing.assert_array_equal(answer(graph, images)[:, :16], images)


def test_wrong_layers_are_refused() -> None:
    with pytest.raises(SpaceError, match="no 'conv5x5'"):
        dense_layer(SHAPE, 4, norm="bn", conv="conv5x5", groups=4)
    with pytest.raises(SpaceError, match="no 'bn_relu6'"):
        dense_layer(SHAPE, 4, norm="bn_relu6", conv="conv1x1", groups=4)
    for channels, growth in ((8, 6), (6, 4)):
        with pytest.raises(SpaceError, match="do not divide into 4 groups"):
            dense_layer((channels, 4, 4), growth, norm="bn", conv="group3x3", groups=4)
        with pytest.raises(SpaceError, match="do not divide into 4 groups"):
            condense_layer((channels, 4, 4), growth, bottleneck=4, groups=4)
    dense_layer((6, 4, 4), 5, norm="bn", conv="conv3x3", groups=4)  # no groups there


def test_only_tensors_of_one_size_are_joined() -> None:
    assert ops.out_shape(ops.concat((3, 4, 5), (2, 4, 5))) == (5, 4, 5)
    with pytest.raises(SpaceError, match="of different sizes"):
        ops.concat((3, 4, 5), (3, 5, 4))
