"""Schedules by name: the paper's phases, and phases that one CPU has the time for.

Cai et al. 2020 (Once-for-All), arXiv:1908.09791, section 4.1, and the authors' public code:
kernels, then depths (two of them, then all), then expansions, with 1, 2 and 4 networks a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from edgenas.core.errors import UsageError, choices
from edgenas.oneshot.phases import Opening, Phase


@dataclass(frozen=True, slots=True)
class _Pace:
    """Epochs, peak rate and warm-up epochs of one phase."""

    epochs: int
    lr: float
    warmup_epochs: int = 0


def _shrinking(full: _Pace, *paces: _Pace, distillation: float = 1.0) -> tuple[Phase, ...]:
    """Return the phases of progressive shrinking: full, kernel, then two for each of the rest."""
    kernel: dict[str, Opening] = {"resolution": "all", "kernel": "all"}
    depth: dict[str, Opening] = {**kernel, "depth": "all"}
    expansion: dict[str, Opening] = {**depth, "expansion": "all"}
    steps: list[tuple[str, dict[str, Opening], dict[str, Any]]] = [
        ("kernel", kernel, {"opens": "kernel", "n_subnets": 1}),
        ("depth1", {**kernel, "depth": 2}, {"opens": "depth", "n_subnets": 2}),
        ("depth2", depth, {"opens": "depth", "n_subnets": 2}),
        ("expansion1", {**depth, "expansion": 2}, {"opens": "expansion", "sort_stage": 0}),
        ("expansion2", expansion, {"opens": "expansion", "sort_stage": 1}),
        ("width1", {**expansion, "width": 2}, {"opens": "width"}),
        ("width2", {**expansion, "width": "all"}, {"opens": "width"}),
    ]
    phases = [_phase("full", full, {"resolution": "all"}, rule="largest")]
    for (name, elastic, given), pace in zip(steps, paces, strict=True):
        settings = {"n_subnets": 4, "distillation": distillation, **given}
        phases.append(_phase(name, pace, elastic, **settings))
    return tuple(phases)


def _by_sandwich(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Return the phases, the first as it is and the rest by the sandwich rule, each warmed up."""
    changes: dict[str, Any] = {"rule": "sandwich", "n_subnets": 1, "distillation": 0.0}
    first, *rest = (replace(phase, warmup_fraction=None) for phase in phases)
    return (first, *(replace(phase, **changes) for phase in rest))


def _phase(name: str, pace: _Pace, elastic: dict[str, Opening], **settings: Any) -> Phase:
    warmup = pace.warmup_epochs / pace.epochs if pace.epochs else 0.0
    own: dict[str, Any] = {"epochs": pace.epochs, "lr": pace.lr, "warmup_fraction": warmup}
    return Phase(name=name, elastic=elastic, **own, **settings)


# The rates are the paper's for a process (a GPU) of 64 images; 32 of them made a batch of 2048.
# Not in the public training script, and so our reading: the full network's 180 epochs (the paper
# gives 2.6 for the batch of 2048), and the phases of the width, which ResNets alone have.
_FIRST, _REST = _Pace(25, 0.0025), _Pace(120, 0.0075, 5)
OFA = _shrinking(
    _Pace(180, 2.6 / 32, 5), _Pace(120, 0.03, 5), _FIRST, _REST, _FIRST, _REST, _FIRST, _REST
)

OFA_CPU = _shrinking(
    _Pace(12, 0.1, 1),
    _Pace(4, 0.03),
    _Pace(2, 0.02),
    _Pace(4, 0.03),
    _Pace(2, 0.02),
    _Pace(6, 0.03),
    _Pace(2, 0.02),
    _Pace(4, 0.03),
)

OFA_CPU_SHORT = _shrinking(
    _Pace(12, 0.2, 1),
    _Pace(3, 0.1),
    _Pace(2, 0.1),
    _Pace(4, 0.1),
    _Pace(2, 0.1),
    _Pace(7, 0.1),
    _Pace(2, 0.1),
    _Pace(4, 0.1),
)

# In every step the largest network goes on learning from the labels and teaches the smallest one:
# with few epochs, where random networks seldom come near the smallest, that is worth the time.
OFA_CPU_SANDWICH = _by_sandwich(
    _shrinking(
        _Pace(3, 0.2),
        _Pace(2, 0.2),
        _Pace(1, 0.2),
        _Pace(2, 0.2),
        _Pace(2, 0.2),
        _Pace(20, 0.2),
        _Pace(2, 0.2),
        _Pace(20, 0.2),
    )
)

SCHEDULES: dict[str, tuple[Phase, ...]] = {
    "sandwich": (),
    "ofa": OFA,
    "ofa_cpu": OFA_CPU,
    "ofa_cpu_short": OFA_CPU_SHORT,
    "ofa_cpu_sandwich": OFA_CPU_SANDWICH,
}
"""Phases by name; the sandwich has one, made of the settings around it."""


def phases_named(schedule: str) -> tuple[Phase, ...]:
    """Return the phases of a schedule.

    Raises:
        UsageError: no schedule of that name.
    """
    if schedule not in SCHEDULES:
        raise UsageError(f"no schedule {schedule!r}; {choices(schedule, SCHEDULES)}")
    return SCHEDULES[schedule]
