"""``edgenas ofa predictor``: what the verbs print, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgenas import spaces
from edgenas.cli import main
from edgenas.evaluators.predictors import ensemble, sampling
from edgenas.spaces.fold import macs

CAPTURE = pytest.CaptureFixture[str]
SPACE = ("--space", "mbv3_tiny")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "N_CANDIDATES", 120)
    monkeypatch.setattr(ensemble, "_EPOCHS", 5)


def run(capsys: CAPTURE, *arguments: object, code: int = 0) -> str:
    assert main(["ofa", "predictor", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out if code == 0 else captured.out + captured.err


@pytest.fixture
def accuracies(capsys: CAPTURE, tmp_path: Path) -> Path:
    """Accuracies of chosen subnets, as a chain would write them."""
    lines = run(capsys, "choose", *SPACE, "-n", 30).splitlines()
    assert len(set(lines)) == 30
    space = spaces.get("mbv3_tiny")
    chosen = [json.loads(line) for line in lines]
    rows = np.stack([space.parse(config) for config in chosen])
    values = 0.6 + 0.02 * np.log(macs(space)(rows) / 1e6)
    path = tmp_path / "accuracies.jsonl"
    path.write_text(
        "\n".join(
            json.dumps({"accuracy": float(value), **config})
            for value, config in zip(values, chosen, strict=True)
        )
    )
    return path


def test_choose_fit_show_evaluate(capsys: CAPTURE, accuracies: Path, tmp_path: Path) -> None:
    file = tmp_path / "predictor.safetensors"
    told = run(
        capsys,
        "fit",
        accuracies,
        *SPACE,
        "--out",
        file,
        "--held-out",
        accuracies.with_name("no"),
        code=2,
    )
    assert "cannot read" in told
    text = run(
        capsys,
        "fit",
        accuracies,
        *SPACE,
        "--out",
        file,
        "--kind",
        "ridge",
        "--kind",
        "gaussian_process",
        "--folds",
        3,
        "-q",
    )
    assert f"{file}: " in text
    assert "fitted to 30 architectures (30 evaluations)" in text
    assert run(capsys, "show", file) == text
    table = [line for line in text.splitlines() if line.startswith(("ridge", "gaussian"))]
    assert len(table) == 2
    assert all(line.rstrip().endswith(")") for line in table)  # nothing is cut off
    shown = json.loads(run(capsys, "show", file, "--json"))
    assert set(shown["candidates"]) == {"ridge", "gaussian_process"}
    assert shown["candidates"][shown["kind"]]["spearman"]["value"] > 0.9
    architectures = tmp_path / "architectures.jsonl"
    architectures.write_text(run(capsys, "choose", *SPACE, "--known", accuracies, "-n", 4))
    rows = [json.loads(line) for line in run(capsys, "evaluate", file, architectures).splitlines()]
    assert len(rows) == 4
    for row in rows:
        assert row["low"] < row["accuracy"] < row["high"]
        assert row["confidence"] == 0.9
    same = run(capsys, "evaluate", file, architectures, *SPACE)
    assert [json.loads(line) for line in same.splitlines()] == rows


def test_the_published_one_evaluates_without_intervals(capsys: CAPTURE, tmp_path: Path) -> None:
    shapes = {"w0": (400, 128), "w2": (400, 400), "w4": (400, 400), "w6": (1, 400)}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    arrays |= {f"b{name[1]}": np.full(shape[0], 0.5, np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    space = spaces.get("ofa_mbv3_w1.2")
    line = tmp_path / "one.jsonl"
    line.write_text(json.dumps({"genes": space.smallest().tolist()}))
    text = run(capsys, "evaluate", tmp_path / "weights.npz", line, "--space", "ofa_mbv3_w1.2")
    row = json.loads(text)
    assert (row["accuracy"], row["low"], row["high"]) == (0.5, None, None)
    told = run(capsys, "evaluate", tmp_path / "weights.npz", line, code=2)
    assert "does not say which space" in told


def test_refusals_have_their_codes(capsys: CAPTURE, accuracies: Path, tmp_path: Path) -> None:
    file = tmp_path / "predictor.safetensors"
    told = run(capsys, "fit", accuracies, *SPACE, "--out", tmp_path / "p.pkl", code=2)
    assert "ends in .safetensors" in told
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(accuracies.read_text().splitlines()[:5]))
    assert "at least 20" in run(capsys, "fit", few, *SPACE, "--out", file, code=1)
    assert not file.exists()
    assert "'forest'" in run(
        capsys, "fit", accuracies, *SPACE, "--out", file, "--kind", "forest", code=2
    )
    assert "cannot read" in run(capsys, "show", file, code=8)
    run(capsys, "fit", accuracies, *SPACE, "--out", file, "--kind", "ridge", "-q")
    told = run(capsys, "evaluate", file, accuracies, "--space", "ofa_mbv3_w1.0", code=1)
    assert "predicts mbv3_tiny" in told
    assert "--coverage is 1.5" in run(capsys, "evaluate", file, "--coverage", 1.5, code=2)
    assert "name the space" in run(capsys, "evaluate", file, "--set", "n_classes=10", code=2)


def test_csv_is_told_by_its_name(capsys: CAPTURE, accuracies: Path, tmp_path: Path) -> None:
    space = spaces.get("mbv3_tiny")
    lines = [json.loads(line) for line in accuracies.read_text().splitlines()]
    path, file = tmp_path / "accuracies.csv", tmp_path / "predictor.safetensors"
    rows = [(line.pop("accuracy"), space.parse(line)) for line in lines]
    path.write_text(
        "accuracy,genes\n" + "\n".join(f"{a},{' '.join(map(str, row))}" for a, row in rows)
    )
    found = run(capsys, "fit", path, *SPACE, "--out", file, "--kind", "ridge", "-q", "--json")
    assert json.loads(found)["n_architectures"] == 30
