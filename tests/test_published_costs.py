"""Costs of published devices: the figures that the project promises, on one split each."""

import os
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.errors import UsageError


@pytest.fixture
def published(bench_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGENAS_BENCH_DATA", str(bench_data))
    return bench_data


@pytest.mark.parametrize(("device", "least"), [("titan_rtx_1", 0.97), ("gold_6226", 0.88)], ids=str)
def test_two_hundred_networks_rank_a_thousand(published: Path, device: str, least: float) -> None:
    from benchmarks.costs.published.data import fbnet
    from benchmarks.costs.published.fbnet_hw import one_split

    errors = one_split(fbnet(), device, "spread", 11)["errors"]
    assert errors["forward"]["n_networks"] == 1000
    assert 900 < errors["past_only"]["n_networks"] < 1000  # the first have too little before them
    for way in ("fit", "forward", "past_only"):
        assert errors[way]["spearman"] > least


@pytest.mark.parametrize("device", ["samsung_s7", "essential_ph_1"])
def test_phones_gain_from_following_their_drift(published: Path, device: str) -> None:
    from benchmarks.costs.published.data import fbnet
    from benchmarks.costs.published.fbnet_hw import one_split, order_of_measurement

    data = fbnet()
    splits = [one_split(data, device, "spread", seed) for seed in (0, 1)]
    ranks = {
        way: np.mean([split["errors"][way]["spearman"] for split in splits])
        for way in ("ridge", "fit", "forward", "past_only")
    }
    assert ranks["past_only"] > ranks["ridge"] + 0.2
    # Of the same 200 networks as the fit without moments; `past_only` has half of them on average.
    assert ranks["forward"] > ranks["fit"] + 0.01
    memory = splits[0]["memory_of_test_residuals"]
    assert memory["past_only"]["lag_1"] < memory["fit"]["lag_1"]
    order = order_of_measurement(data, device)
    assert order["in_order"]["lag_1"] > 0.5
    assert abs(order["shuffled"]["lag_1"]) < 4 * order["standard_error"]


def test_names_of_jetson_networks_tell_their_parameters(published: Path) -> None:
    from benchmarks.costs.published.jetson_energy import Jetson, parse

    assert len(Jetson().networks) == 12534  # the constructor compares every count
    layers = parse("convnet_L2_F128_K5x5_1_K7x7_1_W85")
    assert [layer.kernel for layer in layers] == [5, 7, 1]
    with pytest.raises(UsageError, match="not a network's name"):
        parse("resnet")


def test_blocks_of_scission_are_all_there(published: Path) -> None:
    from benchmarks.costs.published.scission import Device

    device = Device("jetsonnano")
    sums = device.counts @ device.block_ms
    assert sums == pytest.approx(device.printed_ms, rel=1e-3)
    assert np.all(device.counts.sum(axis=0) == 1)


def test_without_the_data_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.costs.published.data import folder

    monkeypatch.delenv("EDGENAS_BENCH_DATA", raising=False)
    with pytest.raises(UsageError, match="EDGENAS_BENCH_DATA"):
        folder()
    assert "EDGENAS_BENCH_DATA" not in os.environ
