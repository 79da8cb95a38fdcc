"""Exported files on their device: they answer as the network does, or each check says what not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.errors import DeviceError
from edgenas.exporters import Exporter, ExportRequest, get
from edgenas.exporters.onnx import OnnxExporter
from edgenas.exporters.tflite import TfliteExporter
from edgenas.exporters.validate import Check
from edgenas.hardware.device import load_device
from edgenas.profiling.file_checks import (
    IN_DEVICE,
    OPENS,
    check_on_device,
    reason_not_to_run,
    runs_there,
)
from edgenas.runtimes.benchmark_model import BenchmarkModel
from edgenas.runtimes.onnxruntime import OnnxRuntime
from edgenas.testing.exporter import small_request

RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def request_small() -> ExportRequest:
    return small_request()


def checks_of(exporter: Exporter, request: ExportRequest, path: Path) -> dict[str, Check]:
    exporter.export(request, path)
    return by_name(on_device(exporter, request, path))


def on_device(exporter: Exporter, request: ExportRequest, path: Path) -> list[Check]:
    return check_on_device(
        load_device("local"),
        RUNTIMES[exporter.name],
        exporter,
        path,
        inputs=request.reference_inputs,
        reference=request.reference_logits,
    )


def by_name(checks: Sequence[Check]) -> dict[str, Check]:
    assert [check.name for check in checks] == [OPENS, *IN_DEVICE]
    return {check.name: check for check in checks}


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "weight_int8"])
@pytest.mark.parametrize("target", sorted(RUNTIMES))
def test_the_file_is_the_network_there_too(
    request_small: ExportRequest, tmp_path: Path, target: str, precision: str
) -> None:
    exporter = get(target, precision)
    found = checks_of(exporter, request_small, tmp_path / f"model{exporter.suffix}")
    assert all(check.passed for check in found.values()), found
    assert (found["device_load"].measured or 0) > 0
    assert found["device_values"].measured is not None


def test_codes_go_in_and_out(request_small: ExportRequest, tmp_path: Path) -> None:
    recipe = get("tflite", "int8").recipe.model_copy(update={"quantised_io": True})
    exporter = TfliteExporter(recipe)
    found = checks_of(exporter, request_small, tmp_path / "model.tflite")
    assert all(check.passed for check in found.values()), found


@pytest.mark.parametrize("batch", ["any", 3])
def test_batches(request_small: ExportRequest, tmp_path: Path, batch: int | str) -> None:
    exporter = OnnxExporter(get("onnx").recipe.model_copy(update={"batch": batch}))
    found = checks_of(exporter, request_small, tmp_path / "model.onnx")
    assert all(check.passed for check in found.values()), found
    whole = 6 if batch == 3 else 8  # of eight images the last two do not fill a batch of three
    assert f"over {whole} real inputs" in found["device_values"].detail


def test_a_batch_that_the_images_do_not_fill_is_refused(
    request_small: ExportRequest, tmp_path: Path
) -> None:
    exporter = OnnxExporter(get("onnx").recipe.model_copy(update={"batch": 9}))
    found = checks_of(exporter, request_small, tmp_path / "model.onnx")
    assert found[OPENS].passed is False
    assert "9 images at once and 8" in found[OPENS].detail


def test_another_network_fails_by_its_values(request_small: ExportRequest, tmp_path: Path) -> None:
    logits = -request_small.reference_logits
    other = replace(request_small, reference_logits=logits)
    found = checks_of(get("onnx"), other, tmp_path / "model.onnx")
    assert found[OPENS].passed is True
    assert found["device_values"].passed is False
    assert found["device_top1"].passed is False


def test_limits_of_the_recipe(request_small: ExportRequest, tmp_path: Path) -> None:
    tight = {"most_load_ms": 1e-6, "most_peak_memory_kib": 1e-6}
    exporter = OnnxExporter(get("onnx").recipe.model_copy(update=tight))
    found = checks_of(exporter, request_small, tmp_path / "model.onnx")
    assert (found["device_load"].passed, found["device_peak_memory"].passed) == (False, False)
    assert "allowed 1e-06" in found["device_load"].detail


def test_a_file_that_does_not_open_there(request_small: ExportRequest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing")
    found = by_name(on_device(get("onnx"), request_small, path))
    assert found[OPENS].passed is False
    assert {found[name].passed for name in IN_DEVICE} == {None}
    assert not runs_there(list(found.values()))


def test_why_a_file_does_not_run_is_told_by_its_device(
    request_small: ExportRequest, tmp_path: Path
) -> None:
    device, path = load_device("local"), tmp_path / "model.tflite"
    get("tflite").export(request_small, path)
    assert reason_not_to_run(device, "litert", path, precision="float32") is None
    path.write_bytes(path.read_bytes()[:200])
    reason = reason_not_to_run(device, "litert", path, precision="float32")
    assert reason is not None
    assert "refused 'load'" in reason


def test_a_device_that_cannot_be_used_is_no_fault_of_the_file(
    request_small: ExportRequest, tmp_path: Path
) -> None:
    exporter = get("tflite")
    path = tmp_path / "model.tflite"
    exporter.export(request_small, path)
    with pytest.raises(DeviceError, match="names no program"):
        check_on_device(
            load_device("local"),
            "benchmark_model",
            exporter,
            path,
            inputs=request_small.reference_inputs,
            reference=np.zeros((8, 5), np.float32),
        )


def test_programs_that_return_nothing_are_told_and_fail_no_file(
    request_small: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxRuntime, "returns_outputs", False)
    found = checks_of(get("onnx"), request_small, tmp_path / "model.onnx")
    assert found[OPENS].passed is True
    assert (found["device_values"].passed, found["device_top1"].passed) == (None, None)
    assert "returns no outputs" in found["device_values"].detail
    assert found["device_load"].passed is True
    assert not BenchmarkModel.returns_outputs
