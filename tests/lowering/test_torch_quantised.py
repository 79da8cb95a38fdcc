"""A network that rounds in torch is the 8-bit file, near enough to be trained by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch

from edgenas.core.ops import Graph, conv2d
from edgenas.exporters.calibration import Calibration, calibrate, sqnr
from edgenas.lowering.onnx import lower
from edgenas.lowering.torch import GraphModule, channels_last, folded, folded_weights
from edgenas.lowering.torch_quantised import run_quantised
from edgenas.spaces.blocks import chain, conv_block, mbconv, mbv3_head, pool_head

NEAR_DB = 20.0


def network(activation: str) -> GraphModule:
    """A small network of ReLUs alone, or with functions that files write in their own way."""
    hard = activation != "relu"
    block = {"stride": 2, "activation": activation, "squeeze_excite": hard}
    head = mbv3_head((16, 4, 4), final_channels=32, mix_channels=40, n_classes=5)
    graph = chain(
        [
            ("stem", conv_block((2, 16, 16), 8, kernel=3, stride=2, activation=activation)),
            ("block", mbconv((8, 8, 8), 16, mid_channels=24, kernel=3, **block)),  # type: ignore[arg-type]
            ("head", head if hard else pool_head((16, 4, 4), n_classes=5)),
        ]
    )
    return GraphModule(graph, seed=3).eval()


def images(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2, 16, 16)).astype(np.float32)


def logits_of(module: GraphModule, precision: str) -> tuple[np.ndarray, ...]:
    """What the network, its file and the network that rounds answer to the same images."""
    given, weights = images(64), folded_weights(module)
    settings = Calibration(method="min_max", n_images=64)
    ranges = None
    if precision == "int8":
        ranges = calibrate(module.graph, weights, given, settings).ranges
    content = lower(module.graph, weights, precision=precision, ranges=ranges)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    file = np.concatenate([session.run(None, {name: one[None]})[0] for one in given])
    plain, source = folded(module), torch.from_numpy(given)
    with torch.no_grad():
        exact = plain(source).numpy()
        rounded = run_quantised(plain.graph, plain.tensors(), channels_last(source), ranges).numpy()
    return exact, file, rounded


def test_a_network_of_relus_rounds_just_as_its_file() -> None:
    exact, file, rounded = logits_of(network("relu"), "int8")
    assert np.abs(file - exact).max() > 0
    step = np.diff(np.unique(file)).min()
    differ = np.abs(file - rounded) > 0.5 * step
    assert differ.mean() < 0.02  # sums whose last bits fall on the other side of a half


def test_functions_that_files_write_in_their_own_way_are_near() -> None:
    """The gates of hard functions have codes of their own in an ONNX file."""
    exact, file, rounded = logits_of(network("h_swish"), "int8")
    assert sqnr(file, rounded) > sqnr(exact, file)


@pytest.mark.parametrize("activation", ["relu", "h_swish"])
def test_weights_round_just_as_in_their_file(activation: str) -> None:
    exact, file, rounded = logits_of(network(activation), "weight_int8")
    assert sqnr(file, rounded) > sqnr(exact, file) + NEAR_DB


def test_gradients_pass_the_rounding_and_stop_at_the_ends() -> None:
    graph = Graph((1, 4, 4), (conv_node(),))
    weight = torch.full((1, 1, 1, 1), 0.5, requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    tensors = {"conv.weight": weight, "conv.bias": bias}
    inside = torch.full((1, 1, 4, 4), 1.0)
    ranges = {"input": (0.0, 2.0), "conv": (0.0, 1.0)}

    def gradient(values: torch.Tensor) -> torch.Tensor | None:
        weight.grad = None
        run_quantised(graph, tensors, channels_last(values), ranges).sum().backward()
        return weight.grad

    passed = gradient(inside)
    assert passed is not None
    assert passed.item() == pytest.approx(16.0, rel=0.02)
    stopped = gradient(4 * inside)  # the input saturates at 2, and so its product at 1
    assert stopped is not None
    assert stopped.item() == pytest.approx(32.0, rel=0.02)
    beyond = gradient(4 * inside) if _raise_weight(weight) else None
    assert beyond is not None
    assert beyond.item() == 0


def _raise_weight(weight: torch.Tensor) -> bool:
    with torch.no_grad():
        weight.fill_(2.0)
    return True


def conv_node() -> object:
    from edgenas.core.ops import Node

    op = conv2d((1, 4, 4), 1, kernel=1, bias=True)
    return Node("conv", op, ("input",))


def test_what_is_read_in_place_of_a_value_is_given_by_name() -> None:
    from edgenas.lowering.torch import run_graph

    module = folded(network("relu"))
    seen: list[str] = []

    def noted(name: str, value: torch.Tensor) -> torch.Tensor:
        seen.append(name)
        return value

    source = channels_last(torch.from_numpy(images(2)))
    run: Callable[..., torch.Tensor] = run_graph
    with torch.no_grad():
        same = run(module.graph, module.tensors(), source, training=False, rounded=noted)
        assert torch.equal(same, module(source))
    assert seen == ["input", *(node.name for node in module.graph.nodes)]
