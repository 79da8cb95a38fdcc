"""What reports say of the accuracies of candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.core.files import write_json
from edgenas.evaluators.predictors import fit_predictor
from edgenas.study.context import Run
from edgenas.study.job import load_job
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps.accuracy_sentences import accuracy_sentences
from edgenas.study.steps.search import EVALUATIONS, PREDICTOR_REPORT
from tests.tiny_job import write_job

N_OF_STATUS = {"complete": 4, "stopped": 3, "failed": 2, "infeasible": 2}


def run_of(tmp_path: Path, search: str) -> Run:
    job = write_job(
        tmp_path,
        ("training: {epochs: 1, batch_size: 128}\n", ""),
        ("search: {n_evaluations: 12, population: 6}", f"search: {{{search}}}"),
    )
    run = Run(RunFolder(tmp_path / "run"), load_job(job))
    records: list[dict[str, Any]] = [
        {"status": status, "values": {} if status == "infeasible" else {"accuracy": 0.5}}
        for status, n in N_OF_STATUS.items()
        for _ in range(n)
    ]
    records.append({"status": "infeasible", "values": {"accuracy": 0.1}})  # a limit on accuracy
    write_json(run.folder / EVALUATIONS, {"evaluations": records})
    return run


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("", "8 of 12 candidates were trained from fresh weights on 100 images for 3 epochs"),
        ("", "3 of these not to the end, as others were better by then; 2 broke a limit before"),
        ("", "before they were trained; 2 failed. The pick was then trained anew, alone."),
        ("stopping: curves", "as their learning curves could not end on the front"),
    ],
)
def test_only_trained_candidates_are_said_to_be(tmp_path: Path, search: str, words: str) -> None:
    section = f"candidates: {{epochs: 3, n_train_images: 100, {search}}}"
    assert words in accuracy_sentences(run_of(tmp_path, section))


def test_inherited_weights_are_told(tmp_path: Path) -> None:
    told = accuracy_sentences(run_of(tmp_path, "algorithm: lemonade, candidates: {epochs: 3}"))
    assert "trained from their parents' or fresh weights" in told
    alone = "algorithm: lemonade, candidates: {epochs: 3, inherit: false}"
    assert "from fresh weights" in accuracy_sentences(run_of(tmp_path, alone))


def test_the_predictor_that_led_is_told_beside_the_source(tmp_path: Path) -> None:
    run = run_of(tmp_path, "algorithm: predictor, candidates: {epochs: 3}")
    assert "led by a predictor" not in accuracy_sentences(run)
    rows = run.space.sample(24, np.random.default_rng(0))
    fitted = fit_predictor(run.space, rows, np.linspace(0.2, 0.8, len(rows)), seed=0)
    write_json(run.folder / PREDICTOR_REPORT, fitted.report.model_dump(mode="json"))
    told = accuracy_sentences(run)
    assert told.startswith("8 of 12 candidates were trained")
    assert "The search was led by a predictor; fitted to all" in told
    known = run_of(tmp_path, "algorithm: predictor, accuracies: known.csv")
    told = accuracy_sentences(known)
    assert told.startswith(
        "Accuracies are those in known.csv; nothing else was evaluated. The pick was then trained, "
        "alone. The search was led by a predictor"
    )
