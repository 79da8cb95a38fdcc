"""What is told of a search, and the drift to operators without weights."""

import math

import numpy as np
import pytest

from edgenas.oneshot.mixed.mixture import frozen
from edgenas.oneshot.mixed.watch import EpochReport, Weightless, drift, unflatten
from edgenas.spaces.base import SearchSpace
from tests.oneshot.mixed.small_spaces import small


def test_reports_go_through_numbers_unchanged() -> None:
    reports = [
        EpochReport(
            epoch=epoch, distribution=which, stage=1, is_warmup=epoch == 1, loss=2.0,
            logits_loss=1.5, entropy=0.9, temperature=5.0, weightless=0.25,
            costs={"latency_ms": 0.1 * epoch, "n_macs": 5.0},
        )
        for epoch in (1, 2)
        for which in (0, 1)
    ]  # fmt: skip
    numbers = [number for report in reports for number in report.flat()]
    assert unflatten(numbers, ["latency_ms", "n_macs"]) == reports
    assert unflatten([], ["latency_ms"]) == []


def test_the_share_without_weights_is_counted_by_choice() -> None:
    space = small("cell")
    share = Weightless(space)
    row = space.parse({g.name: "nor_conv_3x3" for g in space.genes})
    assert share.of(row) == 0
    row[:3] = [space.genes[0].options.index(o) for o in ("none", "skip_connect", "avg_pool_3x3")]
    assert share.of(row) == pytest.approx(0.5)
    layers = small("fbnet")
    assert Weightless(layers).of(layers.largest()) == 0
    # The layer that changes the shape runs a convolution where others skip.
    assert Weightless(layers).of(layers.smallest()) == 1
    assert Weightless(layers)._n == 3


def test_an_expected_share_is_the_mean_of_shares(space: SearchSpace) -> None:
    share, rng = Weightless(space), np.random.default_rng(0)
    rows = space.sample(2, rng)
    first, second = (frozen(space, row).genes for row in rows)
    mixed = {c: (first[c].value + second[c].value) / 2 for c in first}
    if not space.conditions:
        expected = (share.of(rows[0]) + share.of(rows[1])) / 2
        assert share(mixed) == pytest.approx(expected, abs=1e-6)
    assert 0 <= share(mixed) <= 1
    assert math.isfinite(share(mixed))


def test_cells_of_skips_are_a_drift_and_what_a_budget_asks_for_is_none() -> None:
    space = small("cell")
    skips = space.parse({g.name: "skip_connect" for g in space.genes})
    others = space.sample(50, np.random.default_rng(0))
    found = drift(space, skips, others)
    assert found is not None
    assert "100% of the choices of its most likely network are skips" in found
    assert drift(space, space.parse({g.name: "nor_conv_3x3" for g in space.genes}), others) is None
    assert drift(space, skips, np.repeat(skips[None], 5, axis=0)) is None
