"""Recalibration, accuracy, fine-tuning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from edgenas.core.errors import TrainingError
from edgenas.lowering.torch import GraphModule
from edgenas.oneshot import evaluate
from edgenas.oneshot.data import ImageDataset
from edgenas.oneshot.finetune import finetune
from edgenas.oneshot.settings import TrainingSettings
from edgenas.oneshot.supernet import Supernet, extract
from edgenas.spaces.base import SearchSpace


def _calibrated(trained: Supernet, space: SearchSpace, dataset: ImageDataset) -> GraphModule:
    module = extract(trained, space, space.largest())
    inputs = evaluate.network_inputs(module, dataset, evaluate.calibration_images(dataset))
    return evaluate.recalibrate(module, inputs)


def test_recalibration_measures_the_first_norm_as_by_hand(
    trained: Supernet, space: SearchSpace, dataset: ImageDataset
) -> None:
    module = _calibrated(trained, space, dataset)
    inputs = evaluate.network_inputs(module, dataset, evaluate.calibration_images(dataset))
    assert not module.training
    with torch.no_grad():
        outputs = functional.conv2d(inputs, module.tensors()["stem.conv.weight"], None, 2, 1)
    batches = (outputs[:64], outputs[64:128], outputs[128:])  # 200 images, the rest joins
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    variances = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    norm = module.norms()[0]
    torch.testing.assert_close(norm.running_mean, means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, variances, rtol=1e-4, atol=1e-5)


def test_recalibrated_on_one_batch_a_network_repeats_the_supernets_path(
    trained: Supernet, space: SearchSpace, dataset: ImageDataset
) -> None:
    row = space.sample(1, np.random.default_rng(2))[0]
    module = extract(trained, space, row)
    inputs = evaluate.network_inputs(module, dataset, dataset.train.images)
    evaluate.recalibrate(module, inputs, batch_size=len(inputs))
    with torch.no_grad():
        theirs = trained(inputs, space.ops(row))
    # Running variances are unbiased, a batch's own are not: 1 / (200 * 6 * 6) apart.
    torch.testing.assert_close(evaluate.logits(module, inputs), theirs, rtol=5e-3, atol=5e-3)


def test_recalibration_leaves_the_supernet_alone_and_is_repeatable(
    trained: Supernet, space: SearchSpace, dataset: ImageDataset
) -> None:
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    first, again = (_calibrated(trained, space, dataset).state_dict() for _ in range(2))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert all(torch.equal(v, before[name]) for name, v in trained.state_dict().items())


def test_accuracy_counts_right_answers(
    trained: Supernet, space: SearchSpace, dataset: ImageDataset
) -> None:
    module = _calibrated(trained, space, dataset)
    part = dataset.validation
    inputs = evaluate.network_inputs(module, dataset, part.images)
    answers = evaluate.logits(module, inputs, batch_size=1000).argmax(1).numpy()
    expected = float((answers == part.labels).mean())
    assert evaluate.accuracy(module, dataset, part) == pytest.approx(expected)


def test_outputs_that_are_not_finite_are_an_error(
    trained: Supernet, space: SearchSpace, dataset: ImageDataset
) -> None:
    module = _calibrated(trained, space, dataset)
    with torch.no_grad():
        module.get_parameter("head.classifier.bias").fill_(float("inf"))
    with pytest.raises(TrainingError, match="not finite"):
        evaluate.accuracy(module, dataset, dataset.validation)


def test_the_test_part_is_opened_once_per_use(
    trained: Supernet, space: SearchSpace, dataset: ImageDataset
) -> None:
    module = _calibrated(trained, space, dataset)
    assert dataset.n_test_openings == 0
    value = evaluate.test_accuracy(module, dataset)
    assert 0 <= value <= 1
    assert dataset.n_test_openings == 1


def test_finetuning_improves_the_network_and_not_the_supernet(
    trained: Supernet, space: SearchSpace, dataset: ImageDataset, settings: TrainingSettings
) -> None:
    row = space.smallest()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    untouched = finetune(trained, space, row, dataset, replace(settings, epochs=0))
    tuned = finetune(trained, space, row, dataset, replace(settings, epochs=6))
    again = finetune(trained, space, row, dataset, replace(settings, epochs=6))
    alone = finetune(trained, space, row, dataset, replace(settings, epochs=6), distil=False)
    scores = [
        evaluate.accuracy(module, dataset, dataset.train) for module in (untouched, tuned, alone)
    ]
    assert scores[0] < min(scores[1:])
    states = tuned.state_dict(), again.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert all(torch.equal(v, before[name]) for name, v in trained.state_dict().items())


def test_finetuning_goes_on_from_its_checkpoint(
    trained: Supernet,
    space: SearchSpace,
    dataset: ImageDataset,
    settings: TrainingSettings,
    tmp_path: Path,
) -> None:
    path = tmp_path / "finetune.safetensors"
    row = space.smallest()
    first = finetune(trained, space, row, dataset, settings, checkpoint=path)
    steps: list[object] = []
    again = finetune(trained, space, row, dataset, settings, checkpoint=path, on_step=steps.append)
    assert steps == []
    states = first.state_dict(), again.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
