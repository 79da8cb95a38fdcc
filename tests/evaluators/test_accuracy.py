"""Shared-weights accuracy as objective values: order, repeatability, failures as values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgenas import spaces
from edgenas.core.architecture import Architecture
from edgenas.core.errors import DataError, SpaceError
from edgenas.evaluators.accuracy import SharedWeightsAccuracy
from edgenas.oneshot.data import ImageDataset, load_dataset
from edgenas.oneshot.supernet import Supernet
from edgenas.spaces.base import SearchSpace


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return spaces.get("mbv3_tiny", resolutions=(8, 12), mix_width=32, final_width=32)


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    return load_dataset("digits")


def test_values_come_in_order_and_again_the_same(space: SearchSpace, dataset: ImageDataset) -> None:
    supernet = Supernet(space)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    evaluator = SharedWeightsAccuracy(supernet, space, dataset, n_calibration_images=100)
    archs = space.architectures(space.sample(4, np.random.default_rng(0)))
    found = evaluator.evaluate(archs)
    assert [evaluation.arch for evaluation in found] == archs
    assert all(evaluation.status == "complete" for evaluation in found)
    assert all(0 <= evaluation.values["accuracy"] <= 1 for evaluation in found)
    assert evaluator.evaluate(archs[::-1]) == found[::-1]
    at_once = SharedWeightsAccuracy(supernet, space, dataset, n_calibration_images=100, threads=3)
    assert at_once.evaluate(archs) == found
    assert dataset.n_test_openings == 0
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_what_goes_wrong_with_one_architecture_stays_with_it(
    space: SearchSpace, dataset: ImageDataset
) -> None:
    supernet = Supernet(space)
    with torch.no_grad():
        supernet.slot("stage1.block2").get_parameter("project.weight").fill_(float("nan"))
    evaluator = SharedWeightsAccuracy(supernet, space, dataset, n_calibration_images=100)
    deep, shallow = space.architectures(np.stack([space.largest(), space.smallest()]))
    unfit = Architecture(space.name, (0, 1))
    found = evaluator.evaluate([deep, unfit, shallow])
    assert [evaluation.status for evaluation in found] == ["failed", "failed", "complete"]
    assert "not finite" in str(found[0].error)
    assert "SpaceError" in str(found[1].error)


def test_a_fixed_share_of_the_validation_part_can_be_asked_for(
    space: SearchSpace, dataset: ImageDataset
) -> None:
    supernet = Supernet(space)
    evaluator = SharedWeightsAccuracy(
        supernet, space, dataset, n_calibration_images=64, n_validation_images=50
    )
    archs = space.architectures(space.sample(2, np.random.default_rng(0)))
    found = evaluator.evaluate(archs)
    assert found == evaluator.evaluate(archs)
    assert all((evaluation.values["accuracy"] * 50) % 1 < 1e-9 for evaluation in found)


def test_running_out_of_memory_is_a_failed_evaluation(
    space: SearchSpace, dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> float:
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr("edgenas.evaluators.accuracy.accuracy", full)
    evaluator = SharedWeightsAccuracy(Supernet(space), space, dataset, n_calibration_images=64)
    found = evaluator.evaluate(space.architectures(space.smallest()[None]))
    assert found[0].status == "failed"
    assert found[0].error == "RuntimeError: DefaultCPUAllocator: not enough memory"


def test_what_is_wrong_with_all_of_them_is_raised(
    space: SearchSpace, dataset: ImageDataset
) -> None:
    other = spaces.get("mbv3_tiny", n_classes=3)
    with pytest.raises(DataError, match="n_classes=10"):
        SharedWeightsAccuracy(Supernet(other), other, dataset)
    with pytest.raises(SpaceError, match="train a supernet for this space"):
        SharedWeightsAccuracy(Supernet(other), space, dataset)
    evaluator = SharedWeightsAccuracy(Supernet(space), space, dataset)
    with pytest.raises(SpaceError, match="architectures of elsewhere given to"):
        evaluator.evaluate([Architecture("elsewhere", (0,))])
