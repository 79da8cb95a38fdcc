"""Costs of a real file on a real engine: loaded, under load, and with powers that are given."""

from pathlib import Path

import pytest

from edgenas.core.errors import DeviceError
from edgenas.costs.kinds import Kind
from edgenas.hardware.description import DeviceDescription
from edgenas.hardware.device import Device, load_device
from edgenas.lowering import tflite
from edgenas.lowering.weights import random_weights
from edgenas.profiling import whole_networks
from edgenas.profiling.whole_networks import NetworkSettings, measure_costs
from edgenas.testing.space_contract import width_space

SHORT = NetworkSettings(n_processes=2, run_s=0.5, idle_s=0.5, load_s=0.6)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(whole_networks, "_APART_S", 0.0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    space = width_space(32)
    graph = space.network(space.largest())
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite.lower(graph, random_weights(graph)))
    return path


def test_every_kind_is_measured(model: Path) -> None:
    device = load_device("local")
    power = {"meter": "modelled", "idle_mw": 1000, "active_mw": [5000], "relative_error": 0.2}
    values = device.description.model_dump() | {"power": power}
    modelled = Device(DeviceDescription(**values), device.connector)
    kinds: list[Kind] = ["energy", "load", "cold_start", "peak_memory", "sustained_p95"]
    told: list[tuple[str, int, int]] = []
    found = measure_costs(
        modelled,
        "litert",
        {"model": model},
        kinds,
        settings=SHORT,
        progress=lambda *what: told.append(what),
    )["model"]
    assert list(found) == kinds
    assert all(cost.value > 0 for cost in found.values())
    assert found["cold_start"].value > found["load"].value
    energy = found["energy"]
    assert energy.provenance == "modelled"
    assert energy.low == pytest.approx(0.8 * energy.value)
    assert energy.high == pytest.approx(1.2 * energy.value)
    assert found["load"].provenance == "measured"
    assert [entry for entry in told if entry[0].startswith("footprint")] == [
        ("footprint on litert", done, 2) for done in range(3)
    ]


def test_energy_without_a_word_of_power_is_an_error(model: Path) -> None:
    with pytest.raises(DeviceError, match="says nothing of power"):
        measure_costs(load_device("local"), "litert", {"model": model}, ["energy"])
