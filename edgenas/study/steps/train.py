"""Step 2: one supernet whose weights all architectures of the space share."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas.core.files import write_json
from edgenas.oneshot.settings import TrainingSettings, preset
from edgenas.profiling.progress import Progress
from edgenas.study.chain import Step
from edgenas.study.context import SUPERNET, Run
from edgenas.study.run_folder import digest_of

if TYPE_CHECKING:
    from edgenas.oneshot.optimisation import OnStep, StepReport

TRAINING = "train/training.json"
TIMING = "train/timing.json"
"""Seconds a step: told in the report, and no output, as no two runs take the same time."""


def settings_of(run: Run) -> TrainingSettings:
    """Return how the supernet is trained: the data set's preset, changed as the job says."""
    dataset = run.dataset
    return run.job.training.over(preset("supernet", dataset.name, len(dataset.train)))


def counting(what: str, progress: Progress, times_s: list[float]) -> OnStep:
    """Return a callback of training that reports steps and collects their times."""

    def on_step(report: StepReport) -> None:
        times_s.append(report.step_s)
        done = (report.epoch - 1) * report.n_steps + report.step
        progress(what, done, report.n_epochs * report.n_steps)

    return on_step


def checkpoint_path(run: Run, kind: str, inputs: dict[str, Any]) -> Path:
    """Return where to keep the state of unfinished training; other inputs, another file."""
    import torch

    digest = digest_of({**inputs, "torch": torch.__version__})
    return run.folder / f"checkpoints/{kind}-{digest[:16]}.safetensors"


def drop_checkpoints(run: Run, kind: str) -> None:
    """Remove what finished training leaves behind."""
    for path in (run.folder / "checkpoints").glob(f"{kind}-*"):
        path.unlink(missing_ok=True)
    if not any((run.folder / "checkpoints").glob("*")):
        shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)


def _inputs(run: Run) -> dict[str, Any]:
    return {
        "data": run.dataset.fingerprint,
        "space": run.space.fingerprint,
        "training": {**asdict(settings_of(run)), "threads": None},  # they change rounding only
        "seed": run.job.training.seed,
    }


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    from edgenas.evaluators.accuracy import SharedWeightsAccuracy
    from edgenas.oneshot.supernet import Supernet, save_supernet
    from edgenas.oneshot.training import train_supernet

    settings, seed = settings_of(run), run.job.training.seed
    supernet = Supernet(run.space, seed=seed)
    times_s: list[float] = []
    losses = train_supernet(
        supernet,
        run.space,
        run.dataset,
        settings,
        seed=seed,
        checkpoint=checkpoint_path(run, "supernet", _inputs(run)),
        on_step=counting("training the supernet", progress, times_s),
    )
    evaluator = SharedWeightsAccuracy(supernet, run.space, run.dataset, threads=settings.threads)
    extremes = np.stack([run.space.largest(), run.space.smallest()])
    largest, smallest = evaluator.evaluate(run.space.architectures(extremes))
    save_supernet(supernet, run.folder / SUPERNET)
    write_json(
        run.folder / TRAINING,
        {
            "settings": asdict(settings),
            "seed": seed,
            "losses": losses,
            "validation_accuracy": {
                "largest": largest.values.get("accuracy"),
                "smallest": smallest.values.get("accuracy"),
            },
        },
    )
    if times_s:
        timing = {"n_steps": len(times_s), "median_step_s": statistics.median(times_s)}
        write_json(run.folder / TIMING, timing)
    drop_checkpoints(run, "supernet")
    run.__dict__.pop("supernet", None)
    return [run.folder / SUPERNET, run.folder / TRAINING]


def _summary(run: Run) -> str:
    training = run.read(TRAINING)
    found = training["validation_accuracy"]
    shares = [
        f"{name} {found[name]:.1%}" for name in ("largest", "smallest") if found[name] is not None
    ]
    return f"{training['settings']['epochs']} epochs; validation accuracy: {', '.join(shares)}"


TRAIN = Step(name="train", needs=(), version=1, inputs=_inputs, make=_make, summary=_summary)
