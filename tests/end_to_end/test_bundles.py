"""A run's bundles: proven again, checked by their own program, refused to files that failed."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.errors import StorageError
from edgenas.exporters.bundle import check_files, read_index
from edgenas.exporters.manifest import load_manifest
from edgenas.profiling.progress import silent
from edgenas.study.api import CompileResult, compile_job
from edgenas.study.context import Run
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps.bundle import BUNDLE, BUNDLES
from edgenas.study.steps.proof import PROOF
from edgenas.study.verify import PLAN, verify
from tests.tiny_job import write_job

pytestmark = pytest.mark.slow


def test_each_file_has_one_that_holds(finished: CompileResult) -> None:
    assert [path.name for path in finished.bundles] == ["onnx", "tflite"]
    assert finished.unbundled == {}
    for folder in finished.bundles:
        assert all(finding.passed for finding in check_files(folder, read_index(folder)))
        result = verify(folder, plan=replace(PLAN, n_visits=2, spread_s=0, n_processes=1))
        assert result.exit_code == 0
        assert {one.name for one in result.findings if one.passed} >= {"values", "device_values"}
        done = subprocess.run(
            [sys.executable, str(folder / "check/check.py")],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_images_are_framed_as_the_data_set_has_them(finished: CompileResult) -> None:
    manifest = load_manifest(finished.bundles[0] / "manifest.json")
    assert manifest.input.resize.stored == (8, 8)
    assert manifest.input.resize.crop_share is None
    assert len(np.load(finished.bundles[0] / "check/inputs.npy")) == 64


def loaded(run: Path) -> Run:
    folder = RunFolder(run)
    return Run(folder, folder.job())


def test_files_that_failed_get_none_and_it_is_said(run: Path) -> None:
    proof = json.loads((run / PROOF).read_text())
    proof["files"][0]["checks"][0]["passed"] = False
    (run / PROOF).write_text(json.dumps(proof))
    (run / "model.tflite").rename(run / "model.tflite.failed")
    BUNDLE.make(loaded(run), silent)
    content = json.loads((run / BUNDLES).read_text())
    assert content["made"] == []
    assert content["refused"]["onnx"].startswith("its checks failed: ")
    assert content["refused"]["tflite"] == "it failed and was set aside"
    assert "none for onnx: its checks failed" in BUNDLE.summary(loaded(run))
    assert [path.name for path in (run / "bundle").iterdir()] == ["bundles.json"]


def test_a_broken_budget_gets_none_and_the_run_goes_on(run: Path) -> None:
    """The budget is asked of onnxruntime alone; the other file keeps its bundle."""
    proof = json.loads((run / PROOF).read_text())
    for entry in proof["files"]:
        entry["budget_kept"] = False
    (run / PROOF).write_text(json.dumps({**proof, "budgets": ["latency_ms <= 1e-06"]}))
    BUNDLE.make(loaded(run), silent)
    assert json.loads((run / BUNDLES).read_text()) == {
        "made": ["tflite"],
        "refused": {"onnx": "it breaks the budget"},
    }
    assert read_index(run / "bundle/tflite").budgets == ()


def test_a_damaged_bundle_is_made_anew(run: Path) -> None:
    shutil.rmtree(run / "bundle/onnx/check")
    result = compile_job(write_job(run.parent), run)
    assert (result.bundles[0] / "check/check.py").is_file()


def test_a_lost_reference_says_how_to_get_it_back(run: Path) -> None:
    (run / "export/reference.npz").write_bytes(b"no archive")
    with pytest.raises(StorageError, match="run `edgenas export` again"):
        BUNDLE.make(loaded(run), silent)
