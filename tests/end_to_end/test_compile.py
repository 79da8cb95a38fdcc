"""The whole chain on a tiny job: results, what is redone after which change, refusals."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgenas
from edgenas import spaces
from edgenas.core import files
from edgenas.core.errors import (
    DataError,
    InfeasibleError,
    MissingExtraError,
    RegistryError,
    SpaceError,
    StorageError,
    TableError,
    UsageError,
)
from edgenas.core.files import sha256_of
from edgenas.costs.store import all_tables
from edgenas.exporters.manifest import load_manifest, read_manifest
from edgenas.runtimes import RUNTIMES
from edgenas.study import context
from edgenas.study.api import CompileResult, compile_job
from edgenas.study.chain import StepEvent
from edgenas.study.job import load_job
from edgenas.study.steps import STEPS
from tests.tiny_job import write_job

pytestmark = pytest.mark.slow


class Log:
    """Collects what the chain says."""

    def __init__(self) -> None:
        self.events: list[StepEvent] = []

    def __call__(self, event: StepEvent) -> None:
        self.events.append(event)

    @property
    def done(self) -> list[str]:
        return [event.step for event in self.events if event.state == "done"]


def again(run: Path, *changes: tuple[str, str], until: str = "report") -> list[str]:
    """Compiles the tiny job, changed, into `run`; returns the steps that were done."""
    log = Log()
    compile_job(write_job(run.parent, *changes), run, until=until, on_step=log)
    return log.done


def test_files_manifests_proof_and_report_are_there(finished: CompileResult) -> None:
    assert [path.name for path in finished.files] == ["model.onnx", "model.tflite"]
    assert finished.report is not None
    assert "plotly" in finished.report.read_text(encoding="utf-8")
    assert finished.pick is not None
    for path in finished.files:
        manifest = read_manifest(path)
        assert manifest.file.sha256 == sha256_of(path)
        assert manifest.source.architecture_id == finished.pick["id"]
        assert all(check.passed for check in manifest.checks)
        assert {check.name for check in manifest.checks} >= {"values", "accuracy"}
        assert manifest.predicted_latency is not None
        assert manifest.measured_latency is not None
        assert manifest.measured_latency.latency_ms > 0
        assert manifest.output.class_names == tuple(map(str, range(10)))


def test_proof_sets_prediction_beside_measurement(finished: CompileResult) -> None:
    proof = finished.proof
    assert proof is not None
    assert proof["budgets"] == []
    assert finished.budget_kept is None
    assert 0 <= proof["test_accuracy"] <= 1
    for entry in proof["files"]:
        assert entry["predicted"]["low_ms"] <= entry["predicted"]["high_ms"]
        assert entry["measured"]["min_ms"] <= entry["measured"]["p95_ms"]
    timed = {(entry["id"], entry["runtime"]) for entry in proof["front"]}
    assert {runtime for _, runtime in timed} == {"onnxruntime", "litert"}


def test_result_is_json_and_evaluations_are_distinct(finished: CompileResult) -> None:
    assert json.loads(json.dumps(finished.as_dict()))["job"] == "tiny"
    content = json.loads((finished.folder / "search/evaluations.json").read_text())
    ids = [entry["id"] for entry in content["evaluations"]]
    assert len(ids) == len(set(ids)) == 12
    assert len(content["hypervolume"]) == 12


def test_second_run_skips_everything(run: Path) -> None:
    assert again(run) == []


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        (("knee", "n_macs <= 1e9"), {"pick", "export", "measure", "bundle", "report"}),
        (("finetune: {epochs: 1}", "finetune: {epochs: 0}"), {"finetune", "export"}),
        (("n_visits: 2, n_runs: 1, sp", "n_visits: 3, n_runs: 1, sp"), {"measure", "report"}),
        (("[onnx, tflite]", "[onnx]"), {"export", "measure"}),
    ],
)
def test_change_redoes_only_what_depends_on_it(
    run: Path, change: tuple[str, str], steps: set[str]
) -> None:
    done = again(run, change)
    order = [step.name for step in STEPS]
    first = min(order.index(step) for step in steps)
    assert steps <= set(done)
    assert not set(done) & set(order[1:first])


def test_more_evaluations_continue_the_search(run: Path) -> None:
    before = json.loads((run / "search/evaluations.json").read_text())["evaluations"]
    done = again(run, ("n_evaluations: 12", "n_evaluations: 14"), until="search")
    after = json.loads((run / "search/evaluations.json").read_text())["evaluations"]
    assert done == ["search"]
    assert after[:12] == before
    assert again(run, until="search") == ["search"]
    assert json.loads((run / "search/evaluations.json").read_text())["evaluations"] == before


def test_dropped_target_leaves_no_stale_file(run: Path) -> None:
    again(run, ("[onnx, tflite]", "[onnx]"))
    assert not (run / "model.tflite").exists()
    assert not (run / "model.tflite.json").exists()
    assert [path.name for path in sorted((run / "bundle").iterdir())] == ["bundles.json", "onnx"]


def test_damaged_files_are_made_anew_with_the_same_content(run: Path) -> None:
    names = ("model.onnx", "model.safetensors", "search/front.json")
    before = {name: sha256_of(run / name) for name in names}
    (run / "model.onnx").write_bytes(b"scratched")
    (run / "model.safetensors").unlink()
    (run / "search/front.json").write_text("{}")
    done = again(run)
    assert {"search", "finetune", "export"} <= set(done)
    assert "train" not in done
    assert {name: sha256_of(run / name) for name in names} == before


def test_run_keeps_its_own_tables(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(run.parent / "empty"))
    assert again(run) == []


def test_pick_export_and_report_continue_a_run(run: Path) -> None:
    front = edgenas.pick(run).front
    slowest = front[-1]["id"]
    picked = edgenas.pick(run, slowest)
    assert picked.pick is not None
    assert picked.pick["id"] == slowest
    assert edgenas.compile(run / "job.yaml", run, until="pick").pick == picked.pick
    log = Log()
    exported = edgenas.export(run, on_step=log)
    assert exported.proof is not None
    assert exported.proof["architecture"]["id"] == slowest
    assert exported.bundles == (run / "bundle/onnx", run / "bundle/tflite")
    manifest = load_manifest(run / "bundle/onnx/manifest.json")
    assert manifest.source.architecture_id == slowest
    assert edgenas.report(run).report == run / "report.html"


def test_unpickable_is_refused(run: Path) -> None:
    with pytest.raises(UsageError, match="picks nothing"):
        edgenas.pick(run, "soon")
    with pytest.raises(UsageError, match="no member of the front"):
        edgenas.pick(run, "ffffffffff")


def test_impossible_budget_is_refused_before_training(tmp_path: Path) -> None:
    log = Log()
    job = write_job(tmp_path, ("pick: knee", "pick: latency_ms <= 0.000001 @ 90%"))
    with pytest.raises(InfeasibleError, match=r"least latency_ms @ 90% in .* is 0\.0"):
        compile_job(job, tmp_path / "run", on_step=log)
    assert log.done == ["profile"]


def test_impossible_constraint_is_refused_before_training(tmp_path: Path) -> None:
    log = Log()
    job = write_job(tmp_path, ("pick: knee", "constraints: [n_params <= 10]"))
    with pytest.raises(InfeasibleError, match="the least n_params"):
        compile_job(job, tmp_path / "run", on_step=log)
    assert "train" not in log.done


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (("mbv3_tiny", "mbv3_tin"), RegistryError, "nearest: mbv3_tiny"),
        (("n_evaluations", "algorithm: nsga3, n_evaluations"), RegistryError, "nearest: nsga2"),
        (("[onnx, tflite]", "[onnx, tflit]"), RegistryError, "nearest: tflite"),
        (("source: digits", "source: digit"), DataError, "nearest: digits"),
        (("pick: knee", "device: {runtime: onnxruntim}"), RegistryError, "nearest: onnxruntime"),
        (("pick: knee", "device: {id: loca}"), RegistryError, "nearest: local"),
        (("final_width", "final_widht"), SpaceError, "final_width"),
        (("population: 6", "settings: {mutation: 1}"), UsageError, "mutation_probability"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_written(
    tmp_path: Path, change: tuple[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        compile_job(write_job(tmp_path, change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_extra_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(self: object) -> str:
        return "run: pip install 'edgenas[litert]'"

    monkeypatch.setattr(RUNTIMES.get("litert"), "unavailable_reason", absent)
    log = Log()
    with pytest.raises(MissingExtraError, match=r"edgenas\[litert\]"):
        compile_job(write_job(tmp_path), tmp_path / "run", on_step=log)
    assert log.done == []


def test_missing_torch_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reason(module: str) -> str | None:
        return "run: pip install 'edgenas[torch]'" if module == "torch" else None

    monkeypatch.setattr(context, "unavailable_reason", reason)
    with pytest.raises(MissingExtraError, match=r"edgenas\[torch\]"):
        compile_job(write_job(tmp_path), tmp_path / "run")


def test_damaged_installed_table_is_an_error_and_kept(
    finished: CompileResult, tmp_path: Path
) -> None:
    (path,) = [p for p in all_tables() if "litert" in str(p) and "resolutions" in p.name]
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\n", b"\n\n", 1))
    try:
        with pytest.raises(TableError, match="checksum"):
            compile_job(finished.job, tmp_path / "run", until="profile")
        assert path.read_bytes() != content
    finally:
        path.write_bytes(content)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every atomic write of a file whose name is in the list fails as on a full disk."""
    names: list[str] = []
    original = files.atomic_path

    def write_text(path: Path, content: str) -> None:
        with original(path) as temporary:
            if path.name in names:
                raise OSError(errno.ENOSPC, "No space left on device")
            temporary.write_bytes(content.encode())

    monkeypatch.setattr(files, "write_text", write_text)
    return names


def test_full_disk_is_said_and_the_run_goes_on_later(run: Path, full_disk: list[str]) -> None:
    full_disk.append("pick.json")
    with pytest.raises(StorageError, match="No space left"):
        again(run, ("knee", "n_macs <= 1e9"))
    full_disk.clear()
    assert again(run, ("knee", "n_macs <= 1e9"))[0] == "pick"


def test_python_api_predicts_and_measures(finished: CompileResult) -> None:
    job = load_job(finished.folder / "job.yaml")
    run = context.Run(context.RunFolder(finished.folder), job)
    rows = run.space.sample(5, np.random.default_rng(0))
    predictions = edgenas.predict(run.space, rows)
    assert all(p.low <= p.value <= p.high for p in predictions)
    wide: list[Any] = edgenas.predict(run.space, rows, coverage=0.5)
    assert wide[0].value == predictions[0].value
    measured = edgenas.measure(finished.files[0])
    assert measured.latency_ms > 0
    with pytest.raises(UsageError, match=r"runtimes that run it here: onnxruntime"):
        edgenas.measure(finished.files[0], runtime="litert")
    other = spaces.get("mbv3_tiny", n_classes=7)  # edgenas comes with a table of it for no machine
    with pytest.raises(TableError, match="edgenas profile --space mbv3_tiny --set n_classes=7"):
        edgenas.predict(other, other.sample(2, np.random.default_rng(0)))
