"""Which networks the comparison on Fashion-MNIST trains, how, and where their results lie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.core.files import write_json
from edgenas.oneshot.data import load_dataset
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.evaluate import accuracy
from edgenas.oneshot.finetune import train_alone
from edgenas.oneshot.settings import TrainingSettings, scheduled
from edgenas.spaces import fold
from edgenas.spaces.base import SearchSpace

SCHEDULE = "ofa_cpu_sandwich"
SPACE = "mbv3_tiny"
RESOLUTION = 28
SEED = 0
FAMILIES = {
    "mobilenet_v2_tiny": (0.1, 0.15, 0.25, 0.35, 0.5),
    "mobilenet_v3_large_tiny": (0.1, 0.15, 0.25, 0.35, 0.5),
    "mobilenet_v3_small_tiny": (0.15, 0.25, 0.35, 0.5, 0.75, 1.0),
}
"""Widths by family, those whose networks take about as long as networks of the space do."""


def recipe(threads: int) -> TrainingSettings:
    """Return how everything is trained: the schedule, and alone as long as all of its phases.

    The phases of the width, which the space does not have, are left out.
    """
    changes = {phase: {"epochs": 0} for phase in ("width1", "width2")}
    return scheduled(SCHEDULE, changes, threads=threads)


@dataclass(frozen=True)
class Network:
    """An architecture of a space."""

    space: SearchSpace
    row: Genes

    @cached_property
    def id(self) -> str:
        """Name of its files."""
        return f"{self.space.name}-{self.space.architectures(self.row[None])[0].id}"

    def about(self) -> dict[str, Any]:
        """Return what it is, as JSON values."""
        population = self.row[None]
        return {
            "space": self.space.name,
            "config": self.space.describe(self.row),
            "n_macs": int(fold.macs(self.space)(population)[0]),
            "n_params": int(fold.params(self.space)(population)[0]),
        }


class Work:
    """The folder of the comparison: what is there is not made again.

    Args:
        folder: results and checkpoints.
        data: source of the images, as a job file names it.
        threads: of training.
    """

    def __init__(self, folder: Path, data: str, threads: int) -> None:
        self.folder, self.data, self.threads = folder, data, threads
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def dataset(self) -> ImageDataset:
        """The images: train, validation (a part of the official training images) and test."""
        return load_dataset(self.data)

    def families(self) -> list[Network]:
        """Return the MobileNets, so that the first ones already span the range of sizes."""
        found: list[Network] = []
        for name, widths in FAMILIES.items():
            space = spaces.get(name)
            rows = [space.parse({"width": w, "resolution": RESOLUTION}) for w in widths]
            found += [Network(space, row) for row in rows]
        order = np.random.default_rng(SEED).permutation(len(found))
        return [found[i] for i in order]

    def read(self, name: str) -> Any:
        """Return a result, None if there is none yet."""
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def train_alone(self, network: Network) -> None:
        """Train one network from fresh weights and write its accuracies."""
        name = f"alone/{network.id}"
        if self.read(f"{name}.json"):
            return
        settings, times_s = recipe(self.threads).alone(), list[float]()
        module = train_alone(
            network.space,
            network.row,
            self.dataset,
            settings,
            seed=SEED,
            checkpoint=self.folder / f"{name}.checkpoint",
            on_step=lambda report: times_s.append(report.step_s),
        )
        result = {**network.about(), **self.accuracies(module), "epochs": settings.epochs}
        write_json(self.folder / f"{name}.json", {**result, "last_part_s": round(sum(times_s), 1)})
        (self.folder / f"{name}.checkpoint").unlink()
        print(network.id, result)

    def accuracies(self, module: Any) -> dict[str, float]:
        """Return the accuracy on the validation and the test images."""
        dataset = self.dataset
        return {
            "validation_accuracy": accuracy(module, dataset, dataset.validation),
            "test_accuracy": accuracy(module, dataset, dataset.open_test()),
        }
