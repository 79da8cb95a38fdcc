"""``edgenas ofa select``: what it prints and writes, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgenas import spaces
from edgenas.cli import main
from edgenas.evaluators.predictors import fit_predictor, save_predictor
from edgenas.spaces.fold import macs

CAPTURE = pytest.CaptureFixture[str]
DEVICE = "amd-epyc-2c-6e2bf889"
ONNX, LITERT = (f"{DEVICE}/{engine}-float32/mbv3_tiny" for engine in ("onnxruntime", "litert"))
QUICK = ("--evaluations", 4000)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = spaces.get("mbv3_tiny")
    rows = space.sample(40, np.random.default_rng(0))
    accuracy = 0.5 + 0.03 * np.log(macs(space)(rows) / 1e6)
    path = tmp_path_factory.mktemp("predictor") / "predictor.safetensors"
    save_predictor(fit_predictor(space, rows, accuracy, kinds=("ridge",), n_folds=3), path)
    return path


def run(capsys: CAPTURE, predictor: Path, *arguments: object, code: int = 0) -> str:
    asked = ["ofa", "select", "--space", "mbv3_tiny", "--predictor", predictor, *arguments, *QUICK]
    assert main([str(argument) for argument in asked]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out if code == 0 else captured.err


def test_budgets_of_a_table(capsys: CAPTURE, predictor: Path, tmp_path: Path) -> None:
    out = tmp_path / "front.json"
    told = run(
        capsys, predictor, "--table", ONNX, "--budgets", "0.1,0.15 @ 90%", "--out", out, "--json"
    )
    content = json.loads(told)
    assert content == json.loads(out.read_text())
    first, second = content["picks"]
    assert first["values"]["latency_ms"] <= 0.1
    assert second["budget"]["latency_ms"] < 0.15  # the upper end keeps it, not the value
    assert first["values"]["accuracy"] < second["values"]["accuracy"]
    lines = tmp_path / "archs.jsonl"
    lines.write_text("".join(json.dumps(p["config"]) + "\n" for p in content["picks"]))
    asked = ["predict", "--space", "mbv3_tiny", str(lines), "--table", ONNX]
    asked += ["--accept-mismatch", "device,runtime_version,settings,threads"]
    assert main(asked) == 0
    predicted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for pick, line in zip(content["picks"], predicted, strict=True):
        assert line["latency_ms"] == pytest.approx(pick["values"]["latency_ms"], abs=1e-6)
    assert predicted[1]["high_ms"] > 0


def test_tables_for_people(capsys: CAPTURE, predictor: Path) -> None:
    told = run(capsys, predictor, "--table", f"{ONNX}=0.12", "--limit", "n_macs<=5e6")
    assert "The best for every budget" in told
    assert "latency_ms <= 0.12" in told
    assert "predictions" in told
    told = run(capsys, predictor, "--table", ONNX, "--objectives", "accuracy,latency_ms,n_params")
    assert "on the front" in told
    assert "n_params" in told


def test_a_fleet(capsys: CAPTURE, predictor: Path) -> None:
    tables = ("--table", f"{ONNX}=0.12", "--table", f"{LITERT}=0.12")
    content = json.loads(run(capsys, predictor, *tables, "--fleet", "--json"))
    names = [f"{DEVICE}.{e}-float32.latency_ms" for e in ("onnxruntime", "litert")]
    assert list(content["budgets"]) == names
    for name in names:
        assert content["network"]["values"][name] <= 0.12
        assert content["accuracy_regret"][name] >= 0
    told = run(capsys, predictor, *tables, "--fleet")
    assert "One network for 2 devices" in told
    least = content["network"]["values"]["accuracy"] - 0.002
    told = run(capsys, predictor, *tables, "--fleet", "--accuracy", least, "--json")
    assert json.loads(told)["network"]["values"]["accuracy"] >= least


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--table", ONNX, "--budgets", "0.01"), 3, "the least is"),
        (("--table", ONNX, "--budgets", "fast"), 2, "not a budget: 'fast'"),
        (("--table", ONNX, "--budgets", "-1"), 2, "more than 0"),
        (("--table", ONNX, "--budgets", "1 @ 20%"), 2, "a confidence lies in"),
        (("--table", f"{ONNX}=fast"), 2, "there is no table"),
        (("--table", "nowhere"), 2, "there is no table 'nowhere'"),
        (("--budgets", "1"), 2, "name one with --table"),
        (("--table", ONNX, "--table", ONNX), 2, "name each device's table once"),
        (("--table", ONNX, "--objectives", "energy"), 2, "unknown objective 'energy'"),
        (("--table", ONNX, "--accuracy", "0.5"), 2, "goes with --fleet"),
        (("--table", ONNX, "--fleet"), 2, "a fleet needs a budget"),
        (("--table", f"{ONNX}=1", "--fleet"), 2, "two devices or more"),
        (("--table", ONNX, "--fleet", "--budgets", "1"), 2, "--fleet takes"),
        (("--table", f"{DEVICE}/onnxruntime-float32/fbnet"), 4, "serves something else"),
    ],
)
def test_refusals(
    capsys: CAPTURE, predictor: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert words in run(capsys, predictor, *arguments, code=code)
