"""Budgets of measured files are checks, and a file that fails one is no result."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgenas.core.errors import StorageError, ValidationError
from edgenas.core.files import write_json
from edgenas.core.objective import Constraint
from edgenas.exporters import ExportRequest, get
from edgenas.exporters.manifest import (
    Manifest,
    MeasuredCost,
    MeasuredLatency,
    Source,
    make_manifest,
    read_manifest,
    with_checks,
    write_manifest,
)
from edgenas.exporters.validate import Check, run_checks
from edgenas.study.steps import device_checks
from edgenas.study.steps.device_checks import budget_checks, set_failed_aside
from edgenas.testing.exporter import small_request

SOURCE = Source(run="r", architecture_id="0" * 10, space="s", genes=(0,), config={}, data="d")
LATENCY = MeasuredLatency(
    device="board",
    runtime="onnxruntime",
    runtime_version="1",
    n_threads=1,
    n_samples=8,
    latency_ms=2.0,
    median_ms=2.2,
    p90_ms=2.4,
    process_ms=(2.0, 2.1),
)


@pytest.fixture(scope="module")
def request_small() -> ExportRequest:
    return small_request()


@pytest.fixture
def manifest(request_small: ExportRequest, tmp_path: Path) -> Manifest:
    exporter = get("onnx")
    artifact = exporter.export(request_small, tmp_path / "model.onnx")
    made = make_manifest(
        exporter,
        request_small,
        artifact,
        checks=run_checks(exporter, request_small, artifact),
        source=SOURCE,
        measured_latency=LATENCY,
    )
    cost = MeasuredCost(
        objective="load_ms", unit="ms", device="board", runtime="onnxruntime", value=30.0
    )
    return made.model_copy(update={"measured_costs": (cost,)})


def run_with(folder: Path, *budgets: str) -> Any:
    return SimpleNamespace(
        folder=folder,
        read=lambda name: json.loads((folder / name).read_text()),
        exporters={"onnx": get("onnx")},
        job=SimpleNamespace(
            device=SimpleNamespace(runtime="onnxruntime"),
            budgets=lambda: tuple(Constraint.parse(text) for text in budgets),
        ),
    )


def test_every_measured_budget_is_a_check(manifest: Manifest, tmp_path: Path) -> None:
    run = run_with(tmp_path, "latency_ms <= 2 @ 90%", "load_ms <= 29", "accuracy >= 0.9")
    latency, load = budget_checks(run, "onnxruntime", manifest)
    assert (latency.name, latency.passed, latency.measured) == ("budget_latency_ms", True, 2.0)
    assert "2 to 2.1 in 2 processes; asked latency_ms <= 2 @ 90%" in latency.detail
    assert (load.name, load.passed, load.tolerance) == ("budget_load_ms", False, 29.0)


def test_other_runtimes_and_what_is_not_measured_are_not_asked(
    manifest: Manifest, tmp_path: Path
) -> None:
    assert budget_checks(run_with(tmp_path, "latency_ms <= 1"), "litert", manifest) == []
    bare = manifest.model_copy(update={"measured_latency": None})
    assert budget_checks(run_with(tmp_path, "latency_ms <= 1"), "onnxruntime", bare) == []


def settled(
    monkeypatch: pytest.MonkeyPatch, manifest: Manifest, folder: Path, *checks: Check
) -> Path:
    """Settle a run whose one file has these checks; returns the file's path."""
    path = folder / "model.onnx"
    write_json(folder / "export/export.json", {"targets": ["onnx"], "unwritten": {}})
    write_json(folder / "export/onnx.json", manifest.model_dump(mode="json"))
    write_manifest(with_checks(manifest, checks), path)
    monkeypatch.setattr(device_checks, "model_path", lambda run, target: path)
    set_failed_aside(run_with(folder))
    return path


def check(name: str, *, passed: bool) -> Check:
    return Check(name, passed, 1.0, 2.0, "so it is")


def test_a_sound_file_stays(
    monkeypatch: pytest.MonkeyPatch, manifest: Manifest, tmp_path: Path
) -> None:
    path = settled(monkeypatch, manifest, tmp_path, check("device_load", passed=True))
    assert path.exists()
    assert read_manifest(path).status == "passed"


def test_a_broken_budget_marks_the_file(
    monkeypatch: pytest.MonkeyPatch, manifest: Manifest, tmp_path: Path
) -> None:
    broken = check("budget_latency_ms", passed=False)
    path = settled(monkeypatch, manifest, tmp_path, broken)
    assert not path.exists()
    assert path.with_name("model.onnx.failed").exists()
    assert read_manifest(path).status == "failed"
    settled(monkeypatch, manifest, tmp_path, broken)  # again, with the file already renamed
    path.with_name("model.onnx.failed").unlink()
    with pytest.raises(StorageError, match="are gone"):
        settled(monkeypatch, manifest, tmp_path, broken)


def test_any_other_failure_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, manifest: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match="failed device_values; it is now called") as caught:
        settled(monkeypatch, manifest, tmp_path, check("device_values", passed=False))
    assert caught.value.failed == ("device_values",)
    assert (tmp_path / "model.onnx.failed").exists()
