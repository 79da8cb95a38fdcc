"""Jobs whose parts fight each other, refused before any work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.errors import SchemaError, UsageError
from edgenas.searchers import SEARCHERS
from edgenas.study.context import SUPERNET, Run
from edgenas.study.job import load_job
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps.train import TRAIN
from tests.tiny_job import write_job

ALONE = ("training: {epochs: 1, batch_size: 128}\n", "")
SEARCH = "search: {n_evaluations: 12, population: 6}"


def searching(text: str) -> tuple[str, str]:
    """The change of the tiny job that gives its search other settings."""
    return (SEARCH, f"search: {{{text}}}")


def run_of(tmp_path: Path, *changes: tuple[str, str]) -> Run:
    return Run(RunFolder(tmp_path / "run"), load_job(write_job(tmp_path, *changes)))


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("candidates: {epochs: 0}", "search.candidates.epochs"),
        ("n_validation_images: 9, candidates: {}", "n_validation_images beside search.candidates"),
        ("n_validation_images: 9, predictor: x", "n_validation_images beside search.predictor"),
        ("n_validation_images: 9, accuracies: x", "n_validation_images beside search.accuracies"),
    ],
)
def test_settings_without_effect_are_refused(tmp_path: Path, search: str, words: str) -> None:
    with pytest.raises(SchemaError, match=words.replace(".", r"\.")):
        run_of(tmp_path, ALONE, searching(search))


def test_training_beside_known_accuracies_is_refused(tmp_path: Path) -> None:
    known = searching("accuracies: known.jsonl")
    with pytest.raises(SchemaError, match=r"training beside search\.accuracies: it is about"):
        run_of(tmp_path, known)
    assert not run_of(tmp_path, ALONE, known).shares_weights
    assert run_of(tmp_path, searching("predictor: x")).shares_weights
    weights = Run(
        RunFolder(tmp_path / "run"),
        run_of(tmp_path, ALONE, known).job.changed(training={"weights": "x.safetensors"}),
    )
    assert weights.shares_weights  # they are there, whatever the accuracies come from


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([ALONE, searching("candidates: {n_train_images: 99999}")], "has .* training images, got"),
        ([("pick: knee", "pick: n_macs <= 1e9 @ 90%")], "n_macs is counted, not predicted"),
        ([("pick: knee", "pick: accuracy >= 0.1 @ 90%")], "accuracy is evaluated, not predicted"),
        (
            [searching("algorithm: monas"), ("pick: knee", "objectives: [latency_ms, n_macs]")],
            "raises an objective that is to maximize",
        ),
        (
            [searching("algorithm: mnasnet"), ("pick: knee", "objectives: [accuracy]")],
            "mnasnet needs a cost beside accuracy",
        ),
        (
            [searching("algorithm: netadapt, settings: {cost: energy_mj}")],
            "got cost 'energy_mj'",
        ),
    ],
)
def test_contradictions_are_found_before_any_work(
    tmp_path: Path, changes: list[tuple[str, str]], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        run_of(tmp_path, *changes).check_names()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", SEARCHERS.names())
def test_every_searcher_takes_the_usual_job(tmp_path: Path, name: str) -> None:
    run_of(tmp_path, searching(f"algorithm: {name}")).check_names()


def test_a_searcher_that_has_searched_is_not_asked_again(tmp_path: Path) -> None:
    """Asking may need a network, where a sampler is downloaded, and a pick needs none."""
    run = run_of(tmp_path, searching("algorithm: monas, settings: {cost: n_macs}"))
    with pytest.raises(UsageError, match="n_macs"):
        run.check_names()
    searched = {
        "algorithm": "monas",
        "settings": {"cost": "n_macs"},
        "objectives": ["accuracy", "latency_ms"],
    }
    run.folder.write_record("search", searched, [], 1.0)
    run.check_names()
    run.folder.write_record("search", {**searched, "objectives": ["accuracy"]}, [], 1.0)
    with pytest.raises(UsageError, match="n_macs"):
        run.check_names()


def test_known_accuracies_need_no_space_that_shares_weights(tmp_path: Path) -> None:
    space = spaces.get("nas_bench_201", resolution=8, input_channels=1)
    rows = space.sample(3, np.random.default_rng(0))
    known = tmp_path / "known.jsonl"
    lines = [json.dumps({"genes": row.tolist(), "accuracy": 0.5}) for row in rows]
    known.write_text("\n".join(lines))
    path = tmp_path / "job.yaml"
    text = (
        "schema_version: 1\nname: bench\ndata: {source: digits}\n"
        "space: {preset: nas_bench_201, settings: {resolution: 8}}\n"
    )
    path.write_text(text)
    run = Run(RunFolder(tmp_path / "run"), load_job(path))
    run.check_names()
    assert run.shares_weights
    path.write_text(text + f"search: {{accuracies: {known}}}\n")
    run = Run(RunFolder(tmp_path / "run"), load_job(path))
    run.check_names()
    run.check_possible(frozenset({"train"}))
    assert TRAIN.inputs(run) == {"supernet": None}
    assert TRAIN.make(run, lambda what, done, total: None) == []
    assert not (run.folder / SUPERNET).exists()
    assert TRAIN.summary(run) == "no supernet: the search needs none"
