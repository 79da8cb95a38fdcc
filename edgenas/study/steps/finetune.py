"""Step 6: the picked network gets weights of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenas.core.files import sha256_of, write_json
from edgenas.oneshot.settings import TrainingSettings, preset
from edgenas.profiling.progress import Progress
from edgenas.study.chain import Step
from edgenas.study.context import SUPERNET, Run
from edgenas.study.steps.pick import picked
from edgenas.study.steps.train import checkpoint_path, counting, decisive, drop_checkpoints

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


def settings_of(run: Run) -> TrainingSettings:
    """Return how the pick is trained on: not at all where its weights come from elsewhere."""
    dataset = run.dataset
    if not run.shares_weights:
        whole = preset("supernet", dataset.name, len(dataset.train))
        return run.job.finetune.over(whole.alone())
    usual = preset("finetune", dataset.name, len(dataset.train))
    if run.job.training.weights is not None:
        usual = replace(usual, epochs=0)
    return run.job.finetune.over(usual)


def _inputs(run: Run) -> dict[str, Any]:
    return {
        "data": run.dataset.fingerprint,
        "space": run.space.fingerprint,  # the same genes are another network in another space
        "finetune": decisive(settings_of(run)),
        "seed": run.job.finetune.seed,
        "genes": list(picked(run).genes),
        **({} if run.job.search.differentiable is None else {"distil": False}),
    }


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    from edgenas.oneshot.checkpoint import write_tensors
    from edgenas.oneshot.evaluate import accuracy

    settings, arch = settings_of(run), picked(run)
    module = _finetuned(run, progress) if run.shares_weights else _alone(run, progress)
    module.eval()
    found = None
    if run.dataset.is_labelled:
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


def _finetuned(run: Run, progress: Progress) -> GraphModule:
    """Return the pick with the supernet's weights, trained on."""
    from edgenas.oneshot.finetune import finetune

    weights_id = sha256_of(run.folder / SUPERNET)
    decisive = {**_inputs(run), "supernet": weights_id}
    return finetune(
        run.supernet,
        run.space,
        picked(run).row,
        run.dataset,
        settings_of(run),
        seed=run.job.finetune.seed,
        # The largest network is no teacher where it was never trained as one network.
        distil=run.job.search.differentiable is None,
        weights_id=weights_id,
        checkpoint=checkpoint_path(run, "finetune", decisive),
        on_step=counting("fine-tuning the pick", progress, []),
    )


def _alone(run: Run, progress: Progress) -> GraphModule:
    """Return the pick of a search without shared weights, trained from fresh ones."""
    from edgenas.oneshot.finetune import train_alone

    return train_alone(
        run.space,
        picked(run).row,
        run.dataset,
        settings_of(run),
        seed=run.job.finetune.seed,
        checkpoint=checkpoint_path(run, "finetune", {**_inputs(run), "alone": True}),
        on_step=counting("training the pick", progress, []),
    )


def _summary(run: Run) -> str:
    content = run.read(FINETUNING)
    found, epochs = content["validation_accuracy"], content["settings"]["epochs"]
    text = f"{epochs} epochs" if epochs else "only batch norm statistics measured"
    return text if found is None else f"{text}; validation accuracy {found:.2%}"


FINETUNE = Step(
    name="finetune",
    needs=("train",),
    version=1,
    inputs=_inputs,
    make=_make,
    summary=_summary,
)
