"""What becomes of the picks: fine-tuned from their supernet, and trained alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.differentiable.comparison_runs import DATA, Folder, images, picked_by
from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.core.files import write_json
from edgenas.oneshot.evaluate import accuracy
from edgenas.oneshot.finetune import finetune, train_alone
from edgenas.oneshot.settings import FINETUNING_PRESETS, TrainingSettings
from edgenas.oneshot.supernet import load_supernet

FINETUNING: TrainingSettings = FINETUNING_PRESETS[DATA]
ALONE = replace(FINETUNING, epochs=12, lr=0.1)
"""Recipes, the same for every pick."""


def finish(folder: Folder, space_name: str, seed: int, kind: str) -> None:
    """Add test accuracies to the picks from a supernet, where they have none yet.

    The same network picked twice from one supernet is trained once.
    """
    space, dataset = spaces.get(space_name), images()
    path = folder.supernet(space_name, seed, kind)
    known: dict[tuple[int, ...], dict[str, Any]] = {}
    for name in picked_by(kind):
        result_path = folder.path(space_name, seed, name)
        result = folder.read(result_path)
        for pick in result["picks"]:
            key = tuple(pick["genes"])
            if "alone" in pick:
                known[key] = {one: pick[one] for one in ("finetuned", "alone")}
                continue
            if key not in known:
                row: Genes = np.array(key, dtype=np.int8)
                supernet = load_supernet(space, path)
                tuned = finetune(supernet, space, row, dataset, FINETUNING, seed=seed, distil=False)
                alone = train_alone(space, row, dataset, ALONE, seed=seed)
                test = dataset.open_test()
                known[key] = {
                    "finetuned": accuracy(tuned, dataset, test),
                    "alone": accuracy(alone, dataset, test),
                }
            pick.update(known[key])
            write_json(result_path, result)
            told = [space_name, seed, name, pick["budget_ms"], known[key]]
            print(*told, flush=True)
