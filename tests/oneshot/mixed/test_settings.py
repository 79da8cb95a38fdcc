"""The methods' settings against the figures of their papers, and what `short` keeps of them."""

from __future__ import annotations

import math

import pytest

from edgenas.core.errors import UsageError
from edgenas.oneshot.mixed.relaxations import RELAXATIONS
from edgenas.oneshot.mixed.settings import METHODS, method, short


def test_every_method_of_the_family_is_there() -> None:
    assert set(METHODS) == {
        "fbnet",
        "proxylessnas",
        "proxylessnas_full",
        "proxylessnas_reinforce",
        "darts",
        "darts_second",
        "gdas",
        "snas",
        "pc_darts",
        "p_darts",
    }
    assert all(one.relaxation in RELAXATIONS for one in METHODS.values())
    assert all(name == one.method for name, one in METHODS.items())


def test_fbnet_has_its_paper_s_figures() -> None:
    one = method("fbnet")
    assert (one.training.epochs, one.warmup_epochs) == (90, 10)
    assert (one.training.lr, one.training.momentum, one.training.weight_decay) == (0.1, 0.9, 1e-4)
    assert (one.logits_lr, one.logits_weight_decay, one.logits_share) == (0.01, 5e-4, 0.2)
    assert (one.loss.form, one.loss.factor, one.loss.power) == ("fbnet", 0.2, 0.6)
    # Epoch by epoch times exp(-0.045).
    for epoch in (0, 1, 40, 80):
        wanted = 5.0 * math.exp(-0.045) ** epoch
        assert one.temperature_at(epoch / 80) == pytest.approx(wanted, rel=1e-3)


def test_proxylessnas_has_its_paper_s_figures() -> None:
    for name in ("proxylessnas", "proxylessnas_full", "proxylessnas_reinforce"):
        one = method(name)
        assert (one.warmup_epochs, one.search_epochs, one.logits_every) == (40, 120, 5)
        assert (one.logits_lr, one.logits_betas, one.spread) == (1e-3, (0.0, 0.999), 1e-3)
    assert method("proxylessnas").loss.form == "sum"
    reinforce = method("proxylessnas_reinforce")
    assert (reinforce.n_networks, reinforce.loss.power) == (10, 0.1)


def test_darts_has_its_paper_s_figures() -> None:
    for name, order in (("darts", 1), ("darts_second", 2)):
        one = method(name)
        assert (one.training.epochs, one.training.batch_size, one.order) == (50, 64, order)
        assert (one.training.lr, one.training.weight_decay) == (0.025, 3e-4)
        assert (one.logits_lr, one.logits_weight_decay, one.logits_share) == (3e-4, 1e-3, 0.5)
    assert method("pc_darts").channel_parts == 4
    assert [stage.skip_dropout for stage in method("p_darts").stages] == [0.0, 0.4, 0.7]
    gdas = method("gdas")
    assert (gdas.temperature_at(0.0), gdas.temperature_at(0.5)) == (10.0, pytest.approx(5.05))


@pytest.mark.parametrize("name", METHODS)
def test_a_short_search_is_the_same_method(name: str) -> None:
    long, brief = method(name), short(method(name), epochs=12, warmup_epochs=4)
    assert (brief.training.epochs, brief.search_epochs) == (12, 8)
    for kept in ("relaxation", "order", "logits_share", "temperature", "loss", "channel_parts"):
        assert getattr(brief, kept) == getattr(long, kept)


def test_an_unknown_method_names_the_others() -> None:
    with pytest.raises(UsageError, match=r"no differentiable method 'fbnets'.*fbnet"):
        method("fbnets")
