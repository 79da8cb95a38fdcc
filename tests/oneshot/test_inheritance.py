"""Inherited weights: growing changes nothing, shrinking keeps what is left."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgenas import spaces
from edgenas.core import ops
from edgenas.core.architecture import Genes
from edgenas.lowering.torch import GraphModule
from edgenas.oneshot.inheritance import inherit, weights_digest
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import GraphBuilder


def lively(space: SearchSpace, row: Genes) -> GraphModule:
    """A network with weights and statistics that are nobody's defaults."""
    module = GraphModule(space.network(row), seed=7)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in module.norms():
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.normal_(0, 0.3, generator=generator)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_(0, 0.3, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
    return module.eval()


def images(space: SearchSpace, row: Genes) -> torch.Tensor:
    shape = space.input_shape(row)
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("gene", ["kernel", "expansion", "depth"])
def test_a_child_that_grew_computes_what_its_parent_does(space: SearchSpace, gene: str) -> None:
    small = space.smallest()
    small[space.index["resolution"]] = space.largest()[space.index["resolution"]]
    grown = small.copy()
    for column, one in enumerate(space.genes):
        if one.name.endswith(gene):
            grown[column] = space.largest()[column]
    grown = space.canonical(grown[None])[0]
    assert not np.array_equal(grown, small)
    parent = lively(space, small)
    child = GraphModule(space.network(grown), seed=3)
    assert inherit(child, parent) > 0
    inputs = images(space, small)
    with torch.no_grad():
        expected, found = parent(inputs), child.eval()(inputs)
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
    sizes = [sum(p.numel() for p in module.parameters()) for module in (child, parent)]
    assert sizes[0] > sizes[1]


def test_what_is_new_in_a_child_learns(space: SearchSpace) -> None:
    parent = lively(space, space.smallest())
    child = GraphModule(space.network(space.largest()), seed=3)
    inherit(child, parent)
    child.train()
    child(images(space, space.largest())).square().sum().backward()
    # The first block that the parent lacks begins as its shortcut; its last norm leads out of it.
    new = {n.name for n in child.graph.nodes} - {n.name for n in parent.graph.nodes}
    silent = [
        child.get_parameter(f"{name}.norm.weight")
        for name in sorted(new)
        if name.endswith("project")
    ]
    assert silent
    for weight in silent:
        assert not weight.any()
        assert weight.grad is not None
        assert weight.grad.any()


def test_a_child_that_shrank_keeps_the_first_channels_and_the_middle_of_kernels(
    space: SearchSpace,
) -> None:
    parent = lively(space, space.largest())
    child = GraphModule(space.network(space.smallest()), seed=3)
    inherit(child, parent)
    name = "stage1.block0.depthwise"
    small, large = (module.get_parameter(f"{name}.weight") for module in (child, parent))
    n, side = len(small), small.shape[-1]
    margin = (large.shape[-1] - side) // 2
    assert n < len(large)
    assert margin > 0
    middle = large[:n, :, margin : margin + side, margin : margin + side]
    assert small.equal(middle)
    means = [m.get_buffer(f"{name}.norm.running_mean") for m in (child, parent)]
    assert means[0].equal(means[1][:n])


def test_an_equal_child_is_its_parent(space: SearchSpace) -> None:
    row = space.largest()
    parent, child = lively(space, row), GraphModule(space.network(row), seed=3)
    assert weights_digest(child) != weights_digest(parent)
    n_layers = sum(node.op.kind in ("conv2d", "linear") for node in parent.graph.nodes)
    assert inherit(child, parent) == n_layers
    assert weights_digest(child) == weights_digest(parent)


SMALL = (
    "mbv3_tiny",
    "resnet_tiny",
    "nas_bench_201",
    "nas_bench_macro",
    "dpp_net_tiny",
    "fbnet_cifar",
    "mobilenet_v3_small_tiny",
)


@pytest.mark.parametrize("name", SMALL)
def test_an_equal_child_computes_the_same_in_every_family(name: str) -> None:
    space = spaces.get(name)
    for row in space.sample(2, np.random.default_rng(5)):
        parent, child = lively(space, row), GraphModule(space.network(row), seed=3).eval()
        inherit(child, parent)
        inputs = images(space, row)
        with torch.no_grad():
            assert child(inputs).equal(parent(inputs))


@pytest.mark.parametrize("conv", ["conv1x1", "conv3x3", "depthwise3x3"])
def test_a_dense_cell_that_got_a_layer_computes_what_it_did(conv: str) -> None:
    space = spaces.get("dpp_net_tiny")
    layer = {"norm1": "bn_relu", "conv1": conv}
    small = space.parse({**layer, "n_layers": 1})
    grown = space.parse({**layer, "n_layers": 2, "norm2": "bn", "conv2": "conv3x3"})
    parent, child = lively(space, small), GraphModule(space.network(grown), seed=3).eval()
    inherit(child, parent)
    inputs = images(space, small)
    with torch.no_grad():
        expected, found = parent(inputs), child(inputs)
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(("groups", "inherits"), [(1, False), (2, True), (8, False)])
def test_layers_of_other_groups_start_fresh(groups: int, inherits: bool) -> None:
    def net(groups: int, seed: int) -> GraphModule:
        builder = GraphBuilder((8, 6, 6))
        builder.conv("mix", 8, kernel=3, groups=groups)
        return GraphModule(builder.graph(), seed=seed)

    child, parent = net(2, seed=3), net(groups, seed=4)
    assert inherit(child, parent) == int(inherits)
    expected = parent if inherits else net(2, seed=3)
    assert child.get_parameter("mix.weight").equal(expected.get_parameter("mix.weight"))


@pytest.mark.parametrize("groups", [2, 4])
def test_wider_groups_are_others(groups: int) -> None:
    def net(width: int, seed: int) -> GraphModule:
        builder = GraphBuilder((width, 6, 6))
        builder.conv("mix", width, kernel=3, groups=groups)
        return GraphModule(builder.graph(), seed=seed)

    child = net(16, seed=3)
    assert inherit(child, net(8, seed=4)) == 0
    assert child.get_parameter("mix.weight").equal(net(16, seed=3).get_parameter("mix.weight"))


def test_a_classifier_of_other_images_starts_fresh() -> None:
    def net(side: int, seed: int) -> GraphModule:
        builder = GraphBuilder((2, side, side))
        builder.then("classifier", ops.linear(builder.shape, 3))
        return GraphModule(builder.graph(), seed=seed)

    assert inherit(net(4, 0), net(3, 1)) == 0
    assert inherit(net(4, 0), net(4, 1)) == 1
