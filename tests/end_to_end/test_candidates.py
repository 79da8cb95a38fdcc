"""The chain without a supernet: every candidate is trained, some not to the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgenas.core.errors import SchemaError, UsageError
from edgenas.core.files import sha256_of
from edgenas.oneshot import training as training_module
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
    assert done[:5] == ["train", "search", "finalists", "pick", "finetune"]
    assert not json.loads((run / "steps/train.json").read_text())["outputs"]
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
    alone = ("training: {epochs: 1, batch_size: 128}\n", "")
    change = ("population: 6}", f"population: 6, accuracies: {path}}}")
    assert again(run, alone, change, until="search") == ["train", "search"]
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
        again(run, alone, change, until="search")


def known_job(run: Path, *changes: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """The job with accuracies of what the finished run has evaluated; the first one is best."""
    evaluations = json.loads((run / "search/evaluations.json").read_text())["evaluations"]
    genes = [entry["genes"] for entry in evaluations]
    lines = [json.dumps({"genes": row, "accuracy": 0.9 - i / 100}) for i, row in enumerate(genes)]
    path = run.parent / "known.jsonl"
    path.write_text("\n".join(lines))
    return (
        ("training: {epochs: 1, batch_size: 128}\n", ""),
        ("population: 6}", f"population: 6, accuracies: {path}}}"),
        ("pick: knee", "pick: n_macs <= 1e9"),
        *changes,
    )


def test_the_pick_of_another_space_is_trained_anew(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its genes are the same, the network is not."""
    monkeypatch.setenv("EDGENAS_HOME", str(run.parent / "home"))  # for the other space's tables
    job = known_job(run)
    again(run, *job, until="finetune")
    pick = json.loads((run / "pick.json").read_text())
    before = sha256_of(run / "model.safetensors")
    larger = known_job(run, ("resolutions: [16, 20]", "resolutions: [20, 24]"))
    done = again(run, *larger, until="finetune")
    assert json.loads((run / "pick.json").read_text())["genes"] == pick["genes"]
    assert "finetune" in done
    assert sha256_of(run / "model.safetensors") != before


def test_a_supernet_outlives_a_job_without_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supernet, training = run / "train/supernet.safetensors", run / "train/training.json"
    before, told = sha256_of(supernet), training.read_bytes()
    known = known_job(run)
    assert again(run, *known)[:5] == ["train", "search", "finalists", "pick", "finetune"]
    assert sha256_of(supernet) == before
    report = json.loads((run / "report.json").read_text())
    assert set(report["training"]) == {"the pick"}
    assert again(run, *known) == []

    # Back again: what lies there is what this job would train.
    with monkeypatch.context() as patch:
        patch.setattr(training_module, "train_supernet", _untrainable)
        assert {"train", "search", "finetune"} <= set(again(run))
    assert (sha256_of(supernet), training.read_bytes()) == (before, told)

    # Another training, or a damaged file, is another supernet.
    again(run, *known, until="train")
    other = ("training: {epochs: 1,", "training: {seed: 1, epochs: 1,")
    assert again(run, other, until="train") == ["train"]
    assert sha256_of(supernet) != before
    again(run, *known, until="train")
    supernet.write_bytes(b"scratched")
    assert again(run, other, until="train") == ["train"]
    assert supernet.stat().st_size > 1000


def _untrainable(*args: object, **settings: object) -> list[float]:
    raise AssertionError("trained again")
