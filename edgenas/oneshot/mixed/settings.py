"""How a differentiable search learns: one set of settings, and the methods as presets of it.

A preset has the figures of its paper. What is common to all trainings here is ours: Nesterov's
momentum, gradients clipped at 5, and rates that fall to 0 along a cosine (DARTS's end at 0.001). A
search on a CPU has a hundredth of the steps: `short` keeps what makes the method and sets its
length and the rate of the logits to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgenas.core.errors import UsageError, choices
from edgenas.oneshot.mixed.loss_settings import LossSettings
from edgenas.oneshot.settings import TrainingSettings
from edgenas.oneshot.sharing import HOW

ORDERS = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage of a search that grows and closes options (P-DARTS).

    Attributes:
        share: of the search epochs.
        options: how many options of every gene are open.
        depth: how many cells of every stage of the network run; None: all.
        skip_dropout: at the stage's beginning; falls to 0 by its end.
    """

    share: float = 1.0
    options: int | None = None
    depth: int | None = None
    skip_dropout: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferentiableSettings:
    """Settings of one search.

    Attributes:
        method: what it is called.
        relaxation: name in `edgenas.oneshot.mixed.relaxations.RELAXATIONS`.
        training: how the weights learn; its epochs are those of warm-up and search.
        warmup_epochs: of these, in which the logits do not learn: all options are equally likely.
        logits_lr: of Adam.
        logits_betas: of Adam.
        logits_weight_decay: of Adam.
        logits_every: steps of the weights for every step of the logits.
        logits_share: of the training images that only the logits see, 0.8 at most; 0: both see
            all, each in batches of its own.
        order: 2 looks one step of the weights ahead (DARTS, equations 6 to 8).
        temperature: of the Gumbel soft-max when the search begins.
        end_temperature: and when it ends; between them it falls by the same factor every step, or
            the same amount with `linear_temperature`.
        linear_temperature: see above.
        loss: what the logits learn.
        n_networks: drawn for a step of the logits that learns from rewards.
        baseline_momentum: of the moving mean of rewards.
        entropy_weight: of the genes' mean entropy in the loss when the search ends, 0 when it
            begins: the probabilities end near the network that is derived from them.
        spread: standard deviation of the first logits.
        channel_parts: see `edgenas.oneshot.mixed.network.How`.
        edges: whether edges of cells have weights of their own.
        stages: of the search; none: one with everything open.
        weights: of the supernet: ``elastic`` or ``separate``.
    """

    method: str
    relaxation: str
    training: TrainingSettings
    warmup_epochs: int = 0
    logits_lr: float = 3e-4
    logits_betas: tuple[float, float] = (0.5, 0.999)
    logits_weight_decay: float = 1e-3
    logits_every: int = 1
    logits_share: float = 0.5
    order: int = 1
    temperature: float = 1.0
    end_temperature: float = 1.0
    linear_temperature: bool = False
    loss: LossSettings = field(default_factory=LossSettings)
    n_networks: int = 10
    baseline_momentum: float = 0.9
    entropy_weight: float = 0.0
    spread: float = 1e-3
    channel_parts: int = 1
    edges: bool = False
    stages: tuple[Stage, ...] = ()
    weights: str = "separate"

    def __post_init__(self) -> None:
        low, high = self.logits_betas
        rules = {
            "warmup_epochs": 0 <= self.warmup_epochs < self.training.epochs,
            "logits_lr": self.logits_lr > 0,
            "logits_betas": 0 <= low < 1 and 0 <= high < 1,
            "logits_weight_decay": self.logits_weight_decay >= 0,
            "logits_every": self.logits_every >= 1,
            "logits_share": 0 <= self.logits_share <= 0.8,
            "order": self.order in ORDERS,
            "temperature": self.temperature > 0,
            "end_temperature": self.end_temperature > 0,
            "n_networks": self.n_networks >= 1,
            "baseline_momentum": 0 <= self.baseline_momentum < 1,
            "entropy_weight": self.entropy_weight >= 0,
            "spread": self.spread >= 0,
            "channel_parts": self.channel_parts >= 1,
            "weights": self.weights in HOW,
            "stages": all(stage.share > 0 for stage in self.stages),
        }
        if self.relaxation == "score_function":
            rules["order"] = self.order == 1
            rules["loss"] = self.loss.form == "none"
        broken = [f"{name}={getattr(self, name)}" for name, kept in rules.items() if not kept]
        if broken:
            raise UsageError(
                f"settings of {self.method} out of range: {', '.join(broken)}; epochs are "
                f"{self.training.epochs}, those of the warm-up among them"
            )

    @property
    def search_epochs(self) -> int:
        """Epochs in which the logits learn."""
        return self.training.epochs - self.warmup_epochs

    def temperature_at(self, progress: float) -> float:
        """Return the temperature when a share of the search is over."""
        first, last = self.temperature, self.end_temperature
        if self.linear_temperature:
            return first + (last - first) * progress
        return float(first * (last / first) ** progress)

    def stage_at(self, progress: float) -> tuple[int, Stage, float]:
        """Return the number of the stage in which a search stands, it, and how far it is in it."""
        if not self.stages:
            return 0, Stage(), progress
        whole, before = sum(stage.share for stage in self.stages), 0.0
        for number, stage in enumerate(self.stages):
            share = stage.share / whole
            is_last = number + 1 == len(self.stages)
            if progress < before + share - 1e-9 or is_last:
                return number, stage, min(1.0, (progress - before) / share)
            before += share
        raise AssertionError


def _training(epochs: int, **settings: Any) -> TrainingSettings:
    own: dict[str, Any] = {"warmup_fraction": 0.0, "label_smoothing": 0.0, "n_random_subnets": 0}
    return TrainingSettings(epochs=epochs, **{**own, **settings})


def _darts(method: str, **settings: Any) -> DifferentiableSettings:
    """Return a search with the recipe of DARTS (Liu et al. 2019, arXiv:1806.09055, A.1)."""
    training = _training(50, lr=0.025, weight_decay=3e-4)
    own: dict[str, Any] = {"relaxation": "softmax", "training": training}
    return DifferentiableSettings(method=method, **{**own, **settings})


def _proxylessnas(method: str, **settings: Any) -> DifferentiableSettings:
    """Return a search with the recipe of ProxylessNAS and its code.

    Cai et al. 2019, arXiv:1812.00332, section 4.2.
    """
    recipe = {"lr": 0.05, "weight_decay": 4e-5, "label_smoothing": 0.1, "batch_size": 256}
    own: dict[str, Any] = {
        "training": _training(160, **recipe),
        "warmup_epochs": 40,
        "logits_lr": 1e-3,
        "logits_betas": (0.0, 0.999),
        "logits_weight_decay": 0.0,
        "logits_every": 5,
        "logits_share": 0.1,
        "loss": LossSettings(form="sum"),  # the paper's; its code has the two other ones
    }
    return DifferentiableSettings(method=method, **{**own, **settings})


METHODS: Mapping[str, DifferentiableSettings] = {
    # Wu et al. 2019 (FBNet), arXiv:1812.03443, sections 3.3 and 4.
    "fbnet": DifferentiableSettings(
        method="fbnet",
        relaxation="gumbel_softmax",
        training=_training(90, lr=0.1, weight_decay=1e-4, batch_size=192),
        warmup_epochs=10,
        logits_lr=0.01,
        logits_betas=(0.9, 0.999),
        logits_weight_decay=5e-4,
        logits_share=0.2,
        temperature=5.0,
        end_temperature=5.0 * 0.956**80,
        loss=LossSettings(form="fbnet"),
    ),
    "proxylessnas": _proxylessnas("proxylessnas", relaxation="two_paths"),
    "proxylessnas_full": _proxylessnas("proxylessnas_full", relaxation="binary_gates"),
    "proxylessnas_reinforce": _proxylessnas(
        "proxylessnas_reinforce", relaxation="score_function", loss=LossSettings()
    ),
    "darts": _darts("darts"),
    "darts_second": _darts("darts_second", order=2),
    # Dong and Yang 2019 (GDAS), arXiv:1910.04465, section 4.2.
    "gdas": _darts(
        "gdas",
        relaxation="gumbel_hard",
        training=_training(240, lr=0.025, weight_decay=3e-4),
        temperature=10.0,
        end_temperature=0.1,
        linear_temperature=True,
    ),
    # Xie et al. 2019 (SNAS), arXiv:1812.09926, section 3: one level, weights and logits together.
    "snas": _darts(
        "snas",
        relaxation="gumbel_softmax",
        training=_training(150, lr=0.025, weight_decay=3e-4),
        logits_share=0.0,
        temperature=1.0,
        end_temperature=0.03,
    ),
    # Xu et al. 2020 (PC-DARTS), arXiv:1907.05737, section 4.2.
    "pc_darts": _darts(
        "pc_darts",
        training=_training(50, lr=0.1, weight_decay=3e-4, batch_size=256),
        warmup_epochs=15,
        logits_lr=6e-4,
        channel_parts=4,
        edges=True,
    ),
    # Chen et al. 2019 (P-DARTS), arXiv:1904.12760, section 4.2: three stages of 25 epochs, 8, 5 and
    # 3 of 8 operators, dropout of skips 0, 0.4 and 0.7. Ours: genes have fewer options, so that 4
    # and 3 stay open; 2 and 4 cells, then all; one warm-up at the beginning, not one a stage; and
    # weights and logits go on from stage to stage, where the paper begins anew.
    "p_darts": _darts(
        "p_darts",
        training=_training(75, lr=0.025, weight_decay=3e-4, batch_size=96),
        warmup_epochs=10,
        logits_lr=6e-4,
        stages=(
            Stage(depth=2),
            Stage(options=4, depth=4, skip_dropout=0.4),
            Stage(options=3, skip_dropout=0.7),
        ),
    ),
}
"""Settings by method, those of its paper."""


def method(name: str) -> DifferentiableSettings:
    """Return the settings of a method's paper.

    Raises:
        UsageError: no such method.
    """
    if name not in METHODS:
        raise UsageError(f"no differentiable method {name!r}; {choices(name, METHODS)}")
    return METHODS[name]


def short(
    settings: DifferentiableSettings, *, epochs: int = 15, warmup_epochs: int = 5
) -> DifferentiableSettings:
    """Return the settings for a search of a few thousand steps on one CPU.

    Weights learn as those of the built-in supernets do. The logits' rate makes up for there being
    fewer steps: Adam moves a logit by about its rate a step, and they have to move by some units.
    """
    training = replace(settings.training, epochs=epochs, lr=0.1, batch_size=64, warmup_fraction=0.1)
    return replace(
        settings,
        training=training,
        warmup_epochs=warmup_epochs,
        logits_lr=0.05,
        logits_every=min(2, settings.logits_every),
        weights="elastic",
    )
