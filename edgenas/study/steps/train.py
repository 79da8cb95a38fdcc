"""Step 2: one supernet whose weights all architectures of the space share, where one is wanted."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas.core.errors import StorageError
from edgenas.core.files import sha256_of, write_json
from edgenas.oneshot.description import load_description
from edgenas.oneshot.phases import phases_of
from edgenas.oneshot.settings import TrainingSettings, preset
from edgenas.profiling.progress import Progress
from edgenas.study.chain import Step
from edgenas.study.context import SUPERNET, Run
from edgenas.study.run_folder import digest_of
from edgenas.study.steps import differentiable

if TYPE_CHECKING:
    from edgenas.oneshot.optimisation import OnStep, StepReport
    from edgenas.oneshot.supernet import Supernet

_VERSION = 2
TRAINING = "train/training.json"
TIMING = "train/timing.json"
"""Seconds a step: told in the report, and no output, as no two runs take the same time."""


def settings_of(run: Run) -> TrainingSettings:
    """Return how the supernet is trained: the data set's preset, changed as the job says."""
    if run.job.search.differentiable is not None:
        return differentiable.settings_of(run).training
    dataset = run.dataset
    return run.job.training.over(preset("supernet", dataset.name, len(dataset.train)))


def decisive(settings: TrainingSettings) -> dict[str, Any]:
    """Return what decides the result of training; another number of threads is no other job."""
    return {**asdict(settings), "threads": None, "checkpoint_minutes": None}


def counting(what: str, progress: Progress, times_s: list[float]) -> OnStep:
    """Return a callback of training that reports steps and collects their times."""

    def on_step(report: StepReport) -> None:
        times_s.append(report.step_s)
        place = f"{report.phase}, epoch {report.epoch} of {report.n_epochs}"
        progress(f"{what}: {place}", report.done, report.total)

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


def _by_phase(run: Run, settings: TrainingSettings, losses: list[float]) -> dict[str, Any]:
    """Return what each phase of the training did, and the phases that the space has no use for."""
    if run.job.search.differentiable is not None:
        n_warmup = differentiable.settings_of(run).warmup_epochs
        parts = {"warm-up": losses[:n_warmup], "search": losses[n_warmup:]}
        named = [{"name": k, "epochs": len(v), "losses": v} for k, v in parts.items() if v]
        return {"phases": named, "passed_over": []}
    carried = phases_of(run.space, settings.plan())
    left = iter(losses)
    phases = [
        {"name": phase.name, "epochs": phase.epochs, "losses": list(islice(left, phase.epochs))}
        for phase in carried
    ]
    lacking = [phase.name for phase in settings.plan() if phase.epochs and phase not in carried]
    return {"phases": phases, "passed_over": lacking}


def _inputs(run: Run) -> dict[str, Any]:
    if not run.job.trains_supernet:
        return {"supernet": None}
    if run.job.training.weights is not None:
        described = load_description(Path(run.job.training.weights))
        return {"weights": described.sha256, "data": run.dataset.fingerprint}
    own = {"data": run.dataset.fingerprint, "space": run.space.fingerprint}
    if run.job.search.differentiable is not None:
        learned = {"differentiable": differentiable.decisive(run), "tables": _tables(run)}
        return {**own, **learned, "seed": run.job.training.seed}
    return {**own, "training": decisive(settings_of(run)), "seed": run.job.training.seed}


def _tables(run: Run) -> dict[str, str]:
    """Return the checksums of the tables whose costs a differentiable search reads."""
    return {name: one.table.passport.checksum for name, one in run.searched_models.items()}


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    if not run.job.trains_supernet:
        return []  # a supernet that lies there is an earlier job's, which may come back
    if run.job.training.weights is not None:
        return _take_over(run, Path(run.job.training.weights))
    if _is_trained(run):
        return _outputs(run)
    from edgenas.oneshot.supernet import Supernet, save_supernet
    from edgenas.oneshot.training import check_fit, train_supernet

    settings, seed = settings_of(run), run.job.training.seed
    checkpoint = checkpoint_path(run, "supernet", _inputs(run))
    times_s: list[float] = []
    on_step = counting("training the supernet", progress, times_s)
    if run.job.search.differentiable is not None:
        check_fit(run.space, run.dataset)
        weights = differentiable.settings_of(run).weights
        supernet = Supernet(run.space, seed=seed, weights=weights)
        losses = differentiable.search_supernet(run, supernet, checkpoint, _identity(run), on_step)
    else:
        supernet = Supernet(run.space, seed=seed)
        losses = train_supernet(
            supernet,
            run.space,
            run.dataset,
            settings,
            seed=seed,
            checkpoint=checkpoint,
            on_step=on_step,
        )
    save_supernet(supernet, run.folder / SUPERNET)
    write_json(
        run.folder / TRAINING,
        {
            "settings": asdict(settings),
            "seed": seed,
            "losses": losses,
            **_by_phase(run, settings, losses),
            "validation_accuracy": _extremes(run, supernet, settings),
            "made_from": _made_from(run),
            "sha256": sha256_of(run.folder / SUPERNET),
            **_learned(run),
        },
    )
    if times_s:
        timing = {"n_steps": len(times_s), "median_step_s": statistics.median(times_s)}
        write_json(run.folder / TIMING, timing)
    drop_checkpoints(run, "supernet")
    run.__dict__.pop("supernet", None)
    return _outputs(run)


def _outputs(run: Run) -> Sequence[Path]:
    found = [run.folder / SUPERNET, run.folder / TRAINING]
    is_learned = run.job.search.differentiable is not None
    return [*found, run.folder / differentiable.LEARNED] if is_learned else found


def _learned(run: Run) -> dict[str, str]:
    """Return the hash of what a differentiable search learned: it belongs to these weights."""
    if run.job.search.differentiable is None:
        return {}
    return {"learned_sha256": sha256_of(run.folder / differentiable.LEARNED)}


def _identity(run: Run) -> str:
    """Return a hash of all that decides a training to the last bit."""
    from edgenas.oneshot.processes import accelerator_of

    settings = settings_of(run)
    where = {"threads": settings.threads, "accelerator": accelerator_of(settings)}
    return digest_of({"made_from": _made_from(run), **where})


def _made_from(run: Run) -> str:
    """Return a hash of all that decides the trained supernet."""
    return digest_of({"version": _VERSION, **_inputs(run)})


def _is_trained(run: Run) -> bool:
    """Return whether the supernet that this job trains lies there, whole, since an earlier job.

    The step's record cannot tell: a job without a supernet has been in the folder since.
    """
    try:
        training = run.read(TRAINING)
        made_from, sha256 = training["made_from"], training["sha256"]
    except (StorageError, KeyError, TypeError):
        return False
    kept = {SUPERNET: sha256}
    if run.job.search.differentiable is not None:
        kept[differentiable.LEARNED] = training.get("learned_sha256")
    return made_from == _made_from(run) and all(
        (run.folder / name).is_file() and sha256_of(run.folder / name) == found
        for name, found in kept.items()
    )


def _take_over(run: Run, weights: Path) -> Sequence[Path]:
    """Make the run's supernet of imported weights; nothing is trained.

    Raises:
        StorageError: the weights are not what their description says.
        DataError: the images have other channels or classes.
    """
    from edgenas.oneshot.ofa_import import load_imported
    from edgenas.oneshot.supernet import save_supernet
    from edgenas.oneshot.training import check_fit

    check_fit(run.space, run.dataset)
    _, supernet = load_imported(weights)
    supernet.check_space(run.space)
    save_supernet(supernet, run.folder / SUPERNET)
    description, settings = load_description(weights), settings_of(run)
    write_json(
        run.folder / TRAINING,
        {
            "weights": {**description.source.model_dump(mode="json"), "imported": str(weights)},
            "settings": asdict(replace(settings, epochs=0, phases=())),
            "seed": run.job.training.seed,
            "losses": [],
            "phases": [],
            "passed_over": [],
            "validation_accuracy": _extremes(run, supernet, settings),
        },
    )
    run.__dict__.pop("supernet", None)
    return [run.folder / SUPERNET, run.folder / TRAINING]


def _extremes(run: Run, supernet: Supernet, settings: TrainingSettings) -> dict[str, float | None]:
    """Return the accuracy of the largest and the smallest network, None without labels."""
    if not run.dataset.is_labelled:
        return {"largest": None, "smallest": None}
    from edgenas.evaluators.accuracy import SharedWeightsAccuracy

    evaluator = SharedWeightsAccuracy(supernet, run.space, run.dataset, threads=settings.threads)
    extremes = np.stack([run.space.largest(), run.space.smallest()])
    largest, smallest = evaluator.evaluate(run.space.architectures(extremes))
    return {
        "largest": largest.values.get("accuracy"),
        "smallest": smallest.values.get("accuracy"),
    }


def _summary(run: Run) -> str:
    if not run.job.trains_supernet:
        return "no supernet: the search needs none"
    training = run.read(TRAINING)
    found = training["validation_accuracy"]
    shares = [
        f"{name} {found[name]:.1%}" for name in ("largest", "smallest") if found[name] is not None
    ]
    if "weights" in training:
        text = f"weights of {training['weights']['file']}, not trained"
        return f"{text}; validation accuracy: {', '.join(shares)}" if shares else text
    phases = [f"{phase['name']} {phase['epochs']}" for phase in training["phases"]]
    passed = training["passed_over"]
    text = f"epochs: {', '.join(phases) or 'none'}; "
    if run.job.search.differentiable is not None:
        text += f"{differentiable.summary(run)}; "
    if passed:
        text += f"passed over, as the space lacks what they open: {', '.join(passed)}; "
    return f"{text}validation accuracy: {', '.join(shares)}"


TRAIN = Step(name="train", needs=(), version=_VERSION, inputs=_inputs, make=_make, summary=_summary)
