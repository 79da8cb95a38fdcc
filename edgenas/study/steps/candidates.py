"""Candidates that are trained one by one: how the job wants it, and what evaluates them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas.evaluators.costs import CheapCosts
from edgenas.oneshot.settings import TrainingSettings, preset
from edgenas.profiling.progress import Progress
from edgenas.searchers.base import Searcher
from edgenas.searchers.problem import minimised
from edgenas.study.context import Run
from edgenas.study.job_training import CandidatesSection
from edgenas.study.run_folder import digest_of
from edgenas.study.steps.train import counting, decisive

if TYPE_CHECKING:
    from edgenas.evaluators.stopping import StoppingRule
    from edgenas.evaluators.trained import TrainedAccuracy

FOLDER = "candidates"


def section_of(run: Run) -> CandidatesSection:
    """Return the job's section about candidates; only for jobs that have one."""
    section = run.job.search.candidates
    assert section is not None  # noqa: S101  # callers look first
    return section


def candidate_settings(run: Run) -> TrainingSettings:
    """Return how each candidate is trained: the data set's preset, changed as the job says."""
    section = section_of(run)
    n_train = section.n_train_images or len(run.dataset.train)
    return section.over(preset("candidate", run.dataset.name, n_train))


def decisive_candidates(run: Run) -> dict[str, Any]:
    """Return, as JSON values, what decides the accuracies of candidates."""
    section = section_of(run)
    about = section.model_dump(include={"n_train_images", "stopping", "eta", "inherit", "seed"})
    return {**about, "training": decisive(candidate_settings(run))}


def trained_accuracy(
    run: Run, searcher: Searcher, costs: CheapCosts, progress: Progress
) -> TrainedAccuracy:
    """Return the evaluator that trains every candidate of `searcher`."""
    from edgenas.evaluators.trained import TrainedAccuracy

    section = section_of(run)
    goals = [goal for goal in run.objectives if goal.name in costs.names]

    def values(rows: np.ndarray) -> np.ndarray:
        found = costs(rows)
        columns = [minimised(goal, found[goal.name]) for goal in goals]
        return np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0))

    return TrainedAccuracy(
        run.space,
        run.dataset,
        candidate_settings(run),
        folder=run.folder / FOLDER / digest_of(_identity(run, searcher))[:16],
        seed=section.seed,
        n_train_images=section.n_train_images,
        stopping=_rule(section),
        costs=values,
        parent_of=searcher.parent if section.inherit and _names_parents(searcher) else None,
        on_step=counting("training a candidate", progress, []),
    )


def _names_parents(searcher: Searcher) -> bool:
    return type(searcher).parent is not Searcher.parent


def _identity(run: Run, searcher: Searcher) -> dict[str, Any]:
    """Return what tells one search's candidates from another's: their weights are inherited."""
    return {
        **decisive_candidates(run),
        "searcher": dict(searcher.identity()),
        "data": run.dataset.fingerprint,
        "table": run.model.table.passport.checksum,
    }


def _rule(section: CandidatesSection) -> StoppingRule | None:
    from edgenas.evaluators.stopping import CurveExtrapolation, SuccessiveHalving

    if section.stopping == "none":
        return None
    return SuccessiveHalving(section.eta) if section.stopping == "halving" else CurveExtrapolation()
