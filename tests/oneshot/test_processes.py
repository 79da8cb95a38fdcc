"""Training through Lightning Fabric: two real processes, bfloat16, devices that are not there."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.multiprocessing.spawn import ProcessExitedException

from edgenas.core.errors import SpaceError, TrainingError, UsageError
from edgenas.oneshot import processes
from edgenas.oneshot.data import ImageDataset
from edgenas.oneshot.optimisation import StepReport
from edgenas.oneshot.processes import accelerator_of
from edgenas.oneshot.settings import TrainingSettings, scheduled
from edgenas.oneshot.supernet import Supernet
from edgenas.oneshot.training import train_supernet
from edgenas.spaces.base import Gene, SearchSpace

PHASES = ("full", "kernel", "depth1", "depth2", "expansion1", "expansion2", "width1", "width2")


def shrinking(rates: float, **settings: Any) -> TrainingSettings:
    """Return a schedule of four short phases, teacher and sorting among them."""
    epochs = {"full": 2, "kernel": 1, "depth1": 1, "expansion1": 1}
    changes = {name: {"epochs": epochs.get(name, 0), "lr": rates * 0.02} for name in PHASES}
    return scheduled("ofa_cpu_short", changes, accelerator="cpu", **settings)


def differences(first: Supernet, second: Supernet) -> tuple[float, float]:
    """Return the greatest difference of two supernets' weights, and the greatest weight."""
    pairs = [(value, second.state_dict()[name]) for name, value in first.state_dict().items()]
    most = max(float((one - other).abs().max()) for one, other in pairs)
    return most, max(float(one.abs().max()) for one, _ in pairs)


@pytest.mark.slow
def test_two_processes_are_one_with_the_doubled_batch(
    space: SearchSpace, dataset: ImageDataset, tmp_path: Path
) -> None:
    dataset.train = dataset.train.take(np.arange(100))
    # Batch norms see 16 images in both: one process shares its 32 out to two threads.
    one, two, fresh = Supernet(space), Supernet(space), Supernet(space)
    reports: list[StepReport] = []
    alone = train_supernet(one, space, dataset, shrinking(2.0, batch_size=32, threads=2))
    path = tmp_path / "checkpoint.safetensors"
    settings = shrinking(1.0, batch_size=16, devices=2)
    losses = train_supernet(two, space, dataset, settings, checkpoint=path, on_step=reports.append)
    assert losses == pytest.approx(alone, rel=1e-3)
    difference, greatest = differences(one, two)
    changed, _ = differences(one, fresh)
    assert difference < 1e-3 * greatest
    assert changed > 100 * difference
    assert len(reports) == reports[0].total == 5 * 3
    assert reports[0].phase == "full"
    # Only one of them writes.
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_an_error_in_a_process_is_an_error_here(space: SearchSpace, dataset: ImageDataset) -> None:
    supernet = Supernet(space)
    with torch.no_grad():
        supernet.slot("stem").get_parameter("conv.weight").fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan in phase sandwich, epoch 1, step 1"):
        train_supernet(supernet, space, dataset, TrainingSettings(epochs=1, devices=2))


def test_bfloat16_trains(space: SearchSpace, dataset: ImageDataset) -> None:
    settings = TrainingSettings(epochs=3, batch_size=32, lr=0.05, threads=2)
    exact, mixed = Supernet(space), Supernet(space)
    train_supernet(exact, space, dataset, settings)
    losses = train_supernet(mixed, space, dataset, replace(settings, precision="bf16-mixed"))
    assert losses[-1] < losses[0]
    difference, _ = differences(exact, mixed)
    assert difference > 0
    assert all(value.dtype == torch.float32 for value in mixed.state_dict().values())


def test_reports_are_handed_on_and_errors_kept() -> None:
    told: list[object] = []

    def on_step(report: object) -> None:
        told.append(report)
        if report == 2:
            raise ValueError("of the listener")

    def read(*reports: object) -> list[Exception]:
        queue: SimpleQueue[object] = SimpleQueue()
        for report in (*reports, None):
            queue.put(report)
        errors: list[Exception] = []
        processes._read_reports(queue, on_step, errors)
        return errors

    assert [str(error) for error in read(1, 2, 3)] == ["of the listener"]
    assert told == [1, 2]  # a listener that failed is not called again
    failure = TrainingError("of a process")
    assert read(4, failure) == [failure]
    assert told == [1, 2, 4]


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(job: object) -> None:
        del job
        raise ProcessExitedException("signal SIGKILL", 1, 17, -9, "SIGKILL")

    monkeypatch.setattr(processes, "fabric_of", lambda _: SimpleNamespace(launch=die))
    settings = TrainingSettings(epochs=1, devices=2)
    with pytest.raises(TrainingError, match="a training process ended before its work: signal"):
        processes.launch(list, torch.nn.Linear(2, 2), settings, None)


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = TrainingSettings(epochs=1)
    assert accelerator_of(settings) == "cpu"
    with pytest.raises(TrainingError, match="accelerator gpu: this torch finds none"):
        accelerator_of(replace(settings, accelerator="gpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert accelerator_of(settings) == "gpu"
    assert accelerator_of(replace(settings, accelerator="cpu")) == "cpu"
    with pytest.raises(UsageError, match="accelerator=tpu, devices=0, precision=16"):
        TrainingSettings(epochs=1, accelerator="tpu", devices=0, precision="16")


def test_spaces_travel_by_their_parameters(space: SearchSpace) -> None:
    again = pickle.loads(pickle.dumps(space))  # noqa: S301  # our own bytes
    assert again.fingerprint == space.fingerprint
    odd = SearchSpace("odd", (Gene("a", (1, 2)),), (), parameters={}, n_classes=2)
    with pytest.raises(SpaceError, match="odd is made of no preset"):
        pickle.dumps(odd)
