"""The training step with a schedule: what it records, tells and goes on from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from edgenas.oneshot.settings import TrainingSettings
from edgenas.study.context import Run
from edgenas.study.job import load_job
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps.train import TRAIN, TRAINING, decisive
from tests.tiny_job import write_job

PHASES = (
    "training:\n"
    "  schedule: ofa_cpu_short\n"
    "  batch_size: 128\n"
    "  phases: {full: {epochs: 1}, kernel: {epochs: 1}, depth1: {epochs: 0}, depth2: {epochs: 0},\n"
    "    expansion1: {epochs: 1}, expansion2: {epochs: 0}}\n"
)


def test_a_schedule_is_recorded_and_told_by_phase(tmp_path: Path) -> None:
    path = write_job(tmp_path, ("training: {epochs: 1, batch_size: 128}\n", PHASES))
    run = Run(RunFolder(tmp_path / "run"), load_job(path))
    told: list[tuple[str, int, int]] = []
    TRAIN.make(run, lambda what, done, total: told.append((what, done, total)))
    assert list(dict.fromkeys(what for what, _, _ in told)) == [
        f"training the supernet: {name}, epoch 1 of 1" for name in ("full", "kernel", "expansion1")
    ]
    assert [done for _, done, _ in told] == list(range(1, told[0][2] + 1))
    content = json.loads((run.folder / TRAINING).read_text())
    assert [phase["name"] for phase in content["phases"]] == ["full", "kernel", "expansion1"]
    assert [loss for phase in content["phases"] for loss in phase["losses"]] == content["losses"]
    assert content["passed_over"] == ["width1", "width2"]
    summary = TRAIN.summary(run)
    assert "full 1, kernel 1, expansion1 1" in summary
    assert "passed over, as the space lacks what they open: width1, width2" in summary
    assert not list((run.folder / "checkpoints").glob("*"))


def test_threads_and_intervals_make_no_other_job() -> None:
    settings = TrainingSettings(epochs=3)
    same = replace(settings, threads=2, checkpoint_minutes=1.0)
    assert decisive(settings) == decisive(same)
    assert decisive(settings) != decisive(replace(settings, precision="bf16-mixed"))
