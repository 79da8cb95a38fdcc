"""A search for this device and another one, of which there is a table and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.errors import UsageError
from edgenas.exporters.manifest import read_manifest
from edgenas.study.api import CompileResult, compile_job
from tests.end_to_end.test_compile import again
from tests.tiny_job import write_job

pytestmark = pytest.mark.slow


def changes(finished: CompileResult) -> tuple[tuple[str, str], ...]:
    """The job with two more goals: latency on a device that the finished run has a table of."""
    table = finished.folder / "tables/litert-float32.csv"
    lines = (
        f"objectives: [accuracy, latency_ms, latency_ms.board]\n"
        f"device: {{also: {{board: {table}}}}}\n"
        f"pick: latency_ms.board <= 1e3\n"
    )
    return (("pick: knee\n", lines), ("[onnx, tflite]", "[onnx]"))


def test_the_front_is_of_both_devices(finished: CompileResult, run: Path) -> None:
    job = changes(finished)
    assert {"search", "pick"} <= set(again(run, *job))
    front = json.loads((run / "search/front.json").read_text())
    assert front["objectives"] == ["accuracy", "latency_ms", "latency_ms.board"]
    here = np.array([member["latency_ms"] for member in front["front"]])
    there = np.array([member["latency_ms.board"] for member in front["front"]])
    assert (there > 0).all()
    assert not np.allclose(here, there)
    assert all(m["latency_ms.board_upper"] >= m["latency_ms.board"] for m in front["front"])
    proof = json.loads((run / "proof.json").read_text())
    (limit,) = proof["limits"]
    assert (limit["kept"], limit["predicted"]) == (True, True)
    manifest = read_manifest(run / "model.onnx")
    (cost,) = manifest.predicted_costs
    assert (cost.objective, cost.runtime) == ("latency_ms.board", "litert")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "latency_ms.board: predicted, not measured." in page
    assert again(run, *job) == []


def test_a_device_without_a_table_is_refused(finished: CompileResult, tmp_path: Path) -> None:
    job = changes(finished)
    path = write_job(tmp_path, *job, ("latency_ms.board]", "latency_ms.phone]"))
    with pytest.raises(UsageError, match=r"latency_ms\.phone: nothing tells .*: latency_ms\.board"):
        compile_job(path, tmp_path / "run")
    missing = write_job(tmp_path, *job, ("litert-float32.csv", "nowhere.csv"))
    with pytest.raises(UsageError, match="there is no table"):
        compile_job(missing, tmp_path / "run")
