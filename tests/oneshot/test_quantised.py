"""Training that rounds: it lessens what rounding costs, goes on to the bit, keeps zeros zeros."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgenas import spaces
from edgenas.exporters.calibration import Calibration, calibrate
from edgenas.lowering.quantisation import Ranges
from edgenas.lowering.torch import GraphModule, channels_last, folded, folded_weights
from edgenas.lowering.torch_quantised import run_quantised
from edgenas.oneshot.data import ImageDataset
from edgenas.oneshot.evaluate import part_inputs
from edgenas.oneshot.finetune import train_alone
from edgenas.oneshot.optimisation import StepReport
from edgenas.oneshot.quantised import train_quantised
from edgenas.oneshot.settings import TrainingSettings
from edgenas.spaces.base import SearchSpace
from tests.oneshot.conftest import few_digits, small_space

SETTINGS = TrainingSettings(epochs=3, batch_size=32, lr=0.01, n_random_subnets=0, augment=False)


@pytest.fixture(scope="module")
def module() -> GraphModule:
    """A network that has learned something: its opinions differ."""
    settings = TrainingSettings(epochs=12, batch_size=32, lr=0.1, n_random_subnets=0)
    space = small_space()
    return train_alone(space, space.largest(), few_digits(), settings)


def coarse(module: GraphModule, dataset: ImageDataset) -> dict[str, tuple[float, float]]:
    """Ranges eight times too wide: codes so coarse that the network suffers."""
    inputs = part_inputs(module, dataset, dataset.train.take(np.arange(64))).numpy()
    settings = Calibration(method="min_max", n_images=64)
    found = calibrate(module.graph, folded_weights(module), inputs, settings).ranges
    return {name: (8 * low, 8 * high) for name, (low, high) in found.items()}


def distance(
    module: GraphModule, teacher: GraphModule, dataset: ImageDataset, ranges: Ranges
) -> float:
    """How far a rounding network's opinion is from its teacher's, on validation images."""
    inputs = channels_last(part_inputs(module, dataset, dataset.validation))
    with torch.no_grad():
        found = run_quantised(module.graph, module.tensors(), inputs, ranges)
        opinion = teacher(inputs).softmax(1)
    return float(torch.nn.functional.cross_entropy(found, opinion))


def test_it_bears_rounding_better_afterwards(
    module: GraphModule, space: SearchSpace, dataset: ImageDataset
) -> None:
    ranges, teacher = coarse(module, dataset), folded(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = train_quantised(module, space, dataset, SETTINGS, ranges=ranges)
    assert not found.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert found.graph == teacher.graph
    old = distance(teacher, teacher, dataset, ranges)
    assert distance(found, teacher, dataset, ranges) < old
    alone = train_quantised(module, space, dataset, SETTINGS, ranges=None)
    assert not torch.equal(
        alone.state_dict()["stem.conv.weight"], found.state_dict()["stem.conv.weight"]
    )


class _Killed(BaseException):
    """Stands for the end of the process."""


def test_it_goes_on_to_the_same_bits(
    module: GraphModule, space: SearchSpace, dataset: ImageDataset, tmp_path: Path
) -> None:
    ranges, settings = coarse(module, dataset), replace(SETTINGS, epochs=2)
    whole = train_quantised(module, space, dataset, settings, ranges=ranges)

    def kill(report: StepReport) -> None:
        if (report.epoch, report.step) == (2, 2):
            raise _Killed

    checkpoint = tmp_path / "state.safetensors"
    with pytest.raises(_Killed):
        train_quantised(
            module, space, dataset, settings, ranges=ranges, checkpoint=checkpoint, on_step=kill
        )
    steps: list[StepReport] = []
    again = train_quantised(
        module,
        space,
        dataset,
        settings,
        ranges=ranges,
        checkpoint=checkpoint,
        on_step=steps.append,
    )
    assert steps[0].epoch == 2
    weights = whole.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in again.state_dict().items())


def test_zeros_stay_zeros(dataset: ImageDataset) -> None:
    cells = spaces.get("nas_bench_201", input_channels=1, n_classes=10)
    graphs = (cells.network(row) for row in cells.sample(100, np.random.default_rng(0)))
    graph = next(g for g in graphs if any(node.op.kind == "zeros" for node in g.nodes))
    module = GraphModule(graph).eval()
    names = [node.name for node in graph.nodes if node.op.kind == "zeros"]
    found = train_quantised(
        module, cells, dataset, replace(SETTINGS, epochs=1, batch_size=100), ranges=None
    )
    weights = folded_weights(found)
    assert all(not weights[f"{name}.weight"].any() for name in names)
