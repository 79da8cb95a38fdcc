"""The whole chain on a device with TensorRT, played: engines are built, checked and timed there."""

from pathlib import Path

import pytest

from edgenas.core.files import sha256_of
from edgenas.exporters.manifest import read_manifest
from edgenas.study.api import compile_job
from edgenas.testing.tensorrt import FakeTensorRt
from tests.runtimes.boards import tensorrt_board
from tests.tiny_job import write_job

pytestmark = pytest.mark.slow

TARGETS = "export: {targets: [onnx, tflite]}"


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_job_on_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fake = FakeTensorRt.install(tmp_path)
    board = tensorrt_board(tmp_path, fake)
    place = f"device: {{id: '{board}', runtime: tensorrt, precision: {precision}}}"
    section = "export: {targets: [tensorrt], tensorrt: {build: device}}"
    pick = "pick: 'latency_ms <= 1000'"
    job = write_job(tmp_path, (TARGETS, f"{place}\n{section}"), ("pick: knee", pick))
    result = compile_job(job, tmp_path / "run")
    assert [path.name for path in result.files] == ["model.engine"]
    assert result.proof is not None
    (entry,) = result.proof["files"]
    assert (entry["runtime"], entry["budget_kept"], entry["status"]) == ("tensorrt", True, "passed")
    manifest = read_manifest(tmp_path / "run/model.engine")
    assert manifest.built is not None
    assert (manifest.built.gpu, manifest.built.engine_version) == ("Orin", "10.3.0")
    assert manifest.built.timings is not None
    assert manifest.built.timings.kept_bytes > 0
    assert manifest.measured_latency is not None
    assert manifest.measured_latency.runtime == "tensorrt"
    assert len(manifest.measured_latency.process_ms) > 1
    checks = {check.name: check.passed for check in manifest.checks}
    assert set(checks.values()) == {True}
    assert {"values", "top1", "accuracy", "device_opens", "device_values", "budget_latency_ms"} <= (
        set(checks)
    )
    # Done again, nothing is; a new version there makes the files anew, from the export on.
    before = sha256_of(tmp_path / "run/model.engine")
    compile_job(job, tmp_path / "run")
    assert sha256_of(tmp_path / "run/model.engine") == before
