"""The torch lowering against modules written by hand, PyTorch's own gradients and the counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from edgenas.core import counts, ops
from edgenas.core.errors import SpaceError
from edgenas.core.ops import Graph, Node, OpSpec
from edgenas.lowering.torch import ACTIVATIONS, GraphModule, channels_last, folded, folded_weights
from edgenas.lowering.torch_depthwise import depthwise_conv2d
from edgenas.lowering.weights import random_weights
from edgenas.spaces import blocks
from edgenas.spaces.dpp_net import dpp_net
from edgenas.spaces.nas_bench_201 import nas_bench_201
from edgenas.testing.reference import evaluate

BLOCK = blocks.mbconv(
    (16, 9, 9),
    16,
    mid_channels=32,
    kernel=5,
    stride=1,
    activation="h_swish",
    squeeze_excite=True,
)
STEM = blocks.conv_block((1, 18, 18), 16, kernel=3, stride=2, activation="relu")
HEAD = blocks.mbv3_head((16, 9, 9), final_channels=24, mix_channels=32, n_classes=5)
GRAPH = blocks.chain([("stem", STEM), ("stage1.block0", BLOCK), ("head", HEAD)])


def _randomise(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.ndim == 1:
                noise = torch.rand(value.shape, generator=generator)
                value.copy_(noise + 0.5 if "var" in name or name.endswith("weight") else noise)


def _by_hand(images: torch.Tensor, module: GraphModule) -> torch.Tensor:
    """The same network from torch.nn's parts, contiguous memory."""
    t = module.tensors()

    def conv(x: torch.Tensor, name: str, **settings: int) -> torch.Tensor:
        weight = t[f"{name}.weight"]
        layer = nn.Conv2d(
            weight.shape[1] * settings.get("groups", 1),
            weight.shape[0],
            weight.shape[2],
            padding=weight.shape[2] // 2,
            bias=f"{name}.bias" in t,
            **settings,
        )
        layer.load_state_dict(
            {key: t[f"{name}.{key}"] for key in ("weight", "bias") if f"{name}.{key}" in t}
        )
        x = layer(x)
        if f"{name}.norm.weight" in t:
            norm = nn.BatchNorm2d(weight.shape[0])
            keys = ("weight", "bias", "running_mean", "running_var")
            norm.load_state_dict({key: t[f"{name}.norm.{key}"] for key in keys}, strict=False)
            x = norm.eval()(x)
        return x

    x = conv(images, "stem.conv", stride=2).relu()
    y = nn.Hardswish()(conv(x, "stage1.block0.expand"))
    y = nn.Hardswish()(conv(y, "stage1.block0.depthwise", groups=32))
    gate = functional.adaptive_avg_pool2d(y, 1)
    gate = conv(conv(gate, "stage1.block0.se_reduce").relu(), "stage1.block0.se_expand")
    x = x + conv(y * nn.Hardsigmoid()(gate), "stage1.block0.project")
    y = functional.adaptive_avg_pool2d(nn.Hardswish()(conv(x, "head.final_expand")), 1)
    y = nn.Hardswish()(conv(y, "head.feature_mix")).flatten(1)
    return functional.linear(y, t["head.classifier.weight"], t["head.classifier.bias"])


def test_a_network_gives_what_hand_written_modules_give() -> None:
    module = GraphModule(GRAPH, seed=3).eval()
    _randomise(module)
    images = torch.randn(3, 1, 18, 18, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(module(images), _by_hand(images, module), rtol=1e-5, atol=1e-5)


def test_parameters_are_named_after_nodes_and_counted() -> None:
    module = GraphModule(GRAPH)
    names = dict(module.named_parameters())
    assert "stage1.block0.depthwise.weight" in names
    assert "stage1.block0.se_reduce.bias" in names
    assert "stem.conv.norm.weight" in names
    assert sum(value.numel() for value in names.values()) == counts.n_params(GRAPH)
    assert len(module.norms()) == 5


def test_seeds_decide_the_weights() -> None:
    first, again, other = GraphModule(GRAPH), GraphModule(GRAPH), GraphModule(GRAPH, seed=1)
    name = "stem.conv.weight"
    assert torch.equal(first.tensors()[name], again.tensors()[name])
    assert not torch.equal(first.tensors()[name], other.tensors()[name])


def test_training_mode_updates_the_running_statistics() -> None:
    module = GraphModule(GRAPH)
    before = module.tensors()["stem.conv.norm.running_mean"].clone()
    module(torch.randn(4, 1, 18, 18)).sum().backward()
    assert not torch.equal(before, module.tensors()["stem.conv.norm.running_mean"])
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_only_shortcuts_start_alone() -> None:
    """The edges of a cell start as the benchmark's do, all of them."""
    space = nas_bench_201("nas_bench_201", n_cells=2, resolution=8)
    code = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_1x1~0|none~1|nor_conv_1x1~2|"
    module = GraphModule(space.network(space.from_code(code)))
    silent = {
        name
        for name, value in module.named_parameters()
        if name.endswith("norm.weight") and not value.any()
    }
    assert silent == {f"stage{stage}.0.conv2.norm.weight" for stage in (2, 3)}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dense_networks_are_those_of_the_description(seed: int) -> None:
    space = dpp_net("dpp_net_tiny", resolution=12, n_cells=(1, 1, 1))
    graph = space.network(space.sample(3, np.random.default_rng(1))[seed])
    module = GraphModule(graph, seed=2)
    assert sum(value.numel() for value in module.parameters()) == counts.n_params(graph)
    images = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    module(images).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    _randomise(module.eval())
    plain = folded(module)
    assert plain.norms() == []
    with torch.no_grad():
        found = plain(images)
        torch.testing.assert_close(found, module(images), rtol=1e-4, atol=1e-4)
        expected = torch.from_numpy(evaluate(graph, folded_weights(module), images.numpy()))
        torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["identity", "bn_relu"])
@pytest.mark.parametrize("conv", ["conv1x1", "conv3x3", "group3x3", "learned1x1"])
def test_what_dense_layers_append_starts_at_the_scale_of_what_is_there(
    norm: str, conv: str
) -> None:
    """Sixteen layers that nothing normalises neither blow up nor die away."""
    space = dpp_net("dpp_net", resolution=16, max_layers=4, growths=(8,), n_cells=(4,))
    config = {
        f"{what}{i}": how for i in range(1, 5) for what, how in (("norm", norm), ("conv", conv))
    }
    graph = space.network(space.parse({"n_layers": 4, **config}))
    trunk = Graph(graph.in_shape, tuple(n for n in graph.nodes if not n.name.startswith("head")))
    module = GraphModule(trunk, seed=1)
    images = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        values = module(images)
    scales = values.std((0, 2, 3))
    assert values.shape[1] == 16 + 16 * 8
    assert 0.3 < scales[-8:].mean() / scales[:16].mean() < 3


@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_folded_weights_are_the_network_without_norms(epsilon: float) -> None:
    module = GraphModule(replace(GRAPH, norm_epsilon=epsilon)).eval()
    _randomise(module)
    weights = folded_weights(module)
    shapes = {name: value.shape for name, value in random_weights(GRAPH).items()}
    assert {name: value.shape for name, value in weights.items()} == shapes
    assert all(value.dtype == np.float32 for value in weights.values())
    images = torch.randn(2, 1, 18, 18)
    plain = folded(module)
    assert plain.norms() == []
    with torch.no_grad():
        torch.testing.assert_close(plain(images), module(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "code",
    [
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|none~2|",
        "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",  # zeros
    ],
)
def test_norms_that_follow_no_convolution_are_folded_too(code: str) -> None:
    space = nas_bench_201("nas_bench_201", n_cells=1, resolution=8, width=8)
    graph = space.network(space.from_code(code))
    module = GraphModule(graph, seed=2)
    names = dict(module.named_parameters())
    assert sum(value.numel() for value in names.values()) == counts.n_params(graph)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before = module.tensors()["head.norm.norm.running_var"].clone()
    module(images)
    assert not torch.equal(before, module.tensors()["head.norm.norm.running_var"])
    _randomise(module.eval())
    weights = folded_weights(module)
    shapes = {name: value.shape for name, value in random_weights(graph).items()}
    assert {name: value.shape for name, value in weights.items()} == shapes
    plain = folded(module)
    assert plain.norms() == []
    with torch.no_grad():
        torch.testing.assert_close(plain(images), module(images), rtol=1e-4, atol=1e-4)
        expected = evaluate(graph, weights, images.numpy())
        torch.testing.assert_close(
            plain(images), torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("function", ops.ACTIVATIONS)
def test_every_activation_of_the_description_has_a_lowering(function: str) -> None:
    graph = Graph((2, 3, 3), (Node("act", ops.activation((2, 3, 3), function), ("input",)),))
    images = torch.linspace(-8, 8, 36).reshape(2, 2, 3, 3)
    assert torch.equal(GraphModule(graph)(images), ACTIVATIONS[function](images))


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_a_shuffle_transposes_groups(groups: int) -> None:
    graph = Graph((6, 2, 3), (Node("mix", ops.channel_shuffle((6, 2, 3), groups), ("input",)),))
    images = torch.arange(72.0).reshape(2, 6, 2, 3)
    wanted = images.reshape(2, groups, 6 // groups, 2, 3).transpose(1, 2).reshape(images.shape)
    assert torch.equal(GraphModule(graph)(images), wanted)


def test_bottlenecks_start_as_their_shortcuts() -> None:
    plain = blocks.bottleneck((8, 5, 5), 8, mid_channels=8, stride=1, downsample=False)
    module = GraphModule(blocks.expand(plain)).eval()
    images = torch.rand(2, 8, 5, 5)  # a relu leaves them as they are
    assert torch.equal(module(images), images)
    wide = blocks.bottleneck((8, 5, 5), 16, mid_channels=8, stride=2, downsample=True)
    tensors = GraphModule(blocks.expand(wide)).tensors()
    assert tensors["downsample.norm.weight"].min() == 1
    assert tensors["conv3.norm.weight"].max() == 0
    others = GraphModule(GRAPH).tensors()
    assert all(v.min() == 1 for name, v in others.items() if name.endswith("norm.weight"))


@settings(max_examples=80)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    ceil=st.booleans(),
    kind=st.sampled_from([ops.max_pool2d, ops.avg_pool2d]),
)
def test_pools_see_the_windows_of_the_description(
    size: tuple[int, int], kernel: int, kind: Callable[..., OpSpec], **window: int
) -> None:
    window["padding"] = min(window["padding"], kernel // 2)
    assume(min(size) + 2 * window["padding"] >= kernel)
    op = kind((3, *size), kernel=kernel, **window)
    graph = Graph(op.in_shape, (Node("pool", op, ("input",)),))
    images = torch.randn(2, *op.in_shape, generator=torch.Generator().manual_seed(0))
    found = GraphModule(graph)(images)
    assert found.shape[1:] == ops.out_shape(op)
    np.testing.assert_allclose(found, evaluate(graph, {}, images.numpy()), rtol=1e-6, atol=1e-6)


def test_resnet_blocks_are_trained_and_deployed_alike() -> None:
    stem = blocks.resnet_stem((3, 17, 15), 16, mid_channels=8, stride=2, residual=True)
    wide = blocks.bottleneck((16, 5, 4), 32, mid_channels=8, stride=2, downsample=True)
    last = blocks.bottleneck((32, 3, 2), 32, mid_channels=16, stride=1, downsample=False)
    head = blocks.pool_head((32, 3, 2), n_classes=5)
    graph = blocks.chain([("stem", stem), ("one", wide), ("two", last), ("head", head)])
    module = GraphModule(graph, seed=2)
    _randomise(module)
    images = torch.randn(2, 3, 17, 15, generator=torch.Generator().manual_seed(0))
    module(images).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    module.eval()
    expected = evaluate(graph, folded_weights(module), images.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(module(images).numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("width", "stride", "groups"), [(8, 1, 2), (12, 2, 2), (8, 1, 1)])
def test_grouped_blocks_are_trained_and_deployed_alike(
    width: int, stride: int, groups: int
) -> None:
    block = blocks.fbnet_block(
        (8, 6, 6), width, mid_channels=24, kernel=5, stride=stride, groups=groups
    )
    module = GraphModule(blocks.expand(block), seed=2)
    _randomise(module)
    images = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    module(images).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    module.eval()
    expected = evaluate(module.graph, folded_weights(module), images.numpy())
    with torch.no_grad():
        found = module(images).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_operator_is_named() -> None:
    graph = Graph((2, 3, 3), (Node("odd", OpSpec.make("fold", (2, 3, 3)), ("input",)),))
    with pytest.raises(SpaceError, match=r"odd: torch has no lowering of fold\(2x3x3\)"):
        GraphModule(graph)(torch.zeros(1, 2, 3, 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_also_holds_for_one_channel(channels: int) -> None:
    images = torch.randn(2, channels, 4, 5)
    result = channels_last(images)
    assert torch.equal(result, images)
    assert result.stride() == (channels * 20, 1, channels * 5, channels)
    assert channels_last(result) is result


@pytest.mark.parametrize("kernel", [3, 5, 7, 9])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (7, 7), (14, 9)])
def test_depthwise_gradients_are_pytorchs(kernel: int, stride: int, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(kernel)
    weight = torch.randn(24, 1, kernel, kernel, generator=generator, requires_grad=True)
    images = channels_last(torch.randn(3, 24, *size, generator=generator)).requires_grad_()
    expected = functional.conv2d(images, weight, None, stride, kernel // 2, 1, 24)
    gradient = torch.randn(expected.shape, generator=generator)
    wanted = torch.autograd.grad(expected, (images, weight), gradient)
    result = depthwise_conv2d(images, weight, stride=stride)
    torch.testing.assert_close(result, expected)
    found = torch.autograd.grad(result, (images, weight), gradient)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
