"""``edgenas verify``: what it prints, JSON, exit codes."""

import json
from pathlib import Path

import pytest

from edgenas.cli import main
from edgenas.exporters.onnx import OnnxExporter
from edgenas.hardware.device import load_device
from edgenas.study import verify_device
from tests.exporters.bundle.bundles import measured, predicted, tiny_bundle

CAPTURE = pytest.CaptureFixture[str]
QUICK = ("--visits", "1", "--spread", "0", "--processes", "1", "-q")


def test_a_sound_bundle(tmp_path: Path, capsys: CAPTURE) -> None:
    bundle = tiny_bundle(tmp_path)
    assert main(["verify", str(bundle), *QUICK]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for words in (
        "model.onnx, onnx, float32",
        "passed",
        "told",
        "device_values",
        "is what was made",
    ):
        assert words in captured.out
    assert "FAILED" not in captured.out


def test_json_has_every_finding(tmp_path: Path, capsys: CAPTURE) -> None:
    bundle = tiny_bundle(tmp_path)
    assert main(["verify", str(bundle), "--json", *QUICK]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verified"], found["exit_code"]) == (True, 0)
    assert {"name", "passed", "asked", "found", "remedy"} == set(found["findings"][0])
    assert found["latency_ms"] > 0


def test_a_failed_check_is_exit_code_7_and_says_what_to_do(tmp_path: Path, capsys: CAPTURE) -> None:
    bundle = tiny_bundle(tmp_path)
    (bundle / "model.onnx").write_bytes(b"")
    assert main(["verify", str(bundle), *QUICK]) == 7
    captured = capsys.readouterr()
    assert "FAILED" in captured.out
    assert "error: hashes: truncated or changed: model.onnx (0 bytes); copy the" in captured.err
    assert "is what was made" not in captured.out
    assert main(["verify", str(bundle), "--json", *QUICK]) == 7
    assert json.loads(capsys.readouterr().out)["exit_code"] == 7


def test_a_broken_budget_is_exit_code_3(tmp_path: Path, capsys: CAPTURE) -> None:
    slug = load_device("local").fingerprint.slug
    bundle = tiny_bundle(
        tmp_path,
        budgets=("latency_ms <= 1e-06",),
        measured_latency=measured(device=slug),
        predicted_latency=predicted(device=slug),
    )
    assert main(["verify", str(bundle), *QUICK]) == 3
    assert "BROKEN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [(None, 8, "edgenas export RUN"), ("{", 2, "no JSON"), ('{"schema_version": 7}', 2, "is 7")],
)
def test_what_is_no_bundle(
    tmp_path: Path, capsys: CAPTURE, content: str | None, code: int, words: str
) -> None:
    if content is not None:
        (tmp_path / "bundle.json").write_text(content)
    assert main(["verify", str(tmp_path), *QUICK]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert words in captured.err


def test_an_unknown_device(tmp_path: Path, capsys: CAPTURE) -> None:
    bundle = tiny_bundle(tmp_path)
    assert main(["verify", str(bundle), "--device", "lokal", *QUICK]) == 2
    assert "nearest: local" in capsys.readouterr().err


def test_a_file_that_nothing_opened_is_not_verified(
    tmp_path: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is wrong that could be looked at, and it is said that nobody ran the file."""
    monkeypatch.setattr(OnnxExporter, "unavailable_to_run_reason", lambda self: "no engine here")
    monkeypatch.setattr(verify_device, "runtimes_on", lambda description: ())
    bundle = tiny_bundle(tmp_path)
    assert main(["verify", str(bundle), *QUICK]) == 0
    shown = capsys.readouterr().out
    assert "its file was NOT run" in shown
    assert "is what was made" not in shown
    assert main(["verify", str(bundle), "--json", *QUICK]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["verified"], told["was_run"], told["exit_code"]) == (False, False, 0)
