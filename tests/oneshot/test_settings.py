"""Settings of a schedule: its phases, changes of them, and contradictions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgenas import spaces
from edgenas.core.errors import UsageError
from edgenas.oneshot.schedules import OFA
from edgenas.oneshot.settings import TrainingSettings, scheduled


def test_a_schedule_has_the_epochs_of_its_phases() -> None:
    settings = scheduled("ofa")
    assert settings.phases == settings.plan() == OFA
    assert settings.epochs == sum(phase.epochs for phase in OFA)
    assert (settings.weight_decay, settings.label_smoothing) == (3e-5, 0.1)
    assert (settings.batch_size, settings.max_gradient_norm) == (64, None)


def test_phases_are_changed_by_name() -> None:
    changes = {"full": {"epochs": 2, "lr": 0.3}, "depth1": {"epochs": 0, "n_subnets": 3}}
    settings = scheduled("ofa", changes, batch_size=16, threads=2)
    full, depth1 = settings.phases[0], settings.phases[2]
    assert (full.epochs, full.lr, depth1.epochs, depth1.n_subnets) == (2, 0.3, 0, 3)
    assert settings.phases[1] == OFA[1]
    assert settings.epochs == sum(phase.epochs for phase in settings.phases)
    assert (settings.batch_size, settings.threads) == (16, 2)
    with pytest.raises(UsageError, match=r"ofa has no phase 'depth'; allowed: .*nearest: depth"):
        scheduled("ofa", {"depth": {"epochs": 1}})
    with pytest.raises(UsageError, match="settings of phase full out of range: epochs=-1"):
        scheduled("ofa", {"full": {"epochs": -1}})


def test_the_sandwich_is_one_phase_made_of_the_settings() -> None:
    (phase,) = TrainingSettings(epochs=3, lr=0.2, n_random_subnets=2).plan()
    assert (phase.rule, phase.epochs, phase.lr, phase.n_subnets) == ("sandwich", 3, 0.2, 2)
    assert phase.elastic is None
    with pytest.raises(UsageError, match="has no phases that"):
        scheduled("sandwich")


def test_one_network_alone_has_the_epochs_of_all_phases_together() -> None:
    settings = scheduled("ofa_cpu_short", threads=2).alone(spaces.get("mbv3_tiny"))
    assert settings.phases == ()
    phases = scheduled("ofa_cpu_short").phases
    assert settings.epochs == sum(p.epochs for p in phases if p.opens != "width")
    assert scheduled("ofa_cpu_short").alone().epochs == sum(p.epochs for p in phases)
    assert settings.alone().epochs == settings.epochs
    assert settings.lr == scheduled("ofa_cpu_short").phases[0].lr
    assert (settings.threads, settings.weight_decay) == (2, 3e-5)


def test_shrinking_by_the_sandwich_opens_the_same_in_the_same_order() -> None:
    plain, sandwich = scheduled("ofa_cpu").phases, scheduled("ofa_cpu_sandwich").phases
    assert [(p.name, p.elastic, p.sort_stage) for p in sandwich] == [
        (p.name, p.elastic, p.sort_stage) for p in plain
    ]
    assert [p.rule for p in sandwich] == ["largest"] + ["sandwich"] * (len(plain) - 1)
    assert not any(p.distillation for p in sandwich)  # no frozen teacher
    first = spaces.get("mbv3_tiny")
    assert scheduled("ofa_cpu_sandwich").alone(first).epochs == 30


def test_epochs_beside_phases_have_to_agree() -> None:
    with pytest.raises(UsageError, match=r"epochs=3, but the phases have \d+; change those of"):
        replace(scheduled("ofa_cpu"), epochs=3)
