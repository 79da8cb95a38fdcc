"""Step 5: the picked network gets weights of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenas.core.files import sha256_of, write_json
from edgenas.oneshot.settings import TrainingSettings, preset
from edgenas.profiling.progress import Progress
from edgenas.study.chain import Step
from edgenas.study.context import SUPERNET, Run
from edgenas.study.steps.pick import picked
from edgenas.study.steps.train import checkpoint_path, counting, drop_checkpoints

if TYPE_CHECKING:
    from edgenas.lowering.torch import GraphModule

WEIGHTS = "model.safetensors"
FINETUNING = "finetune.json"


def load_model(run: Run) -> GraphModule:
    """Return the picked network with its own weights."""
    from edgenas.lowering.torch import GraphModule
    from edgenas.oneshot.supernet import load_into

    module = GraphModule(run.space.network(picked(run).row))
    load_into(module, run.folder / WEIGHTS)
    module.eval()
    return module


def _settings(run: Run) -> TrainingSettings:
    dataset = run.dataset
    return run.job.finetune.over(preset("finetune", dataset.name, len(dataset.train)))


def _inputs(run: Run) -> dict[str, Any]:
    return {
        "data": run.dataset.fingerprint,
        "finetune": {**asdict(_settings(run)), "threads": None},  # they change rounding only
        "seed": run.job.finetune.seed,
        "genes": list(picked(run).genes),
    }


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    from edgenas.oneshot.checkpoint import write_tensors
    from edgenas.oneshot.evaluate import accuracy
    from edgenas.oneshot.finetune import finetune

    settings, arch = _settings(run), picked(run)
    weights_id = sha256_of(run.folder / SUPERNET)
    decisive = {**_inputs(run), "supernet": weights_id}
    module = finetune(
        run.supernet,
        run.space,
        arch.row,
        run.dataset,
        settings,
        seed=run.job.finetune.seed,
        weights_id=weights_id,
        checkpoint=checkpoint_path(run, "finetune", decisive),
        on_step=counting("fine-tuning the pick", progress, []),
    )
    module.eval()
    found = accuracy(module, run.dataset, run.dataset.validation)
    write_tensors(run.folder / WEIGHTS, module.state_dict(), {"architecture": arch.id})
    write_json(
        run.folder / FINETUNING,
        {
            "id": arch.id,
            "settings": asdict(settings),
            "seed": run.job.finetune.seed,
            "validation_accuracy": found,
        },
    )
    drop_checkpoints(run, "finetune")
    return [run.folder / WEIGHTS, run.folder / FINETUNING]


def _summary(run: Run) -> str:
    content = run.read(FINETUNING)
    epochs = content["settings"]["epochs"]
    return f"{epochs} epochs; validation accuracy {content['validation_accuracy']:.2%}"


FINETUNE = Step(
    name="finetune",
    needs=("train",),
    version=1,
    inputs=_inputs,
    make=_make,
    summary=_summary,
)
