"""Candidates trained alone: repeatable, resumed, stopped early, inherited; failures as values."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgenas import spaces
from edgenas.core.architecture import Architecture
from edgenas.core.errors import (
    DataError,
    FatalCandidateError,
    SpaceError,
    TrainingError,
    UsageError,
)
from edgenas.core.evaluation import Evaluation
from edgenas.evaluators.attempts import MAX_DEATHS, attempt
from edgenas.evaluators.memory import is_out_of_memory
from edgenas.evaluators.stopping import Curve, StoppingRule, SuccessiveHalving
from edgenas.evaluators.trained import TrainedAccuracy
from edgenas.lowering.torch import GraphModule
from edgenas.oneshot.data import ImageDataset, load_dataset
from edgenas.oneshot.evaluate import accuracy
from edgenas.oneshot.finetune import train_alone
from edgenas.oneshot.optimisation import StepReport
from edgenas.oneshot.settings import TrainingSettings
from edgenas.spaces.base import SearchSpace
from tests.oneshot.conftest import small_space

SETTINGS = TrainingSettings(epochs=4, batch_size=16, lr=0.05)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return small_space()


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    return load_dataset("digits").with_fewer(256)


def trained(folder: Path, **changes: Any) -> TrainedAccuracy:
    given = {"settings": SETTINGS, "folder": folder, **changes}
    dataset = given.pop("dataset", None) or load_dataset("digits").with_fewer(256)
    return TrainedAccuracy(small_space(), dataset, given.pop("settings"), **given)


def sample(space: SearchSpace, n: int, seed: int = 0) -> list[Architecture]:
    return space.architectures(space.sample(n, np.random.default_rng(seed)))


class After(StoppingRule):
    """Ends chosen architectures, by their cost, after one epoch."""

    def __init__(self, ended: set[float]) -> None:
        self.ended = ended
        self.known: list[Curve] = []

    def looks(self, n_epochs: int) -> tuple[int, ...]:
        return (1,)

    def judge(
        self, known: Sequence[Curve], asked: Sequence[Curve], epoch: int, n_epochs: int
    ) -> list[str | None]:
        self.known = list(known)
        return ["not wanted" if curve.costs[0] in self.ended else None for curve in asked]


def number(rows: np.ndarray) -> np.ndarray:
    """A cost that no two architectures have in common, shape (n, 1)."""
    return (rows @ 4.0 ** np.arange(rows.shape[1]))[:, None]


def test_the_accuracy_is_that_of_training_alone_whoever_looks_in_between(
    space: SearchSpace, dataset: ImageDataset, tmp_path: Path
) -> None:
    (arch,) = sample(space, 1)
    module = train_alone(space, arch.row, dataset, SETTINGS)
    expected = accuracy(module, dataset, dataset.validation)
    (plain,) = trained(tmp_path / "a").evaluate([arch])
    assert plain == Evaluation(
        arch, "complete", {"accuracy": expected, "accuracy_epoch_4": expected}
    )
    (looked,) = trained(tmp_path / "b", stopping=SuccessiveHalving(2)).evaluate([arch])
    assert looked.values["accuracy"] == expected
    names = [f"accuracy_epoch_{epoch}" for epoch in (1, 2, 4)]
    assert list(looked.values) == ["accuracy", *names]
    assert looked.values["accuracy_epoch_1"] < expected
    assert not list((tmp_path / "b").glob("*.checkpoint"))


def test_a_rule_ends_trainings_and_sees_what_came_before(
    space: SearchSpace, tmp_path: Path
) -> None:
    archs = sample(space, 6)
    ends = {float(number(arch.row[None])[0, 0]) for arch in archs[1:3]}
    rule = After(ends)
    evaluator = trained(tmp_path, stopping=rule, costs=number)
    found = evaluator.evaluate(archs[:4])
    states = [evaluation.status for evaluation in found]
    assert states == ["complete", "stopped", "stopped", "complete"]
    for evaluation in found[1:3]:
        assert evaluation.error == "stopped after epoch 1 of 4: not wanted"
        assert evaluation.values["accuracy"] == evaluation.values["accuracy_epoch_1"]
        assert "accuracy_epoch_4" not in evaluation.values
    evaluator.evaluate(archs[4:5])
    assert len(rule.known) == 4
    # Another process knows as much once it is told.
    other = After(ends)
    again = trained(tmp_path / "other", stopping=other, costs=number)
    again.recall(found)
    again.evaluate(archs[4:5])
    assert other.known == rule.known


@pytest.mark.parametrize(("rule", "epoch"), [("none", 3), ("halving", 2), ("halving", 4)])
def test_a_killed_process_is_gone_on_from(
    space: SearchSpace, tmp_path: Path, rule: str, epoch: int
) -> None:
    (arch,) = sample(space, 1)
    (whole,) = trained(tmp_path / "whole", stopping=RULES[rule]).evaluate([arch])
    place = str(tmp_path / "cut")
    code = f"from tests.evaluators.test_trained import main; main({place!r}, {rule!r}, {epoch})"
    process = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert list((tmp_path / "cut").glob("*.checkpoint"))
    steps: list[StepReport] = []
    again = trained(tmp_path / "cut", stopping=RULES[rule], on_step=steps.append)
    assert again.evaluate([arch]) == [whole]
    assert steps[0].epoch == epoch  # those before are not trained again
    assert not list((tmp_path / "cut").glob("*"))


def test_a_checkpoint_past_a_look_that_nobody_noted_is_trained_again(
    space: SearchSpace, tmp_path: Path
) -> None:
    (arch,) = sample(space, 1)
    main_folder = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        trained(main_folder, on_step=interrupting(4)).evaluate([arch])
    (whole,) = trained(tmp_path / "whole", stopping=SuccessiveHalving(2)).evaluate([arch])
    # Now somebody looks after the first epoch, too, and the checkpoint is in the fourth.
    assert trained(main_folder, stopping=SuccessiveHalving(2)).evaluate([arch]) == [whole]


RULES = {"none": None, "halving": SuccessiveHalving(2)}


def interrupting(epoch: int) -> Callable[[StepReport], None]:
    """A callback that ends the training when it comes to an epoch."""

    def on_step(report: StepReport) -> None:
        if report.epoch == epoch:
            raise KeyboardInterrupt

    return on_step


def main(folder: str, rule: str, epoch: int) -> None:
    """Train a candidate, and be killed in an epoch."""

    def on_step(report: StepReport) -> None:
        if report.epoch == epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    evaluator = trained(Path(folder), stopping=RULES[rule], on_step=on_step)
    evaluator.evaluate(sample(small_space(), 1))


def test_what_goes_wrong_with_one_candidate_stays_with_it(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = TrainingSettings(epochs=2, batch_size=64, lr=1e15, max_gradient_norm=None)
    archs = sample(space, 2)
    unfit = Architecture(space.name, (0, 1))
    evaluator = trained(tmp_path, settings=wild)
    found = evaluator.evaluate([archs[0], unfit])
    assert [evaluation.status for evaluation in found] == ["failed", "failed"]
    assert "the loss is" in str(found[0].error)
    assert "SpaceError" in str(found[1].error)

    def full(*_: object, **__: object) -> GraphModule:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("edgenas.evaluators.trained.train_alone", full)
    (found_full,) = trained(tmp_path).evaluate(archs[1:])
    assert (found_full.status, found_full.error) == (
        "failed",
        "OutOfMemoryError: CUDA out of memory",
    )
    assert not list(tmp_path.glob("*.attempt.json"))
    with pytest.raises(SpaceError, match="given to"):
        evaluator.evaluate([Architecture("elsewhere", (0,))])

    def broken(*_: object, **__: object) -> GraphModule:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    # What is wrong with all of them, or with edgenas, is no value of one.
    monkeypatch.setattr("edgenas.evaluators.trained.train_alone", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        trained(tmp_path).evaluate(archs)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (OSError("Cannot allocate memory"), False),
    ],
)
def test_memory_that_ran_out_is_told_by_kind_and_words(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


def test_a_candidate_that_kills_its_process_again_and_again_has_failed(tmp_path: Path) -> None:
    note, checkpoint = tmp_path / "a.attempt.json", tmp_path / "a.checkpoint"
    dead = []

    def die() -> None:
        dead.append(attempt(note, checkpoint))
        dead[-1].__enter__()  # and never leaves

    def tries() -> None:
        with attempt(note, checkpoint):
            pass

    for _ in range(MAX_DEATHS):
        die()
    with pytest.raises(FatalCandidateError, match="3 processes in a row were killed"):
        tries()
    assert not note.exists()
    for i in range(MAX_DEATHS):  # but none that gets on in between
        die()
        checkpoint.write_bytes(b"")
        os.utime(checkpoint, ns=(i, i))
    tries()
    for _ in range(MAX_DEATHS):  # nor before the machine was started anew
        die()
    found = json.loads(note.read_text())
    note.write_text(json.dumps({**found, "place": {**found["place"], "host": "before"}}))
    tries()
    note.write_text("damaged")
    tries()


def test_a_process_that_is_told_to_end_leaves_no_note(tmp_path: Path) -> None:
    note = tmp_path / "a.attempt.json"

    def end() -> None:
        with attempt(note, tmp_path / "a.checkpoint"):
            assert note.exists()
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        end()
    assert not note.exists()


def test_children_begin_with_their_parents_weights(
    space: SearchSpace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small, large = space.architectures(np.stack([space.smallest(), space.largest()]))
    parents = {large: small}
    one = TrainingSettings(epochs=1, batch_size=16, lr=0.02)
    long = TrainingSettings(epochs=16, batch_size=16, lr=0.05)
    trained(tmp_path / "a", settings=long, parent_of=parents.get).evaluate([small])
    (alone,) = trained(tmp_path / "b", settings=one).evaluate([large])
    (heir,) = trained(tmp_path / "a", settings=one, parent_of=parents.get).evaluate([large])
    assert heir.values["accuracy"] > alone.values["accuracy"] + 0.1
    # A parent whose weights are gone leaves a fresh start, and that is said.
    orphan = trained(tmp_path / "c", settings=one, parent_of=parents.get)
    assert orphan.evaluate([large]) == [alone]
    assert f"those of its parent {small.id} are not in" in caplog.text


def test_fewer_images_are_always_the_same_ones(space: SearchSpace, tmp_path: Path) -> None:
    whole = load_dataset("digits")
    few = whole.with_fewer(128)
    assert (len(few.train), len(whole.train)) == (128, len(load_dataset("digits").train))
    assert few.fingerprint not in (whole.fingerprint, whole.with_fewer(129).fingerprint)
    assert np.array_equal(few.train.labels, whole.with_fewer(128).train.labels)
    assert few.normalisation == whole.normalisation
    (arch,) = sample(space, 1)
    given = trained(tmp_path / "a", dataset=few).evaluate([arch])
    asked = trained(tmp_path / "b", dataset=whole, n_train_images=128).evaluate([arch])
    assert given == asked
    with pytest.raises(UsageError, match=r"99999 training images asked of digits; allowed: 2 to"):
        whole.with_fewer(99999)


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="accelerator gpu"):
        trained(tmp_path, settings=replace(SETTINGS, accelerator="gpu"))
    with pytest.raises(UsageError, match="1 epoch at least"):
        trained(tmp_path, settings=TrainingSettings(epochs=0))
    space = spaces.get("mbv3_tiny", resolutions=(12,), input_channels=3)
    with pytest.raises(DataError, match="channels"):
        TrainedAccuracy(space, load_dataset("digits"), SETTINGS, folder=tmp_path)
