"""The chain in 8 bits: int8 table, finalists by their files, the pick among those that stay."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.cli import main
from edgenas.core.errors import UsageError
from edgenas.costs.table import CostTable
from edgenas.exporters.manifest import read_manifest
from edgenas.hardware.device import Device
from edgenas.lowering.torch import GraphModule
from edgenas.study import api
from edgenas.study.context import Run
from edgenas.study.job import load_job
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps import finalists, quantise
from edgenas.study.steps.finalists import read_finalists, reranked
from edgenas.study.steps.quantise import QUANTISE
from edgenas.study.steps.search import read_front
from tests.tiny_job import write_job

pytestmark = pytest.mark.slow

INT8 = (
    ("knee\n", "knee\nfinalists: {n: 4, n_validation_images: 100}\n"),
    ("n_visits: 2, n_runs: 1, sp", "n_visits: 4, n_runs: 2, sp"),
)


@pytest.fixture(scope="module")
def int8_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    job = write_job(folder, *INT8)
    command = ["compile", str(job), "--out", str(folder / "run"), "--precision", "int8", "-q"]
    assert main(command) == 0
    return folder / "run"


@pytest.fixture
def opened(int8_run: Path) -> Run:
    return Run(RunFolder(int8_run), load_job(int8_run / "job.yaml"))


def test_tables_files_and_proof_are_of_the_precision(int8_run: Path, opened: Run) -> None:
    assert opened.job.device.precision == "int8"
    for runtime in ("onnxruntime", "litert"):
        table = CostTable.load(int8_run / f"tables/{runtime}-int8.csv")
        assert table.passport.runtime.precision == "int8"
    proof = json.loads((int8_run / "proof.json").read_text())
    assert proof["precision"] == "int8"
    for name in ("model.onnx", "model.tflite"):
        manifest = read_manifest(int8_run / name)
        assert (manifest.precision, manifest.status) == ("int8", "passed")
        made = {check.name for check in manifest.checks}
        assert {"values", "accuracy", "delegate", "device_values", "device_load"} <= made
    entries = {entry["file"]: entry for entry in proof["files"]}
    assert all(0 <= entry["test_accuracy"] <= 1 for entry in entries.values())
    small = (int8_run / "model.onnx").stat().st_size
    assert small < 4 * sum(np.prod(w.shape) for w in opened_weights(opened)) * 0.8


def test_results_have_the_finalists(int8_run: Path, opened: Run) -> None:
    result = api.pick(int8_run)
    assert result.as_dict()["finalists"] == [asdict(one) for one in read_finalists(opened)]


def opened_weights(run: Run) -> list[np.ndarray]:
    from edgenas.lowering.torch import folded_weights

    return list(folded_weights(quantise.load_model(run)).values())


def test_finalists_are_judged_by_their_files(opened: Run) -> None:
    found = read_finalists(opened)
    assert len(found) == min(4, len(read_front(opened)))
    assert all(one.file_accuracy is not None and one.measured_ms for one in found)
    stays = [one for one in found if one.beaten_by is None]
    for one in found:
        if one.beaten_by is not None:
            (better,) = [other for other in stays if other.id == one.beaten_by]
            assert (better.file_accuracy or 0) >= (one.file_accuracy or 0)
            assert (better.measured_ms or 0) <= (one.measured_ms or 0)
    members = {member.arch.id: member.values for member in reranked(opened)}
    assert set(members) == {one.id for one in stays}
    for one in stays:
        assert members[one.id]["accuracy"] == one.file_accuracy
        assert members[one.id]["latency_ms"] == one.measured_ms
    pick = opened.read("pick.json")
    assert pick["id"] in members
    assert pick["values"]["latency_ms"] == members[pick["id"]]["latency_ms"]


def test_a_finalist_that_does_not_run_on_the_device_is_out(
    int8_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(int8_run, tmp_path / "run"))
    before = json.loads((run / "pick.json").read_text())["id"]
    asked = finalists.reason_not_to_run

    def without_the_pick(device: Device, runtime: str, path: Path, **how: Any) -> str | None:
        if path.stem == before:
            path.write_bytes(path.read_bytes()[:-100])
        return asked(device, runtime, path, **how)

    monkeypatch.setattr(finalists, "reason_not_to_run", without_the_pick)
    text = (run / "job.yaml").read_text()
    (run / "job.yaml").write_text(
        text.replace("n_validation_images: 100", "n_validation_images: 99")
    )
    result = api.compile_job(run / "job.yaml", run, until="pick")
    found = {one["id"]: one for one in result.finalists}
    assert "it does not run on local: " in found[before]["error"]
    assert found[before]["measured_ms"] is None
    others = [one for one in found.values() if one["id"] != before]
    assert others
    assert all(one["error"] is None and one["measured_ms"] > 0 for one in others)
    assert result.pick is not None
    assert result.pick["id"] != before


def test_a_limit_with_confidence_is_held_by_prediction_and_measurement(opened: Run) -> None:
    """What was measured above the limit is not picked, whatever was predicted."""
    from edgenas.study.steps.finalists import upper_of

    stays = reranked(opened)
    archs = [member.arch for member in stays]
    predicted = np.asarray(opened.costs(()).upper("latency_ms", 0.9, archs))
    both = np.asarray(upper_of(opened, opened.costs(()).upper)("latency_ms", 0.9, archs))
    measured = np.array([member.values["latency_ms"] for member in stays])
    np.testing.assert_array_equal(both, np.maximum(predicted, measured))


def test_the_report_shows_who_fell_off(int8_run: Path, opened: Run) -> None:
    page = (int8_run / "report.html").read_text(encoding="utf-8")
    assert "Finalists" in page
    data = json.loads((int8_run / "report.json").read_text())
    assert len(data["finalists"]) == len(read_finalists(opened))
    fell = [one for one in read_finalists(opened) if one.beaten_by]
    assert page.count("fell off</span>") == len(fell)
    assert "The int8 file gets" in data["quantised"]


def test_a_pick_that_loses_too_much_is_trained_on(
    opened: Run, int8_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first file is made to look bad; the second one is what the training gave."""
    import shutil

    copy = Path(shutil.copytree(int8_run, tmp_path / "run"))
    run = Run(RunFolder(copy), opened.job)
    known = run.read("finetune.json")["validation_accuracy"]
    real = quantise._accuracy

    def first_is_bad(of: Run, module: GraphModule) -> float:
        return known - 0.5 if module.norms() else real(of, module)  # trained ones have none

    monkeypatch.setattr(quantise, "_accuracy", first_is_bad)
    QUANTISE.make(run, lambda *_: None)
    found = run.read("quantised.json")
    assert found["is_kept"]
    assert found["trained_file_accuracy"] > known - 0.5
    assert "trained on in 8 bits" in QUANTISE.summary(run)
    assert not list((copy / "checkpoints").glob("*"))
    before = api.compile_job(opened.job, int8_run)
    after = api.compile_job(opened.job, copy)
    assert before.pick == after.pick
    assert before.proof is not None
    assert after.proof is not None
    assert after.proof["files"][0]["sha256"] != before.proof["files"][0]["sha256"]
    assert all(entry["status"] == "passed" for entry in after.proof["files"])


def test_unknown_precisions_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = write_job(tmp_path)
    assert main(["search", str(job), "-o", str(tmp_path / "run"), "--precision", "int4"]) == 2
    assert "no precision 'int4'" in capsys.readouterr().err
    with pytest.raises(UsageError, match="weight_int8"):
        api.with_precision(job, "weights")
    assert not (tmp_path / "run").exists()


def test_float32_needs_no_finalists(run: Path) -> None:
    content = json.loads((run / "finalists/finalists.json").read_text())
    assert content == {"finalists": []}
    assert json.loads((run / "quantised.json").read_text())["reason"] == "float32 has no codes"
