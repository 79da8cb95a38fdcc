"""How a supernet is trained and a network fine-tuned; presets for the built-in data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgenas.core.errors import UsageError, choices
from edgenas.oneshot.phases import Phase, phases_of
from edgenas.oneshot.schedules import phases_named
from edgenas.spaces.base import SearchSpace

ACCELERATORS = ("auto", "cpu", "gpu")
PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Settings of one training run.

    Attributes:
        epochs: passes over the training images, those of all phases together.
        batch_size: images a step and process; the last, partial batch of an epoch is left out.
        lr: peak learning rate, reached after the warm-up, for a batch of one process: with n
            processes, whose batches make one step together, the rate is n times that.
        warmup_fraction: of all steps, linear from zero; then a cosine down to zero.
        momentum: Nesterov's.
        weight_decay: of convolution and linear weights only.
        label_smoothing: for the losses that see labels.
        max_gradient_norm: gradients are scaled down to it; None leaves them.
        n_random_subnets: random architectures a step, beside the largest and the smallest.
        augment: whether training images are augmented as their data set allows.
        threads: each takes an equal share of every batch; another number, another result. For
            the CPU only.
        accelerator: ``cpu``, ``gpu`` (CUDA), or ``auto``: a GPU where there is one.
        devices: processes that train together, on a GPU each or on the CPU.
        precision: ``32-true``, or ``bf16-mixed``: networks compute in bfloat16, weights stay
            float32.
        checkpoint_minutes: the state is also kept in the middle of an epoch, this long after the
            last time; changes no result.
        phases: of a schedule; none is the sandwich, one phase that the settings above make.
    """

    epochs: int
    batch_size: int = 64
    lr: float = 0.1
    warmup_fraction: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.1
    max_gradient_norm: float | None = 5.0
    n_random_subnets: int = 1
    augment: bool = True
    threads: int = 1
    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    checkpoint_minutes: float = 10.0
    phases: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        rules = {
            "epochs": self.epochs >= 0,
            "batch_size": self.batch_size >= 2,
            "lr": self.lr > 0,
            "warmup_fraction": 0 <= self.warmup_fraction < 1,
            "momentum": 0 < self.momentum < 1,
            "weight_decay": self.weight_decay >= 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "max_gradient_norm": self.max_gradient_norm is None or self.max_gradient_norm > 0,
            "n_random_subnets": self.n_random_subnets >= 0,
            "threads": self.threads >= 1,
            "accelerator": self.accelerator in ACCELERATORS,
            "devices": self.devices >= 1,
            "precision": self.precision in PRECISIONS,
            "checkpoint_minutes": self.checkpoint_minutes >= 0,
        }
        broken = [f"{name}={getattr(self, name)}" for name, kept in rules.items() if not kept]
        if broken:
            raise UsageError(f"training settings out of range: {', '.join(broken)}")
        if self.phases and self.epochs != sum(phase.epochs for phase in self.phases):
            raise UsageError(
                f"epochs={self.epochs}, but the phases have "
                f"{sum(phase.epochs for phase in self.phases)}; change those of the phases"
            )

    def plan(self) -> tuple[Phase, ...]:
        """Return the phases of a supernet's training, one at least."""
        if self.phases:
            return self.phases
        settings: dict[str, Any] = {"epochs": self.epochs, "lr": self.lr, "elastic": None}
        n_subnets = self.n_random_subnets
        return (Phase(name="sandwich", rule="sandwich", n_subnets=n_subnets, **settings),)

    def alone(self, space: SearchSpace | None = None) -> TrainingSettings:
        """Return the settings for one network: as many epochs, in one phase.

        Args:
            space: only the phases that it has something for count; by default all do.
        """
        phases = self.plan() if space is None else phases_of(space, self.plan())
        epochs = sum(phase.epochs for phase in phases)
        return replace(self, phases=(), epochs=epochs, n_random_subnets=0)


SUPERNET_PRESETS = {
    "digits": TrainingSettings(epochs=28, lr=0.2),
    "fashion-mnist": TrainingSettings(epochs=10, lr=0.2),
}
"""Supernet training by data set, for spaces of the size of ``mbv3_tiny``."""

FINETUNING_PRESETS = {
    "digits": TrainingSettings(epochs=10, lr=0.02, n_random_subnets=0),
    "fashion-mnist": TrainingSettings(epochs=3, lr=0.02, n_random_subnets=0),
}
"""Fine-tuning of one extracted network by data set."""

CANDIDATE_PRESETS = {
    "digits": TrainingSettings(epochs=9, lr=0.1, n_random_subnets=0),
    "fashion-mnist": TrainingSettings(epochs=3, lr=0.1, n_random_subnets=0),
}
"""Training of each candidate of a search from fresh weights, long enough to rank them."""

PRESETS = {
    "supernet": SUPERNET_PRESETS,
    "finetune": FINETUNING_PRESETS,
    "candidate": CANDIDATE_PRESETS,
}
_STEPS_OF_UNKNOWN = {"supernet": 4000, "finetune": 1000, "candidate": 1000}


def preset(kind: str, dataset_name: str, n_train: int) -> TrainingSettings:
    """Return settings for a data set; an unknown one trains for as many steps as a known one.

    Args:
        kind: ``supernet``, ``finetune`` or ``candidate``.
        dataset_name: as in `ImageDataset.name`.
        n_train: number of training images.
    """
    presets = PRESETS[kind]
    if dataset_name in presets:
        return presets[dataset_name]
    known = presets["fashion-mnist"]
    steps_an_epoch = max(1, n_train // known.batch_size)
    return replace(known, epochs=max(1, round(_STEPS_OF_UNKNOWN[kind] / steps_an_epoch)))


def scheduled(
    schedule: str,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    **settings: Any,
) -> TrainingSettings:
    """Return the settings of a schedule of phases, other than the sandwich.

    Args:
        schedule: a name in `edgenas.oneshot.schedules.SCHEDULES`.
        changes: new values for fields of `Phase`, by the phase's name.
        settings: fields of `TrainingSettings`; epochs and rates are those of the phases.

    Raises:
        UsageError: no such schedule, phase or field, or a value out of range.
    """
    phases = phases_named(schedule)
    if not phases:
        raise UsageError(f"{schedule} has no phases that could be set; make TrainingSettings")
    names = [phase.name for phase in phases]
    for name in changes or {}:
        if name not in names:
            raise UsageError(f"{schedule} has no phase {name!r}; {choices(name, names)}")
    changed = tuple(replace(phase, **(changes or {}).get(phase.name, {})) for phase in phases)
    recipe = {"weight_decay": 3e-5, "max_gradient_norm": None if schedule == "ofa" else 5.0}
    epochs = sum(phase.epochs for phase in changed)
    given = {**recipe, **settings, "epochs": epochs, "lr": changed[0].lr, "n_random_subnets": 0}
    return TrainingSettings(phases=changed, **given)
