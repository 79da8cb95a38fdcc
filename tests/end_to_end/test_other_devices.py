"""A search for this device and another one, of which there is a table and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgenas.core.errors import UsageError
from edgenas.core.files import sha256_of
from edgenas.costs.model import CostModel
from edgenas.costs.table import CostTable, passport_path
from edgenas.exporters.manifest import read_manifest
from edgenas.study import api
from edgenas.study.api import CompileResult, compile_job
from edgenas.study.context import Run
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps.proof import _limits
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


def test_what_only_the_pick_names_changes_no_search(
    finished: CompileResult, run: Path, published: Path
) -> None:
    board = run.parent / "board.csv"
    table = CostTable.load(finished.folder / "tables/litert-float32.csv")
    table.save(board)
    job = (
        (
            "pick: knee\n",
            f"device: {{also: {{board: {board}}}}}\npick: latency_ms.board <= 1e3\n",
        ),
        ("[onnx, tflite]", "[onnx]"),
    )
    assert "search" not in again(run, *job)
    front = json.loads((run / "search/front.json").read_text())
    assert not [key for member in front["front"] for key in member if "board" in key]
    (cost,) = read_manifest(run / "model.onnx").predicted_costs
    assert (cost.objective, cost.runtime) == ("latency_ms.board", "litert")
    assert sha256_of(run / "tables/also-board.csv") == sha256_of(board)

    # Another table is copied, told in the file's manifest, and everything that it lacks with it.
    CostTable.load(published).save(board)
    done = again(run, *job)
    assert {"profile", "pick", "export", "measure", "report"} <= set(done)
    assert "search" not in done
    assert sha256_of(run / "tables/also-board.csv") == sha256_of(board)
    (now,) = read_manifest(run / "model.onnx").predicted_costs
    assert (now.provenance, now.low, now.value != cost.value) == ("published", None, True)
    told = "its costs were published by others"
    proof = json.loads((run / "proof.json").read_text())
    assert any(told in text for text in proof["caveats"]["latency_ms.board"])
    report = json.loads((run / "report.json").read_text())
    assert any(
        text.startswith(f"The table for latency_ms.board: {told}") for text in report["warnings"]
    )
    assert [table["path"] for table in report["tables"]][-1] == "tables/also-board.csv"

    # It has gone: the run's copy serves, but for no table of another name.
    for path in (board, passport_path(board)):
        path.unlink()
    assert again(run, *job) == []
    assert api.report(run).caveats[-1].startswith(f"table for latency_ms.board: {told}")
    with pytest.raises(UsageError, match="there is no table"):
        again(run, *job, (f"board: {board}", f"board: {board}.old"))
    (run / "tables/also-board.csv").unlink()
    with pytest.raises(UsageError, match="there is no table"):
        again(run, *job)


def test_limits_on_another_device_hold_for_upper_ends(run: Path, published: Path) -> None:
    folder = RunFolder(run)
    space = Run(folder, folder.job()).space
    table = run / "tables/litert-float32.csv"
    model = CostModel(space, CostTable.load(table))
    rows = space.sample(400, np.random.default_rng(0))
    values, ends = model.predict(rows)[0], model.upper(rows, 0.9)
    limit = float(f"{np.quantile(ends, 0.4):.6g}")
    promised = rows[(values <= limit) & (ends > limit)]
    assert len(promised)  # kept by the value, not by its upper end
    device = f"device: {{also: {{board: {table}}}}}\n"
    job = (
        "pick: knee\n",
        f"{device}constraints: [latency_ms.board <= {limit} @ 90%]\npick: knee\n",
    )
    assert "search" in again(run, job, until="pick")
    evaluations = json.loads((run / "search/evaluations.json").read_text())["evaluations"]
    genes = np.array([entry["genes"] for entry in evaluations], np.int8)
    assert (model.upper(genes, 0.9) <= limit).all()
    loaded = Run(folder, folder.job())
    for row in (genes[0], promised[0]):
        (arch,) = space.architectures(row[None])
        (found,) = _limits(loaded, arch, {"latency_ms.board": float(model.fold(row[None])[0])})
        end = float(model.upper(row[None], 0.9)[0])
        assert found["value"] == pytest.approx(end)
        assert (found["kept"], found["predicted"]) == (end <= limit, True)
    assert not found["kept"]
    unknown = (job[0], job[1].replace(str(table), str(published)))
    before = (run / "job.yaml").read_text()
    with pytest.raises(UsageError, match="a budget @ 90% asks for an interval"):
        again(run, unknown)
    assert (run / "job.yaml").read_text() == before


def test_a_device_without_a_table_is_refused(finished: CompileResult, tmp_path: Path) -> None:
    job = changes(finished)
    path = write_job(tmp_path, *job, ("latency_ms.board]", "latency_ms.phone]"))
    with pytest.raises(UsageError, match=r"latency_ms\.phone: nothing tells .*: latency_ms\.board"):
        compile_job(path, tmp_path / "run")
    missing = write_job(tmp_path, *job, ("litert-float32.csv", "nowhere.csv"))
    with pytest.raises(UsageError, match="there is no table"):
        compile_job(missing, tmp_path / "run")
