"""Supernet training: determinism, continuation to the bit, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgenas import spaces
from edgenas.core.errors import DataError, StorageError, TrainingError, UsageError
from edgenas.oneshot.data import ImageDataset
from edgenas.oneshot.gradients import Share
from edgenas.oneshot.optimisation import Lesson, StepReport, learning_rate, optimiser, train
from edgenas.oneshot.phases import Phase
from edgenas.oneshot.settings import FINETUNING_PRESETS, TrainingSettings, preset
from edgenas.oneshot.supernet import Supernet
from edgenas.oneshot.training import train_supernet
from edgenas.spaces.base import SearchSpace


class _Killed(BaseException):
    """Stands for the end of the process."""


def test_training_learns_and_reports_every_step(
    space: SearchSpace, dataset: ImageDataset, settings: TrainingSettings
) -> None:
    reports: list[StepReport] = []
    losses = train_supernet(
        Supernet(space), space, dataset, replace(settings, epochs=3), on_step=reports.append
    )
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert [(r.epoch, r.step) for r in reports] == [(e, s) for e in (1, 2, 3) for s in range(1, 7)]
    assert {(r.n_epochs, r.n_steps) for r in reports} == {(3, 6)}
    assert all(r.step_s > 0 for r in reports)


def test_the_seed_decides_the_weights(
    space: SearchSpace, dataset: ImageDataset, settings: TrainingSettings, trained: Supernet
) -> None:
    again, other = Supernet(space), Supernet(space)
    train_supernet(again, space, dataset, settings)
    train_supernet(other, space, dataset, settings, seed=1)
    weights, name = trained.state_dict(), "stem.conv.weight"
    assert all(torch.equal(value, weights[key]) for key, value in again.state_dict().items())
    assert not torch.equal(other.state_dict()[name], weights[name])


@pytest.mark.parametrize("at", [(1, 3), (2, 1), (2, 6)])
def test_a_killed_run_goes_on_to_the_same_bits(
    space: SearchSpace,
    dataset: ImageDataset,
    settings: TrainingSettings,
    trained: Supernet,
    tmp_path: Path,
    at: tuple[int, int],
) -> None:
    path = tmp_path / "checkpoint.safetensors"

    def kill(report: StepReport) -> None:
        if (report.epoch, report.step) == at:
            raise _Killed

    with pytest.raises(_Killed):
        train_supernet(Supernet(space), space, dataset, settings, checkpoint=path, on_step=kill)
    assert path.exists() == (at[0] > 1)
    supernet = Supernet(space, seed=99)  # what a new process starts from does not matter ...
    if at[0] == 1:
        supernet = Supernet(space)  # ... once there is a checkpoint
    reports: list[StepReport] = []
    losses = train_supernet(
        supernet, space, dataset, settings, checkpoint=path, on_step=reports.append
    )
    assert reports[0].epoch == at[0]
    assert len(losses) == 2
    weights = trained.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in supernet.state_dict().items())
    assert list(tmp_path.iterdir()) == [path]


def test_shares_of_a_batch_go_to_threads_and_the_result_is_repeatable(
    space: SearchSpace, dataset: ImageDataset, settings: TrainingSettings, trained: Supernet
) -> None:
    shared = replace(settings, threads=2)
    first, again = Supernet(space), Supernet(space)
    threads = torch.get_num_threads()
    losses = train_supernet(first, space, dataset, shared)
    assert train_supernet(again, space, dataset, shared) == losses
    assert torch.get_num_threads() == threads
    states = first.state_dict(), again.state_dict()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    alone = trained.state_dict()  # batch norms saw twice as many images
    assert not torch.equal(states[0]["stem.conv.weight"], alone["stem.conv.weight"])
    assert losses[-1] < losses[0]


def test_gradients_are_means_over_the_whole_batch(dataset: ImageDataset) -> None:
    def losses(share: Share) -> Iterator[torch.Tensor]:
        inputs = share.images.flatten(1) / 255
        yield torch.nn.functional.cross_entropy(module(inputs), share.labels)
        yield module(inputs).square().mean()

    weights = []
    for threads in (1, 3):
        module = torch.nn.Linear(64, 10)
        with torch.no_grad():
            module.weight.zero_()
            module.bias.zero_()
        settings = TrainingSettings(epochs=2, batch_size=32, threads=threads, augment=False)
        phase = Phase(name="linear", epochs=2, lr=0.1, rule="largest")
        lesson = Lesson(phase, losses, lambda _: (8, 8))
        train(module, dataset, settings, [lesson], identity="", seed=0)
        weights.append(module.weight.detach())
    torch.testing.assert_close(*weights)


def test_a_finished_run_is_not_trained_again(
    space: SearchSpace, dataset: ImageDataset, settings: TrainingSettings, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    short = replace(settings, epochs=1)
    losses = train_supernet(Supernet(space), space, dataset, short, checkpoint=path)
    reports: list[StepReport] = []
    again = train_supernet(
        Supernet(space), space, dataset, short, checkpoint=path, on_step=reports.append
    )
    assert (again, reports) == (losses, [])


def test_checkpoints_of_other_runs_and_damaged_ones_are_refused(
    space: SearchSpace, dataset: ImageDataset, settings: TrainingSettings, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    short = replace(settings, epochs=1)
    train_supernet(Supernet(space), space, dataset, short, checkpoint=path)
    with pytest.raises(StorageError, match="is of another run"):
        train_supernet(Supernet(space), space, dataset, settings, checkpoint=path)
    with pytest.raises(StorageError, match="is of another run"):
        train_supernet(Supernet(space), space, dataset, short, seed=1, checkpoint=path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(StorageError, match="delete it to train from the beginning"):
        train_supernet(Supernet(space), space, dataset, short, checkpoint=path)


def test_a_folder_that_cannot_be_written_is_a_storage_error(
    space: SearchSpace, dataset: ImageDataset, settings: TrainingSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        train_supernet(
            Supernet(space),
            space,
            dataset,
            replace(settings, epochs=1),
            checkpoint=tmp_path / "file" / "checkpoint.safetensors",
        )


def test_divergence_stops_the_run(
    space: SearchSpace, dataset: ImageDataset, settings: TrainingSettings
) -> None:
    supernet = Supernet(space)
    with torch.no_grad():
        supernet.slot("stem").get_parameter("conv.weight").fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan in phase sandwich, epoch 1"):
        train_supernet(supernet, space, dataset, settings)


def test_data_that_do_not_fit_the_space_are_refused(
    dataset: ImageDataset, settings: TrainingSettings
) -> None:
    space = spaces.get("mbv3_tiny", n_classes=7)
    with pytest.raises(DataError, match="give the space input_channels=1 and n_classes=10"):
        train_supernet(Supernet(space), space, dataset, settings)


def test_only_kernels_decay(space: SearchSpace, settings: TrainingSettings) -> None:
    supernet = Supernet(space)
    decayed, free = optimiser(supernet, settings).param_groups
    names = {id(parameter): name for name, parameter in supernet.named_parameters()}
    assert decayed["weight_decay"] > 0
    assert free["weight_decay"] == 0
    assert all(names[id(p)].endswith(".weight") and p.ndim > 1 for p in decayed["params"])
    assert any("kernel_transform" in names[id(p)] for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    rates = [learning_rate(0.5, 0.1, step, 100) for step in range(101)]
    assert max(rates) == pytest.approx(0.5)
    assert rates.index(max(rates)) == 10
    assert rates[0] == pytest.approx(0.5 / 11)
    assert rates[100] == pytest.approx(0)
    assert learning_rate(0.5, 0.0, 0, 1) == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", -1), ("lr", 0.0), ("batch_size", 1), ("threads", 0), ("label_smoothing", 1.0)],
)
def test_settings_out_of_range_are_named(name: str, value: float) -> None:
    good = {"epochs": 1, "lr": 0.1, "batch_size": 8, "threads": 1, "label_smoothing": 0.0}
    with pytest.raises(UsageError, match=f"{name}={value}"):
        TrainingSettings(**{**good, name: value})  # type: ignore[arg-type]


def test_unknown_data_sets_train_for_as_many_steps_as_known_ones() -> None:
    assert preset("finetune", "digits", 1259) is FINETUNING_PRESETS["digits"]
    small, large = (preset("supernet", "npz:x", n) for n in (1_000, 100_000))
    assert small.epochs > large.epochs >= 1
