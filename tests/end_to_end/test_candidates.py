"""The chain without a supernet: every candidate is trained, some not to the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgenas.core.errors import SchemaError, UsageError
from edgenas.study.api import compile_job
from tests.end_to_end.test_compile import again
from tests.tiny_job import write_job

pytestmark = pytest.mark.slow

CANDIDATES = (
    ("training: {epochs: 1, batch_size: 128}\n", ""),
    (
        "search: {n_evaluations: 12, population: 6}",
        "search:\n"
        "  algorithm: lemonade\n"
        "  n_evaluations: 8\n"
        "  settings: {n_first: 4, n_accepted: 4}\n"
        "  candidates: {epochs: 3, n_train_images: 256, lr: 0.05}\n",
    ),
    ("finetune: {epochs: 1}", "finetune: {epochs: 2}"),
)


def test_candidates_are_trained_and_the_pick_anew(run: Path) -> None:
    done = again(run, *CANDIDATES)
    assert done[:4] == ["train", "search", "pick", "finetune"]
    assert not (run / "train/supernet.safetensors").exists()
    evaluations = json.loads((run / "search/evaluations.json").read_text())["evaluations"]
    states = [entry["status"] for entry in evaluations]
    assert set(states) == {"complete", "stopped"}
    assert states[0] == "complete"  # nothing there yet that could be better
    for entry in evaluations:
        epochs = {name for name in entry["values"] if name.startswith("accuracy_epoch")}
        last = {"accuracy_epoch_3"} if entry["status"] == "complete" else set()
        assert epochs == {"accuracy_epoch_1"} | last
    front = json.loads((run / "search/front.json").read_text())["front"]
    whole = {entry["id"] for entry in evaluations if entry["status"] == "complete"}
    assert {entry["id"] for entry in front} <= whole
    report = json.loads((run / "report.json").read_text())
    assert report["training"]["candidates"]["stopping"] == "halving"
    assert report["training"]["the pick"]["epochs"] == 2
    assert "stopped early" in (run / "report.html").read_text(encoding="utf-8")
    assert again(run, *CANDIDATES) == []
    # Children of the first four began with weights that their parents left.
    assert len(list((run / "candidates").glob("*/*.safetensors"))) == 8
    more = ("n_evaluations: 8", "n_evaluations: 9")
    assert again(run, *CANDIDATES, more, until="search") == ["search"]
    longer = json.loads((run / "search/evaluations.json").read_text())["evaluations"]
    assert longer[:8] == evaluations


def test_two_sources_of_accuracy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"training beside search\.candidates"):
        compile_job(write_job(tmp_path, *CANDIDATES[1:]), tmp_path / "run")
    job = write_job(tmp_path, *CANDIDATES, ("candidates:", "predictor: x\n  candidates:"))
    with pytest.raises(
        SchemaError, match=r"search\.candidates and search\.predictor: accuracy comes from one"
    ):
        compile_job(job, tmp_path / "run")


def test_accuracies_that_are_known_already_are_looked_up(run: Path) -> None:
    evaluations = json.loads((run / "search/evaluations.json").read_text())["evaluations"]
    known = {tuple(entry["genes"]): round(0.5 + i / 100, 4) for i, entry in enumerate(evaluations)}
    path = run.parent / "known.jsonl"
    lines = [json.dumps({"genes": list(g), "accuracy": value}) for g, value in known.items()]
    path.write_text("\n".join(lines))
    change = ("population: 6}", f"population: 6, accuracies: {path}}}")
    assert again(run, change, until="search") == ["search"]
    found = json.loads((run / "search/evaluations.json").read_text())["evaluations"]
    states = [entry["status"] for entry in found]
    assert "complete" in states  # the first proposals are those of the search before
    for entry in found:
        value = known.get(tuple(entry["genes"]))
        assert entry["status"] == ("failed" if value is None else "complete")
        if value is None:
            assert entry["error"] == "not among the 12 architectures of the table"
        else:
            assert entry["values"]["accuracy"] == value
    path.write_text('{"genes": [0], "accuracy": 0.5}')
    with pytest.raises(UsageError, match=r"search\.accuracies: .*known\.jsonl: line 1"):
        again(run, change, until="search")
