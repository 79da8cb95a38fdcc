"""Loading, first runs and memory of models, each in processes that loaded nothing before."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgenas.core.errors import DeviceError
from edgenas.hardware.device import load_device
from edgenas.lowering import tflite
from edgenas.lowering.weights import random_weights
from edgenas.profiling.endurance import measure_endurance
from edgenas.profiling.footprint import Footprint, measure_footprints
from edgenas.runtimes.base import RUNTIMES
from edgenas.testing.space_contract import width_space


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    space = width_space(32)
    paths = {}
    for name, row in (("small", space.smallest()), ("large", space.largest())):
        graph = space.network(row)
        paths[name] = tmp_path / f"{name}.tflite"
        paths[name].write_bytes(tflite.lower(graph, random_weights(graph)))
    return paths


def test_every_file_is_loaded_in_processes_of_its_own(models: dict[str, Path]) -> None:
    calls: list[tuple[int, int]] = []
    found = measure_footprints(
        load_device("local"),
        "litert",
        models,
        n_processes=2,
        progress=lambda what, done, total: calls.append((done, total)),
    )
    assert calls == [(i, 4) for i in range(5)]
    assert list(found) == ["small", "large"]
    for footprint in found.values():
        assert footprint.load_ms > 0
        assert footprint.first_ms is not None
        assert footprint.cold_start_ms == footprint.load_ms + footprint.first_ms
        assert footprint.peak_memory_kib is not None
        assert footprint.build_ms == 0


def test_what_is_not_told_is_not_made_up() -> None:
    footprint = Footprint(load_ms=3.0, build_ms=0.0, first_ms=None, peak_memory_kib=None)
    assert footprint.cold_start_ms is None


def test_a_model_under_load_is_judged_by_its_end(models: dict[str, Path]) -> None:
    told: list[tuple[Any, ...]] = []
    found = measure_endurance(
        load_device("local"),
        "litert",
        models["small"],
        duration_s=0.5,
        tail_s=0.2,
        progress=lambda *what: told.append(what),
    )
    assert found.duration_s >= 0.5
    assert found.n_runs == len(found.at_s) == len(found.samples_ms)
    assert found.p95_ms >= found.p50_ms > 0
    assert found.slowdown == found.p50_ms / found.early_ms
    assert found.throttled == (found.slowdown > 1.1)
    assert told[-1][1:] == (0, 0)


@pytest.mark.parametrize("tail_s", [0.0, 2.0])
def test_a_tail_that_cannot_be_is_refused(models: dict[str, Path], tail_s: float) -> None:
    with pytest.raises(DeviceError, match="cannot be looked at"):
        measure_endurance(
            load_device("local"), "litert", models["small"], duration_s=1.0, tail_s=tail_s
        )


def test_a_runtime_that_tells_no_single_runs_is_refused(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def opened(
        runtime: object, device: object, *, timeout_s: float, precision: str
    ) -> Iterator[object]:
        yield SimpleNamespace(info=SimpleNamespace(engine_version="1"))

    monkeypatch.setattr(RUNTIMES.get("litert"), "open", opened)
    with pytest.raises(DeviceError, match="does not tell single runs under load"):
        measure_endurance(load_device("local"), "litert", models["small"])
