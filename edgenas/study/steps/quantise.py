"""Step 7: whether the pick bears its precision, and training that rounds where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas.core.files import scratch_folder, write_json
from edgenas.core.precision import CODED
from edgenas.exporters.calibration import calibrate
from edgenas.oneshot.settings import TrainingSettings
from edgenas.profiling.progress import Progress
from edgenas.study.chain import Step
from edgenas.study.context import Run
from edgenas.study.steps.finetune import FINETUNING, settings_of
from edgenas.study.steps.finetune import load_model as load_finetuned
from edgenas.study.steps.train import checkpoint_path, counting, decisive, drop_checkpoints
from edgenas.study.steps.written import (
    calibration_images,
    file_accuracy,
    inputs_of,
    own_exporter,
    request_of,
    unanswered_reason,
    what_fits,
)

if TYPE_CHECKING:
    from edgenas.lowering.torch import GraphModule

QUANTISED = "quantised.json"
WEIGHTS = "quantised.safetensors"
"""Of the pick without batch norms; only where it was trained on."""
_LR_SHARE = 0.1
_N_COMPARED = 64


def load_model(run: Run) -> GraphModule:
    """Return the picked network with the weights that are written."""
    module = load_finetuned(run)
    if not run.read(QUANTISED)["is_kept"]:
        return module
    from edgenas.lowering.torch import folded
    from edgenas.oneshot.supernet import load_into

    module = folded(module)
    load_into(module, run.folder / WEIGHTS)
    return module.eval()


def _settings(run: Run) -> TrainingSettings:
    """Return how a pick that loses too much is trained on."""
    section, usual = run.job.finetune.quantised, settings_of(run)
    lr = section.lr or usual.lr * _LR_SHARE
    return replace(usual, epochs=section.epochs, lr=lr, phases=())


def _reason(run: Run) -> str | None:
    """Return why nothing is asked here, None if the file is held against the network."""
    if run.job.device.precision not in CODED:
        return f"{run.job.device.precision} has no codes"
    if run.job.finetune.quantised.most_lost_points is None:
        return "the job wants none"
    if not run.dataset.is_labelled:
        return "the images have no labels"
    if run.job.training.weights is not None and not run.job.finetune.epochs:
        return "weights that were imported are not trained"
    return unanswered_reason(own_exporter(run))


def _inputs(run: Run) -> dict[str, Any]:
    if _reason(run) is not None:
        return {"reason": _reason(run)}
    return {
        "precision": run.job.device.precision,
        "most_lost_points": run.job.finetune.quantised.most_lost_points,
        "seed": run.job.finetune.quantised.seed,
        "training": decisive(_settings(run)),
        "recipe": own_exporter(run).recipe.model_dump(mode="json"),
        "data": run.dataset.fingerprint,
    }


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    (run.folder / WEIGHTS).unlink(missing_ok=True)
    reason = _reason(run)
    if reason is not None:
        return _write(run, {"is_kept": False, "reason": reason})
    module = load_finetuned(run)
    known = _known(run, module)
    before = _accuracy(run, module)
    found: dict[str, Any] = {
        "is_kept": False,
        "reason": None,
        "network_accuracy": known,
        "file_accuracy": before,
        "trained_file_accuracy": None,
    }
    most = run.job.finetune.quantised.most_lost_points
    if most is None or 100 * (known - before) <= most:
        return _write(run, found)
    trained = _trained(run, module, progress)
    after = _accuracy(run, trained)
    found |= {"trained_file_accuracy": after, "settings": asdict(_settings(run))}
    outputs: list[Path] = []
    if after > before:
        from edgenas.oneshot.checkpoint import write_tensors

        write_tensors(run.folder / WEIGHTS, trained.state_dict(), {})
        found["is_kept"] = True
        outputs = [run.folder / WEIGHTS]
    drop_checkpoints(run, "quantise")
    return [*_write(run, found), *outputs]


def _write(run: Run, content: dict[str, Any]) -> list[Path]:
    write_json(run.folder / QUANTISED, content)
    return [run.folder / QUANTISED]


def _known(run: Run, module: GraphModule) -> float:
    """Return what the network gets right of the images that its file is run on."""
    shown = what_fits(module, run.dataset.validation)
    if len(shown) == len(run.dataset.validation):
        return float(run.read(FINETUNING)["validation_accuracy"])
    from edgenas.oneshot.evaluate import accuracy

    return accuracy(module, run.dataset, shown)


def _accuracy(run: Run, module: GraphModule) -> float:
    """Return what the network's file gets right of the validation images."""
    validation = what_fits(module, run.dataset.validation)
    inputs = inputs_of(run, module, validation)
    request, exporter = request_of(run, module, inputs[:_N_COMPARED]), own_exporter(run)
    with scratch_folder() as folder:
        path = folder / f"pick{exporter.suffix}"
        exporter.export(request, path)
        return file_accuracy(exporter, path, inputs, validation.labels.astype(np.int64))


def _trained(run: Run, module: GraphModule, progress: Progress) -> GraphModule:
    from edgenas.oneshot.quantised import train_quantised

    inputs = _inputs(run)
    return train_quantised(
        module,
        run.space,
        run.dataset,
        _settings(run),
        ranges=_ranges(run, module),
        seed=run.job.finetune.quantised.seed,
        checkpoint=checkpoint_path(run, "quantise", inputs),
        on_step=counting("training the pick in 8 bits", progress, []),
    )


def _ranges(run: Run, module: GraphModule) -> dict[str, tuple[float, float]] | None:
    """Return the ranges of the pick's values; None where only weights have codes."""
    settings = own_exporter(run).recipe.calibration
    if settings is None:
        return None
    from edgenas.lowering.torch import folded_weights

    images = calibration_images(run, module)
    assert images is not None  # noqa: S101  # a recipe asks for them
    return dict(calibrate(module.graph, folded_weights(module), images, settings).ranges)


def _summary(run: Run) -> str:
    found = run.read(QUANTISED)
    if found["reason"] is not None:
        return f"not needed: {found['reason']}"
    text = (
        f"the {run.job.device.precision} file gets {found['file_accuracy']:.2%} of the validation "
        f"images right, the network {found['network_accuracy']:.2%}"
    )
    if found["trained_file_accuracy"] is None:
        return text
    after = f"{found['trained_file_accuracy']:.2%}"
    kept = "taken" if found["is_kept"] else "no better: left"
    return f"{text}; trained on in 8 bits {after}, {kept}"


QUANTISE = Step(
    name="quantise",
    needs=("finetune",),
    version=1,
    inputs=_inputs,
    make=_make,
    summary=_summary,
)
