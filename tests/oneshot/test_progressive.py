"""Progressive shrinking: its phases, its teacher, and kills at any moment that change no bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edgenas.core.errors import StorageError
from edgenas.lowering.torch import GraphModule
from edgenas.oneshot import lessons
from edgenas.oneshot.checkpoint import read_checkpoint
from edgenas.oneshot.data import ImageDataset
from edgenas.oneshot.finetune import train_alone
from edgenas.oneshot.optimisation import StepReport
from edgenas.oneshot.settings import TrainingSettings, scheduled
from edgenas.oneshot.supernet import Supernet, extract, save_supernet
from edgenas.oneshot.training import run_identity, train_supernet
from edgenas.spaces.base import SearchSpace
from tests.oneshot.conftest import few_digits, small_space

EPOCHS = {"full": 2, "kernel": 1, "depth1": 1, "depth2": 0, "expansion1": 2, "expansion2": 0}


def shrinking(*, minutes: float = 10.0) -> TrainingSettings:
    changes = {name: {"epochs": epochs} for name, epochs in EPOCHS.items()}
    changes["expansion1"]["batch_size"] = 64
    return scheduled("ofa_cpu_short", changes, batch_size=32, checkpoint_minutes=minutes)


@pytest.fixture(scope="module")
def shrunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an undisturbed run."""
    path = tmp_path_factory.mktemp("shrunk") / "weights.safetensors"
    supernet = Supernet(small_space())
    train_supernet(supernet, small_space(), few_digits(), shrinking())
    save_supernet(supernet, path)
    return path


def test_phases_follow_each_other(space: SearchSpace, dataset: ImageDataset) -> None:
    reports: list[StepReport] = []
    supernet = Supernet(space)
    losses = train_supernet(supernet, space, dataset, shrinking(), on_step=reports.append)
    steps = [("full", 1)] * 6 + [("full", 2)] * 6
    # The space of the tests has one kernel fewer, and no width.
    steps += [("kernel", 1)] * 6 + [("depth1", 1)] * 6
    steps += [("expansion1", 1)] * 3 + [("expansion1", 2)] * 3
    assert [(r.phase, r.epoch) for r in reports] == steps
    assert [r.done for r in reports] == list(range(1, 31))
    assert {r.total for r in reports} == {30}
    assert reports[-1].n_steps == 3
    assert len(losses) == 6
    assert losses[1] < losses[0]
    assert all(np.isfinite(losses))


def test_in_the_first_phase_only_the_full_network_learns(
    space: SearchSpace, dataset: ImageDataset
) -> None:
    changes = {name: {"epochs": int(name == "full")} for name in EPOCHS}
    settings = scheduled("ofa_cpu_short", {**changes, "width1": {"epochs": 0}}, batch_size=32)
    supernet = Supernet(space)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    train_supernet(supernet, space, dataset, settings)
    same = {name for name, value in supernet.state_dict().items() if value.equal(before[name])}
    assert {name for name in before if "kernel_transform" in name} <= same
    assert not {name for name in same if before[name].ndim == 4}


def test_the_teacher_is_the_full_network_as_the_first_phase_left_it(
    space: SearchSpace, dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[dict[str, torch.Tensor]] = []
    sorted_at: list[int] = []
    original = lessons.Class._freeze_teacher

    def freeze(self: lessons.Class) -> None:
        original(self)
        largest = extract(self.supernet, space, space.largest()).state_dict()
        assert self.teacher is not None
        assert all(largest[k].equal(v) for k, v in self.teacher.state_dict().items())
        frozen.append({k: v.clone() for k, v in self.teacher.state_dict().items()})

    monkeypatch.setattr(lessons.Class, "_freeze_teacher", freeze)
    sort = lessons.sort_channels

    def sorting(supernet: Supernet, *, stage: int) -> None:
        sorted_at.append(stage)
        sort(supernet, stage=stage)

    monkeypatch.setattr(lessons, "sort_channels", sorting)
    learners = lessons.Class(Supernet(space), space, dataset, shrinking())
    for lesson in learners.lessons():
        lesson.prepare()
    assert len(frozen) == 1
    assert sorted_at == [0]
    assert learners.teacher is not None
    assert not any(p.requires_grad for p in learners.teacher.parameters())


def kill_at(
    tmp_path: Path, moments: list[tuple[str, int, int]], *, minutes: float
) -> tuple[Path, list[int]]:
    """Train in processes that are killed after the given steps, one process a moment, then one
    that is not; return the weights and how the processes ended."""
    weights, codes = tmp_path / "weights.safetensors", []
    for moment in [*moments, ("none", 0, 0)]:
        command = [sys.executable, __file__, str(tmp_path), str(minutes), *map(str, moment)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        codes.append(subprocess.run(command, env=environment, check=False).returncode)
    return weights, codes


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_in_the_same_bytes(tmp_path: Path, shrunk: Path) -> None:
    # In an epoch; before the first step of a phase is kept, so that the teacher is frozen and the
    # channels are sorted again; in the last step.
    moments = [("full", 1, 3), ("kernel", 1, 1), ("expansion1", 1, 1), ("expansion1", 2, 3)]
    weights, codes = kill_at(tmp_path, moments, minutes=0)
    assert codes == [-signal.SIGKILL] * 4 + [0]
    assert weights.read_bytes() == shrunk.read_bytes()


def test_every_step_is_a_place_to_go_on_from(
    space: SearchSpace, dataset: ImageDataset, shrunk: Path, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def kill(report: StepReport) -> None:
        if report.done % 4 == 0 and report.done not in dead:
            dead.append(report.done)
            raise Killed

    dead: list[int] = []
    path, weights = tmp_path / "checkpoint.safetensors", tmp_path / "weights.safetensors"
    supernet = Supernet(space)
    for attempt in range(9):
        try:
            losses = train_supernet(
                supernet, space, dataset, shrinking(minutes=0), checkpoint=path, on_step=kill
            )
        except Killed:
            supernet = Supernet(space, seed=attempt)  # what it starts from does not matter
    assert dead == [4, 8, 12, 16, 20, 24, 28]
    save_supernet(supernet, weights)
    assert weights.read_bytes() == shrunk.read_bytes()
    assert len(losses) == 6


def test_the_interval_of_checkpoints_decides_nothing(
    space: SearchSpace, dataset: ImageDataset, tmp_path: Path
) -> None:
    often, seldom = shrinking(minutes=0), shrinking(minutes=10)
    assert run_identity(space, dataset, often, seed=0) == run_identity(
        space, dataset, seldom, seed=0
    )
    path = tmp_path / "checkpoint.safetensors"
    places: list[tuple[int, int, int]] = []

    def on_step(report: StepReport) -> None:
        if path.exists():
            identity = run_identity(space, dataset, often, seed=0)
            state = read_checkpoint(path, identity).state
            places.append((state.phase, state.epoch, state.step))

    train_supernet(Supernet(space), space, dataset, seldom, checkpoint=path, on_step=on_step)
    # Only between epochs, as ten minutes do not pass.
    assert {step for _, _, step in places} == {0}
    with pytest.raises(StorageError, match="is of another run"):
        train_supernet(Supernet(space), space, dataset, seldom, seed=1, checkpoint=path)


def test_one_network_alone_is_trained_from_fresh_weights(
    space: SearchSpace, dataset: ImageDataset, tmp_path: Path
) -> None:
    path, row = tmp_path / "checkpoint.safetensors", space.smallest()
    reports: list[StepReport] = []
    module = train_alone(space, row, dataset, shrinking(), checkpoint=path, on_step=reports.append)
    assert (reports[-1].phase, reports[-1].epoch) == ("alone", sum(EPOCHS.values()))
    fresh = GraphModule(space.network(row)).state_dict()
    found = module.state_dict()
    assert not found["stem.conv.weight"].equal(fresh["stem.conv.weight"])
    assert not module.training
    assert not found["stem.conv.norm.running_mean"].equal(fresh["stem.conv.norm.running_mean"])
    again = train_alone(space, row, dataset, shrinking(), checkpoint=path)  # all done: not again
    assert all(value.equal(found[key]) for key, value in again.state_dict().items())


def test_training_can_be_left_off_and_gone_on_with(
    space: SearchSpace, dataset: ImageDataset, tmp_path: Path
) -> None:
    row, whole = space.smallest(), train_alone(space, space.smallest(), dataset, shrinking())
    path, epochs = tmp_path / "checkpoint.safetensors", sum(EPOCHS.values())
    reports: list[StepReport] = []
    for until in (2, 2, 3, epochs, epochs + 1):
        module = train_alone(
            space, row, dataset, shrinking(), until=until, checkpoint=path, on_step=reports.append
        )
        assert reports[-1].epoch == min(until, epochs)
    assert len(reports) == reports[-1].total  # no step twice
    assert all(v.equal(whole.state_dict()[key]) for key, v in module.state_dict().items())
    assert not module.training


def main(folder: Path, minutes: float, phase: str, epoch: int, step: int) -> None:
    """Train, and be killed after a step."""

    def on_step(report: StepReport) -> None:
        if (report.phase, report.epoch, report.step) == (phase, epoch, step):
            os.kill(os.getpid(), signal.SIGKILL)

    supernet = Supernet(small_space())
    train_supernet(
        supernet,
        small_space(),
        few_digits(),
        shrinking(minutes=minutes),
        checkpoint=folder / "checkpoint.safetensors",
        on_step=on_step,
    )
    save_supernet(supernet, folder / "weights.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
