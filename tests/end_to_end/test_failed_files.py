"""A file that fails its checks takes no other file with it: told at the end, tried again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgenas.cli import main
from edgenas.core.errors import ExportError, ValidationError
from edgenas.exporters.manifest import read_manifest
from edgenas.exporters.tflite import TfliteExporter
from edgenas.exporters.validate import Check
from edgenas.study.api import compile_job, export
from edgenas.study.chain import StepEvent
from edgenas.study.steps import device_checks, measure
from edgenas.study.steps import export as export_step
from tests.end_to_end.test_compile import again
from tests.tiny_job import write_job

pytestmark = pytest.mark.slow

RECIPES = Path(__file__).parents[2] / "export/recipes"


def demand(home: Path, line: str, *, target: str = "tflite") -> None:
    """Let the user's own recipe of a target ask for one thing more."""
    shipped = (RECIPES / f"{target}-float32.yaml").read_text(encoding="utf-8")
    path = home / f"export/recipes/{target}-float32.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{shipped}\n{line}\n", encoding="utf-8")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("line", ["most_file_kib: 1", "most_load_ms: 0.0001"])
def test_one_fails_and_the_other_is_delivered(
    run: Path, home: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may fail where it is written, or on the device."""
    name = {"most_file_kib": "size", "most_load_ms": "device_load"}[line.split(":")[0]]
    demand(home, line)
    assert main(["export", str(run)]) == ValidationError.exit_code
    told = capsys.readouterr().err
    assert f"model.tflite: the exported file failed {name}; it is now called" in told
    assert "model.onnx: the exported file" not in told
    assert not (run / "model.tflite").exists()
    assert (run / "model.tflite.failed").is_file()
    assert read_manifest(run / "model.tflite").status == "failed"
    assert read_manifest(run / "model.onnx").status == "passed"
    assert [path.name for path in (run / "bundle").iterdir() if path.is_dir()] == ["onnx"]
    bundles = json.loads((run / "bundle/bundles.json").read_text())
    assert bundles["refused"] == {"tflite": f"its checks failed: {name}"}
    entries = {one["target"]: one for one in json.loads((run / "proof.json").read_text())["files"]}
    assert (entries["onnx"]["status"], entries["tflite"]["status"]) == ("passed", "failed")
    assert (entries["tflite"]["measured"] is None) == (name == "size")


def test_a_file_that_does_not_run_on_the_device_is_not_timed_and_is_no_result(
    run: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    demand(home, "most_file_kib: 1000")  # so that the files are written and timed anew
    check = device_checks.check_on_device

    def damaged_on_the_way(device: Any, runtime: str, exporter: Any, path: Path, **how: Any) -> Any:
        if path.suffix == ".tflite":
            path = home / path.name
            path.write_bytes(b"nothing")
        return check(device, runtime, exporter, path, **how)

    monkeypatch.setattr(device_checks, "check_on_device", damaged_on_the_way)
    shutil.rmtree(run / "measured")
    assert main(["export", str(run)]) == ValidationError.exit_code
    assert "model.tflite: the exported file failed device_opens" in capsys.readouterr().err
    assert not (run / "model.tflite").exists()
    assert (run / "model.tflite.failed").is_file()
    manifest = read_manifest(run / "model.tflite")
    assert (manifest.status, manifest.measured_latency) == ("failed", None)
    assert manifest.not_run["measured_latency"] == "it does not run there"
    assert "model.tflite" not in json.loads((run / "measured/litert.json").read_text())["timings"]
    assert read_manifest(run / "model.onnx").measured_latency is not None
    bundles = json.loads((run / "bundle/bundles.json").read_text())
    assert bundles["refused"] == {"tflite": "its checks failed: device_opens"}
    monkeypatch.undo()
    monkeypatch.setenv("EDGENAS_HOME", str(home))
    assert [path.name for path in export(run).bundles] == ["onnx", "tflite"]
    assert read_manifest(run / "model.tflite").measured_latency is not None
    assert not (run / "model.tflite.failed").exists()


def test_a_target_that_cannot_have_the_network_takes_no_other_with_it(
    run: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demand(home, "most_file_kib: 1000")

    def refuse(*_: object) -> None:
        raise ExportError("TFLite has no operator Mish")

    job = write_job(run.parent)
    with monkeypatch.context() as patched:
        patched.setattr(TfliteExporter, "export", refuse)
        with pytest.raises(ValidationError, match=r"tflite: there is no file: .* no operator Mish"):
            compile_job(job, run)
    assert not list(run.glob("model.tflite*"))
    assert read_manifest(run / "model.onnx").measured_latency is not None
    proof = json.loads((run / "proof.json").read_text())
    assert [entry["target"] for entry in proof["files"]] == ["onnx"]
    assert proof["unwritten"] == {"tflite": "TFLite has no operator Mish"}
    bundles = json.loads((run / "bundle/bundles.json").read_text())
    assert (bundles["made"], list(bundles["refused"])) == (["onnx"], ["tflite"])
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Export failed: TFLite has no operator Mish" in page
    assert "There is no bundle for tflite: there is no file: TFLite has no operator Mish." in page
    assert [path.name for path in export(run).bundles] == ["onnx", "tflite"]
    with monkeypatch.context() as patched:
        patched.setattr(TfliteExporter, "export", refuse)
        demand(home, "most_file_kib: 999")
        with pytest.raises(ExportError, match="no operator Mish"):
            compile_job(write_job(run.parent, ("[onnx, tflite]", "[tflite]")), run)


def test_a_file_lies_nowhere_without_its_manifest(
    run: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the run is killed: what has a result's name says of itself what is not proven."""
    demand(home, "most_file_kib: 1000")
    again(run, until="export")
    for name in ("model.onnx", "model.tflite"):
        manifest = read_manifest(run / name)
        assert (manifest.status, manifest.measured_latency) == ("passed", None)
        assert "not got there" in manifest.not_run["measured_latency"]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for i, step in enumerate(("run_checks", "write_manifest")):
        demand(home, f"most_file_kib: {999 - i}")
        with monkeypatch.context() as patched:
            patched.setattr(export_step, step, killed)
            with pytest.raises(KeyboardInterrupt):
                again(run, until="export")
        assert not list(run.glob("model.[ot]*"))
    again(run)
    for name in ("model.onnx", "model.tflite"):
        assert read_manifest(run / name).measured_latency is not None
        assert not (run / "export" / name).exists()


def test_it_is_reported_and_tried_again(run: Path, home: Path) -> None:
    job = write_job(run.parent)
    demand(home, "most_file_kib: 1")
    with pytest.raises(ValidationError, match=r"model\.tflite") as failed:
        compile_job(job, run)
    assert failed.value.failed == ("size",)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count('<span class="bad">failed</span>') == 1
    assert "There is no bundle for tflite: its checks failed: size." in page
    with pytest.raises(ValidationError, match=r"model\.tflite"):
        export(run)
    demand(home, "most_file_kib: 1000")
    assert [path.name for path in export(run).bundles] == ["onnx", "tflite"]
    assert not (run / "model.tflite.failed").exists()


def test_all_that_failed_are_named(run: Path, home: Path) -> None:
    demand(home, "most_file_kib: 1")
    demand(home, "most_load_ms: 0.0001", target="onnx")
    with pytest.raises(ValidationError) as failed:
        export(run)
    assert set(failed.value.failed) == {"size", "device_load"}
    assert "model.onnx: the exported file failed device_load" in str(failed.value)
    assert "model.tflite: the exported file failed size" in str(failed.value)
    assert json.loads((run / "bundle/bundles.json").read_text())["made"] == []


def test_a_file_that_was_set_aside_is_neither_missing_nor_damaged(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken budget is found once; when files are timed anew they have their names again."""
    broken = Check("budget_latency_ms", passed=False, measured=2.0, tolerance=1.0, detail="slow")
    only = [broken]
    monkeypatch.setattr(
        measure, "budget_checks", lambda run, name, _: only if name == "onnxruntime" else []
    )
    done: list[str] = []

    def again(visits: int) -> None:
        done.clear()
        job = write_job(run.parent, ("n_visits: 2, n_runs: 1, sp", f"n_visits: {visits}, sp"))

        def on_step(event: StepEvent) -> None:
            if event.state == "done":
                done.append(event.step)

        compile_job(job, run, on_step=on_step)

    again(3)
    assert done == ["measure", "bundle", "report"]
    assert (run / "model.onnx.failed").is_file()
    again(3)
    assert done == []
    again(4)
    assert done == ["measure", "bundle", "report"]
    assert (run / "model.onnx.failed").is_file()
    only.clear()
    again(5)
    assert done == ["measure", "bundle", "report"]
    assert (run / "model.onnx").is_file()
    assert not (run / "model.onnx.failed").exists()
