"""Bundles are proven again: here, on a device, against budget, interval and proof."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgenas
from edgenas.core.errors import DeviceError, SchemaError, StorageError
from edgenas.core.measurement import Measurement, MeasurementPlan
from edgenas.exporters import get
from edgenas.exporters.bundle import INDEX, Finding
from edgenas.exporters.validate import Check
from edgenas.hardware.device import load_device
from edgenas.profiling.file_checks import IN_DEVICE
from edgenas.runtimes.onnxruntime import OnnxRuntime
from edgenas.study import verify_device
from edgenas.study.verify import Verification, verify
from tests.exporters.bundle.bundles import (
    BUDGET,
    VARIANTS,
    measured,
    other_logits,
    predicted,
    reindex,
    rewrite,
    tiny_bundle,
    tiny_request,
)

PLAN = MeasurementPlan(n_visits=1, n_runs=1, n_warmup=0)
WHOLE = ["files", "hashes", "unlisted", "sums"]
DOCUMENTS = ["manifest", "labels", "preprocessing", "recorded", "recipe"]
HERE = ["opens", "names", "shapes", "values", "top1", "delegate"]
THERE = ["device_opens", *IN_DEVICE, "latency"]
TIME = ["budget", "interval", "earlier"]


@pytest.fixture(scope="module")
def slug() -> str:
    return load_device("local").fingerprint.slug


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path)


@pytest.fixture
def real() -> None:
    """Asked for by tests for which the device really runs and times the file."""


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere it answers well, and takes 0.5 ms."""
    if "real" in request.fixturenames:
        return

    def measure_files(device: object, runtime: str, paths: dict[str, Path], *_: Any, **__: Any):
        return {key: Measurement(key, np.array([[0.5, 0.7]])) for key in paths}

    monkeypatch.setattr(verify_device, "measure_files", measure_files)
    answering(monkeypatch, Check("device_values", True, 0.0, 1e-5, "the same"))


def answering(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> None:
    """Has the device make these checks of the file, and no others."""
    monkeypatch.setattr(verify_device, "check_on_device", lambda *_, **__: list(checks))


def proven(bundle: Path, **options: Any) -> Verification:
    return verify(bundle, plan=PLAN, **options)


def named(result: Verification) -> dict[str, Finding]:
    found = {finding.name: finding for finding in result.findings}
    assert len(found) == len(result.findings)
    for finding in result.findings:
        assert finding.asked
        assert finding.found
        assert bool(finding.remedy) == (finding.passed is False)
    return found


def failed(result: Verification) -> set[str]:
    return {name for name, finding in named(result).items() if finding.passed is False}


@pytest.mark.parametrize(("target", "precision", "recipe"), VARIANTS)
def test_a_sound_bundle_passes(
    real: None, tmp_path: Path, slug: str, target: str, precision: str, recipe: dict[str, Any]
) -> None:
    runtime = {"onnx": "onnxruntime", "tflite": "litert"}[target]
    known = {"device": slug, "runtime": runtime}
    folder = tiny_bundle(
        tmp_path,
        target,
        precision,
        recipe=recipe,
        measured_latency=measured(**known),
        predicted_latency=predicted(**known, low_ms=1e-9, high_ms=1e9),
    )
    result = proven(folder)
    found = named(result)
    assert list(found) == [*WHOLE, *DOCUMENTS, *HERE, *THERE, *TIME]
    assert result.exit_code == 0
    assert (found["budget"].passed, found["interval"].passed) == (True, True)
    assert found["earlier"].passed is None
    assert result.latency_ms is not None
    assert f"{result.latency_ms:.4f} ms" in found["latency"].found
    document = json.loads(json.dumps(result.as_dict()))
    assert (document["verified"], document["model"]) == (True, f"model.{target}")


def test_of_another_device_the_time_is_only_told(bundle: Path, slug: str) -> None:
    found = named(proven(bundle))
    assert [found[name].passed for name in TIME] == [None, None, None]
    for name in TIME:
        assert "told only: another device than some-board-4c-01234567" in found[name].found
    assert slug in found["latency"].found


def test_a_broken_budget_is_only_told_elsewhere(tmp_path: Path) -> None:
    result = proven(tiny_bundle(tmp_path, budgets=("latency_ms <= 1e-06",)))
    assert "BROKEN; told only" in named(result)["budget"].found
    assert result.exit_code == 0


def test_a_broken_budget_on_its_device_is_exit_code_3(tmp_path: Path, slug: str) -> None:
    known = measured(device=slug)
    folder = tiny_bundle(
        tmp_path, budgets=(BUDGET, "latency_ms <= 1e-06", "n_params <= 100000"),
        measured_latency=known, predicted_latency=predicted(device=slug),
    )  # fmt: skip
    result = proven(folder)
    assert failed(result) == {"budget"}
    assert result.exit_code == 3
    assert named(result)["budget"].asked == "latency_ms <= 1000, latency_ms <= 1e-06"


def test_a_time_outside_the_interval_is_no_failure(tmp_path: Path, slug: str) -> None:
    known = predicted(device=slug, low_ms=1e-9, high_ms=2e-9)
    folder = tiny_bundle(tmp_path, measured_latency=None, predicted_latency=known)
    result = proven(folder)
    interval = named(result)["interval"]
    assert interval.passed is None
    assert interval.found == "0.5000 ms, outside, as 10% of them are"
    assert "earlier" not in named(result)
    assert result.exit_code == 0


def test_without_budget_interval_and_device_there_is_nothing_to_judge(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path, budgets=(), measured_latency=None, predicted_latency=None)
    found = named(proven(folder))
    assert found["budget"].asked == "no latency budget was asked of this file"
    assert "interval" not in found


def test_another_engine_than_before_is_told(tmp_path: Path, slug: str) -> None:
    other = measured(device=slug, runtime="benchmark")
    found = named(proven(tiny_bundle(tmp_path, measured_latency=other)))
    assert "told only: another engine than benchmark" in found["budget"].found


# -- what is wrong ---------------------------------------------------------------------------


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no bundle\.json|is no folder"):
        proven(tmp_path / "absent")


def test_an_index_of_another_version_or_with_tricks(bundle: Path) -> None:
    index = json.loads((bundle / INDEX).read_text())
    reindex(bundle, {**index, "schema_version": 2})
    with pytest.raises(SchemaError, match="schema_version is 2"):
        proven(bundle)
    (bundle / INDEX).write_text(
        json.dumps({**index, "files": {**index["files"], "../x": "0" * 64}})
    )
    with pytest.raises(SchemaError, match="no name inside a bundle"):
        proven(bundle)


def test_a_truncated_file_is_not_opened(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:100])
    result = proven(bundle)
    assert list(named(result)) == [*WHOLE, "rest"]
    assert failed(result) == {"hashes"}
    assert result.exit_code == 7


def test_a_manifest_of_another_file(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tiny_bundle(tmp_path / "other", request=tiny_request(seed=5))
    rewrite(bundle, "manifest.json", (other / "manifest.json").read_bytes())
    result = proven(bundle)
    assert failed(result) == {"manifest"}
    assert named(result)["rest"].found == "left out: its documents do not agree"


def test_another_network_does_not_get_onto_the_device(tmp_path: Path) -> None:
    request = tiny_request()
    result = proven(tiny_bundle(tmp_path, request=request, logits=other_logits(request)))
    assert failed(result) == {"values", "top1"}
    assert named(result)["rest"].found == "left out: the file is not the trained network"
    assert result.exit_code == 7


def test_a_file_that_does_not_open(tmp_path: Path) -> None:
    """Sound by its hashes and no model: as if the exporter had written nonsense."""
    folder = tiny_bundle(tmp_path)
    content = b"nothing"
    rewrite(folder, "model.onnx", content)
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = json.loads((folder / INDEX).read_text())["files"]["model.onnx"]
    manifest["file"].update(sha256=digest, n_bytes=len(content))
    rewrite(folder, "manifest.json", json.dumps(manifest).encode())
    result = proven(folder)
    assert failed(result) == {"opens"}
    assert "cannot load" in named(result)["opens"].found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batchh": 1}, "options: batchh"),
        ({"tolerance": -1}, "options: tolerance"),
        ({"tolerance": None}, "needs tolerance"),
        ({"target": "tflite"}, "one for tflite-float32"),
    ],
)
def test_a_recipe_that_cannot_be_read(bundle: Path, change: dict[str, Any], words: str) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["options"].update(change)
    rewrite(bundle, "manifest.json", json.dumps(manifest).encode())
    result = proven(bundle)
    assert failed(result) == {"recipe"}
    assert words in named(result)["recipe"].found


def test_a_target_that_nobody_brings(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["target"] = "onx"
    rewrite(bundle, "manifest.json", json.dumps(manifest).encode())
    reindex(bundle, {**json.loads((bundle / INDEX).read_text()), "target": "onx"})
    result = proven(bundle)
    assert "nearest: onnx" in named(result)["recipe"].found


def test_another_interface_than_the_manifests(bundle: Path) -> None:
    """Manifest and preprocessing agree with each other, and not with the file."""
    for name in ("manifest.json", "preprocessing.json"):
        document = json.loads((bundle / name).read_text())
        document["input"]["name"] = "picture"
        rewrite(bundle, name, json.dumps(document).encode())
    result = proven(bundle)
    assert failed(result) == {"names"}
    assert "picture" in named(result)["names"].asked


def test_where_the_engine_is_missing_the_device_decides(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(get("onnx"))
    monkeypatch.setattr(kind, "unavailable_to_run_reason", lambda self: "no onnxruntime here")
    result = proven(bundle)
    assert named(result)["opens"].found == "not tried: no onnxruntime here"
    assert named(result)["device_values"].passed
    assert result.exit_code == 0


# -- devices ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["device_opens", "device_values", "device_top1"])
def test_a_device_that_computes_something_else(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    answering(monkeypatch, Check(name, False, None, None, "opset 99"))
    result = proven(bundle)
    assert failed(result) == {name}
    assert named(result)[name].found == "opset 99"
    assert (result.exit_code, result.latency_ms) == (7, None)


def test_limits_for_the_device_are_told_of_another_one(
    tmp_path: Path, slug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, Check("device_load", False, 9.0, 5.0, "9 ms to load, allowed 5"))
    elsewhere = named(proven(tiny_bundle(tmp_path)))["device_load"]
    assert elsewhere.passed is None
    assert "allowed 5; told only: another device than" in elsewhere.found
    here = proven(tiny_bundle(tmp_path, measured_latency=measured(device=slug)))
    assert failed(here) == {"device_load"}
    assert here.exit_code == 7


def test_a_program_that_returns_no_outputs_is_timed_all_the_same(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxRuntime, "returns_outputs", False)
    result = proven(bundle)
    assert named(result)["device_values"].passed is None
    assert result.latency_ms is not None


def test_files_that_no_runtime_of_the_device_takes(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_device, "runtimes_on", lambda description: ())
    result = proven(bundle)
    assert "run check/check.py there" in named(result)["device"].found
    assert (result.exit_code, result.latency_ms) == (0, None)


def test_a_device_that_is_not_there(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "gone.yaml"
    path.write_text(
        "schema_version: 1\nid: gone\ndescription: nowhere\n"
        "connector: {kind: ssh, host: 127.0.0.1, port: 9}\nruntimes: {onnxruntime: {threads: 1}}\n"
    )
    with pytest.raises(DeviceError):
        proven(bundle, device=str(path))


def test_it_is_in_the_python_interface(real: None, bundle: Path) -> None:
    assert edgenas.verify(str(bundle), plan=PLAN).exit_code == 0
