"""Where accuracies of candidates come from: what decides, the evaluator, and words for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgenas.core.files import sha256_of
from edgenas.evaluators.base import Evaluator
from edgenas.evaluators.costs import CheapCosts
from edgenas.evaluators.predicted import PredictedAccuracy
from edgenas.profiling.progress import Progress
from edgenas.searchers.base import Searcher
from edgenas.study.context import SUPERNET, Run
from edgenas.study.steps.candidates import (
    candidate_settings,
    decisive_candidates,
    trained_accuracy,
)
from edgenas.study.steps.train import settings_of


def decisive_source(run: Run) -> dict[str, Any]:
    """Return, as JSON values, what decides the accuracies beside data and shared weights."""
    section = run.job.search
    found: dict[str, Any] = {}
    if section.predictor is not None:
        found["predictor"] = sha256_of(Path(section.predictor))
    if section.accuracies is not None:
        found["accuracies"] = sha256_of(Path(section.accuracies))
    if section.candidates is not None:
        found["candidates"] = decisive_candidates(run)
    return found


def weights_source(run: Run) -> dict[str, Any]:
    """Return the hash of the weights that all candidates share, if they do."""
    if not run.shares_weights:
        return {}
    return {"supernet": sha256_of(run.folder / SUPERNET)}


def accuracy_evaluator(
    run: Run, searcher: Searcher, costs: CheapCosts, progress: Progress
) -> Evaluator | None:
    """Return the evaluator of accuracy, which is told also where it is no objective.

    None if nothing can tell it: images without labels, and nothing else that knows.
    """
    section = run.job.search
    if run.predictor is not None:
        return PredictedAccuracy(run.predictor)
    if run.accuracies is not None:
        return run.accuracies
    if not run.dataset.is_labelled:
        return None
    if section.candidates is not None:
        return trained_accuracy(run, searcher, costs, progress)
    from edgenas.evaluators.accuracy import SharedWeightsAccuracy

    return SharedWeightsAccuracy(
        run.supernet,
        run.space,
        run.dataset,
        n_validation_images=section.n_validation_images,
        threads=settings_of(run).threads,
    )


def how(run: Run) -> str:
    """Return what stands behind the accuracy of a candidate, in a few words."""
    section = run.job.search
    if section.predictor is not None:
        return "predicted"
    if section.accuracies is not None:
        return f"by {Path(section.accuracies).name}"
    if section.candidates is not None:
        return f"trained alone for {candidate_settings(run).epochs} epochs"
    return "with shared weights"
