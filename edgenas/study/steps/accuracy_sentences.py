"""What the report says of the accuracies of candidates: where they come from, how good that is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgenas.evaluators.predictors.report import PredictorReport
from edgenas.searchers import SEARCHERS, Searcher
from edgenas.study.context import Run
from edgenas.study.steps.candidates import candidate_settings
from edgenas.study.steps.search import EVALUATIONS, PREDICTOR_REPORT


def accuracy_sentences(run: Run) -> str:
    """Return where accuracies come from, and how good a predictor is that led the search."""
    return " ".join(text for text in (_source(run), _led_by(run)) if text)


def _source(run: Run) -> str:
    """Return where accuracies come from, if not from shared weights, in sentences."""
    if run.predictor is not None:
        return (
            f"Accuracies are predicted by {Path(str(run.job.search.predictor)).name}; they were "
            "not measured."
        )
    if run.job.search.accuracies is not None:
        return (
            f"Accuracies are those in {Path(run.job.search.accuracies).name}; nothing else was "
            f"evaluated.{'' if run.shares_weights else ' The pick was then trained, alone.'}"
        )
    return "" if run.job.search.candidates is None else _candidates(run)


def _led_by(run: Run) -> str:
    """Return how good the predictor is that led the search, if one did."""
    if not (run.folder / PREDICTOR_REPORT).exists():
        return ""
    report = PredictorReport.model_validate(run.read(PREDICTOR_REPORT))
    found = report.cross_validated
    ranks = ", ".join(
        f"{name} {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
        for name, one in (("Spearman", found.spearman), ("Kendall", found.kendall))
    )
    return (
        f"The search was led by a predictor; fitted to all {report.n_architectures} evaluated "
        f"networks, it is a {report.kind.replace('_', ' ')} that errs by {found.mae.value:.2%} on "
        f"networks left out in turn ({ranks}, {found.coverage:.0%} intervals)."
    )


def _candidates(run: Run) -> str:
    """Return how candidates were trained, in sentences."""
    section = run.job.search.candidates
    assert section is not None  # noqa: S101  # callers look first
    records, settings = run.read(EVALUATIONS)["evaluations"], candidate_settings(run)
    n = Counter(_became(record) for record in records)
    start = "their parents' or fresh" if _inherits(run) else "fresh"
    text = (
        f"{n['trained'] + n['stopped']} of {len(records)} candidates were trained from {start} "
        f"weights on {section.n_train_images or len(run.dataset.train):,} images for "
        f"{settings.epochs} epochs"
    )
    if n["stopped"]:
        text += f", {n['stopped']} of these not to the end, {_WHY_STOPPED[section.stopping]}"
    if n["infeasible"]:
        text += f"; {n['infeasible']} broke a limit before they were trained"
    if n["failed"]:
        text += f"; {n['failed']} failed"
    return f"{text}. The pick was then trained anew, alone."


def _became(record: dict[str, Any]) -> str:
    """Return what became of a candidate: one that breaks a limit on accuracy was trained."""
    status: str = record["status"]
    after = status == "infeasible" and "accuracy" in record["values"]
    return "trained" if after or status == "complete" else status


_WHY_STOPPED = {
    "halving": "as others were better by then",
    "curves": "as their learning curves could not end on the front",
}


def _inherits(run: Run) -> bool:
    """Return whether candidates begin with weights of their parents."""
    section, kind = run.job.search.candidates, SEARCHERS.get(run.job.search.searcher)
    return section is not None and section.inherit and kind.parent is not Searcher.parent
