"""How a supernet is trained and a network fine-tuned; presets for the built-in data sets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgenas.core.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Settings of one training run.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step; the last, partial batch of an epoch is left out.
        lr: peak learning rate, reached after the warm-up.
        warmup_fraction: of all steps, linear from zero; then a cosine down to zero.
        momentum: Nesterov's.
        weight_decay: of convolution and linear weights only.
        label_smoothing: for the losses that see labels.
        max_gradient_norm: gradients are scaled down to it.
        n_random_subnets: random architectures a step, beside the largest and the smallest.
        augment: whether training images are augmented as their data set allows.
        threads: each takes an equal share of every batch; another number, another result.
    """

    epochs: int
    batch_size: int = 64
    lr: float = 0.1
    warmup_fraction: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.1
    max_gradient_norm: float = 5.0
    n_random_subnets: int = 1
    augment: bool = True
    threads: int = 1

    def __post_init__(self) -> None:
        rules = {
            "epochs": self.epochs >= 0,
            "batch_size": self.batch_size >= 2,
            "lr": self.lr > 0,
            "warmup_fraction": 0 <= self.warmup_fraction < 1,
            "momentum": 0 < self.momentum < 1,
            "weight_decay": self.weight_decay >= 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "max_gradient_norm": self.max_gradient_norm > 0,
            "n_random_subnets": self.n_random_subnets >= 0,
            "threads": self.threads >= 1,
        }
        broken = [f"{name}={getattr(self, name)}" for name, kept in rules.items() if not kept]
        if broken:
            raise UsageError(f"training settings out of range: {', '.join(broken)}")


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

_STEPS_OF_UNKNOWN = {"supernet": 4000, "finetune": 1000}


def preset(kind: str, dataset_name: str, n_train: int) -> TrainingSettings:
    """Return settings for a data set; an unknown one trains for as many steps as a known one.

    Args:
        kind: ``supernet`` or ``finetune``.
        dataset_name: as in `ImageDataset.name`.
        n_train: number of training images.
    """
    presets = SUPERNET_PRESETS if kind == "supernet" else FINETUNING_PRESETS
    if dataset_name in presets:
        return presets[dataset_name]
    known = presets["fashion-mnist"]
    steps_an_epoch = max(1, n_train // known.batch_size)
    return replace(known, epochs=max(1, round(_STEPS_OF_UNKNOWN[kind] / steps_an_epoch)))
