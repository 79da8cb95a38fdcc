"""The verbs on a finished run: screens, JSON, exit codes, disturbances from outside."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import edgenas
from edgenas.cli import main
from edgenas.cli.screen import Watch
from edgenas.study.api import CompileResult
from edgenas.study.chain import StepEvent
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps import STEPS
from tests.tiny_job import write_job

pytestmark = pytest.mark.slow


def test_compile_prints_front_proof_and_files(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", str(run / "job.yaml"), "--out", str(run)]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("kept:") == len(STEPS)
    texts = ("Front of tiny", "Proof of ", "model.onnx", "model.tflite", "report.html", "→")
    for words in (*texts, "run/bundle/onnx", "run/bundle/tflite"):
        assert words in captured.out


def test_json_is_one_document_and_quiet_is_quiet(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", str(run / "job.yaml"), "-o", str(run), "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    found = json.loads(captured.out)
    assert found["proof"]["files"][0]["file"] == "model.onnx"
    assert found["budget_kept"] is None


@pytest.mark.parametrize("verb", ["pick", "export", "report"])
def test_verbs_on_a_run_print_json(
    run: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, str(run), "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(run)
    assert main([verb, str(run)]) == 0
    assert capsys.readouterr().out


def test_search_prints_the_front(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(run / "job.yaml"), "--out", str(run)]) == 0
    assert "edgenas pick" in capsys.readouterr().out


def test_infeasible_pick_has_the_least_values(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pick", str(run), "--pick", "latency_ms<=0.000001 @ 90%"]) == 3
    assert "the least latency_ms @ 90%" in capsys.readouterr().err


def test_broken_budget_is_said_and_is_an_exit_code(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The accuracy of a network that was trained for one epoch keeps no such limit on test images.
    front = edgenas.pick(run).front
    limit = max(member["accuracy"] for member in front) - 1e-9
    code = main(["export", str(run), "--pick", f"accuracy >= {limit:.12f}"])
    proof = json.loads((run / "proof.json").read_text())
    kept = proof["limits"][0]["kept"]
    assert code == (0 if kept else 3)
    assert ("BROKEN" in capsys.readouterr().out) == (not kept)


def test_predict_by_id_of_a_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = edgenas.pick(run)
    lines = run.parent / "lines.jsonl"
    member = result.front[0]
    lines.write_text(
        f'{{"id": "{member["id"]}"}}\n\n'
        + json.dumps({"config": member["config"]})
        + "\n"
        + json.dumps(member["config"])
        + "\n"
        + json.dumps({"genes": member["genes"]})
    )
    settings = [
        f"--set={key}={json.dumps(value)}" for key, value in result.job.space.settings.items()
    ]
    command = ["predict", str(lines), "--space", "mbv3_tiny", "--run", str(run), *settings]
    assert main(command) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == 4
    assert all(entry == found[0] for entry in found)
    assert found[0]["latency_ms"] == pytest.approx(member["latency_ms"], rel=1e-4)


def test_measure_and_profile(finished: CompileResult, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(finished.files[1])
    assert main(["measure", path, "--visits", "2", "--spread", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["latency_ms"] > 0
    assert main(["measure", path, "--visits", "2", "--spread", "0"]) == 0
    assert "median" in capsys.readouterr().out
    settings = [
        f"--set={key}={json.dumps(value)}" for key, value in finished.job.space.settings.items()
    ]
    assert main(["profile", "--space", "mbv3_tiny", *settings]) == 0  # the table is there
    assert "Spearman" in capsys.readouterr().out
    assert main(["profile", "--space", "mbv3_tiny", *settings, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passport"]["unit"] == "ms"


def test_bars_and_lines_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch(quiet=False) as watch:
        watch.on_step(StepEvent("train", "begins", "not done yet"))
        watch._told -= 100
        watch.progress("training", 1, 10)
        watch._told -= 100
        watch.progress("training", 5, 10)
        watch.on_step(StepEvent("train", "done", "well", 71.2))
    text = capsys.readouterr().err
    assert "training: 5/10" in text
    assert "1 min 11 s: well" in text


def compile_in_child(
    job: Path, run: Path, *, largest_file_kib: int | None = None
) -> "subprocess.Popen[str]":
    """Starts a compile run in a process of its own, with a limit on the size of its files."""

    command = [sys.executable, "-m", "edgenas.cli", "compile", str(job), "--out", str(run), "-q"]
    if largest_file_kib is not None:
        limit = f'ulimit -f {largest_file_kib}; exec "$@"'
        command = ["/bin/bash", "-c", limit, "limited", *command]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("largest_file_kib", "until"), [(1, "pick"), (100, "pick"), (1000, "report")]
)
def test_writes_that_fail_end_cleanly_and_the_run_goes_on_later(
    finished: CompileResult, tmp_path: Path, largest_file_kib: int, until: str
) -> None:
    """The run that came furthest goes on to its end; what follows the pick is the same for all."""
    job = write_job(tmp_path)
    process = compile_in_child(job, tmp_path / "run", largest_file_kib=largest_file_kib)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 8, errors
    assert errors.startswith("error: ")
    assert "Traceback" not in errors
    result = edgenas.compile(job, tmp_path / "run", until=until)
    assert result.pick is not None
    assert finished.pick is not None
    assert result.pick["id"] == finished.pick["id"]


def test_killed_runs_go_on_and_propose_the_same(finished: CompileResult, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    for wait_s in (3.0, 4.5, 6.5):
        process = compile_in_child(job, tmp_path / "run")
        try:
            process.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    edgenas.compile(job, tmp_path / "run")
    for name in ("search/evaluations.json", "train/supernet.safetensors", "model.onnx"):
        assert (tmp_path / "run" / name).read_bytes() == (finished.folder / name).read_bytes()


def test_second_process_in_a_run_is_refused(
    finished: CompileResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with RunFolder(run).claim():
        assert main(["compile", str(write_job(tmp_path)), "--out", str(run), "-q"]) == 8
    assert f"process {os.getpid()} works" in capsys.readouterr().err
