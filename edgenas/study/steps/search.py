"""Step 3: the search; every evaluation is recorded in the run's Optuna storage."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgenas.core.architecture import Architecture, population
from edgenas.core.errors import DataError
from edgenas.core.evaluation import Evaluation
from edgenas.core.files import write_json
from edgenas.costs.kinds import column_of
from edgenas.evaluators.combined import CombinedEvaluator
from edgenas.evaluators.predictors import fit_predictor, save_predictor
from edgenas.profiling.progress import Progress
from edgenas.searchers import PredictorSearcher, make_searcher
from edgenas.study.chain import Step
from edgenas.study.context import Run
from edgenas.study.job_checks import searcher_settings
from edgenas.study.loop import Progress as SearchProgress
from edgenas.study.loop import SearchResult, reference_values, run_search, summarize
from edgenas.study.picking import front, front_rows
from edgenas.study.run_folder import digest_of
from edgenas.study.steps.accuracy_source import (
    accuracy_evaluator,
    decisive_source,
    weights_source,
)
from edgenas.study.steps.differentiable import distributions, learned
from edgenas.study.steps.problem import search_problem

_LOG = logging.getLogger(__name__)

STORAGE = "study.db"
EVALUATIONS = "search/evaluations.json"
FRONT = "search/front.json"
PREDICTOR = "search/predictor.safetensors"
"""What a search by a predictor has learned in the end, fitted to all that it evaluated."""
PREDICTOR_REPORT = "search/predictor.json"


def read_evaluations(run: Run) -> list[Evaluation]:
    """Return the evaluations of the run's search, in their order."""
    return [
        Evaluation(
            Architecture(run.space.name, tuple(record["genes"])),
            record["status"],
            record["values"],
            record["error"],
            record["violation"],
        )
        for record in run.read(EVALUATIONS)["evaluations"]
    ]


def read_front(run: Run) -> list[Evaluation]:
    """Return the members of the run's front."""
    return front(read_evaluations(run), run.objectives)


def _decisive(run: Run) -> dict[str, Any]:
    """Return what makes two searches the same one, longer or shorter."""
    return {
        "algorithm": run.job.search.searcher,
        "settings": _settings(run),
        "seed": run.job.search.seed,
        "objectives": list(run.job.objectives),
        "constraints": list(run.job.constraints),
        "n_validation_images": run.job.search.n_validation_images,
        **decisive_source(run),
        "space": run.space.fingerprint,
        "data": run.dataset.fingerprint,
    }


def _settings(run: Run) -> dict[str, Any]:
    """Return the settings of the searcher, with what a differentiable search has learned."""
    settings = searcher_settings(run.job)
    if run.job.search.differentiable is not None:
        settings["distributions"] = distributions(run)
    return settings


def _tables(run: Run) -> dict[str, Any]:
    """Return the checksums of the tables that the search looks at."""
    others = {name: one.table.passport.checksum for name, one in run.searched_models.items()}
    others.pop(column_of("latency"))
    found: dict[str, Any] = {"table": run.model.table.passport.checksum}
    return found | ({"tables": others} if others else {})


def _inputs(run: Run) -> dict[str, Any]:
    """Only tables of objectives and limits decide; other runtimes' tables may change."""
    return {
        **_decisive(run),
        **_tables(run),
        "n_evaluations": run.job.search.n_evaluations,
    }


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    context = {**weights_source(run), **_tables(run)}
    decisive = {**_decisive(run), **context}
    costs = run.costs(run.constraints, models=run.searched_models)
    problem = search_problem(run)
    section = run.job.search
    searcher = make_searcher(section.searcher, problem, seed=section.seed, settings=_settings(run))
    dear = accuracy_evaluator(run, searcher, costs, progress)
    evaluator = CombinedEvaluator(
        costs, dear, objectives=run.objectives, constraints=run.constraints
    )

    def on_progress(state: SearchProgress) -> None:
        progress("evaluating architectures", state.n_done, state.n_total)

    result = run_search(
        searcher,
        evaluator,
        n_evaluations=section.n_evaluations,
        storage=section.storage or run.folder / STORAGE,
        name=f"{run.job.name}-{digest_of(decisive)[:8]}",
        context=context,
        notes={"learned": learned(run)} if section.differentiable is not None else None,
        on_progress=on_progress,
    )
    result = _first(run, result, section.n_evaluations)
    return _write(run, result)


def _first(run: Run, result: SearchResult, n: int) -> SearchResult:
    """Return the result of the first `n` evaluations, where an earlier job asked for more."""
    if len(result.evaluations) <= n:
        return result
    evaluations = result.evaluations[:n]
    reference = reference_values(evaluations, run.objectives, constraints=run.constraints)
    return summarize(evaluations, run.objectives, reference=reference)


def _write(run: Run, result: SearchResult) -> list[Path]:
    records = [
        {
            "id": evaluation.arch.id,
            "genes": list(evaluation.arch.genes),
            "status": evaluation.status,
            "values": dict(evaluation.values),
            "error": evaluation.error,
            "violation": evaluation.violation,
        }
        for evaluation in result.evaluations
    ]
    write_json(
        run.folder / EVALUATIONS,
        {
            "space": run.space.parameters,
            "objectives": list(run.job.objectives),
            "evaluations": records,
            "hypervolume": [float(value) for value in result.hypervolume],
            "reference": dict(result.reference),
            "exhausted": result.exhausted,
        },
    )
    ends = [name for name, model in run.searched_models.items() if model.has_intervals]
    rows = front_rows(
        result.front, run.objectives, upper=run.costs(()).upper, names=ends, confidence=0.9
    )
    for row, evaluation in zip(rows, result.front, strict=True):
        row["config"] = run.space.describe(evaluation.arch.row)
    write_json(run.folder / FRONT, {"objectives": list(run.job.objectives), "front": rows})
    return [run.folder / EVALUATIONS, run.folder / FRONT, *_write_predictor(run, result)]


def _write_predictor(run: Run, result: SearchResult) -> list[Path]:
    """Fit a predictor to everything that a search by one has evaluated, and keep its report."""
    for old in (PREDICTOR, PREDICTOR_REPORT):
        (run.folder / old).unlink(missing_ok=True)
    if run.job.search.searcher != PredictorSearcher.name or run.predictor is not None:
        return []
    done = [e for e in result.evaluations if e.status == "complete" and "accuracy" in e.values]
    rows = population([evaluation.arch for evaluation in done], run.space.n_genes)
    accuracy = [evaluation.values["accuracy"] for evaluation in done]
    try:
        fitted = fit_predictor(run.space, rows, accuracy, seed=run.job.search.seed)
    except DataError as error:
        _LOG.warning("no predictor is kept: %s", error)
        return []
    save_predictor(fitted, run.folder / PREDICTOR)
    write_json(run.folder / PREDICTOR_REPORT, fitted.report.model_dump(mode="json"))
    return [run.folder / PREDICTOR, run.folder / PREDICTOR_REPORT]


def _summary(run: Run) -> str:
    content = run.read(EVALUATIONS)
    states = [record["status"] for record in content["evaluations"]]
    text = f"{len(states)} architectures evaluated, {len(run.read(FRONT)['front'])} on the front"
    for state in ("stopped", "failed"):
        text += f", {states.count(state)} {state}" if state in states else ""
    return text + (", nothing else is feasible" if content["exhausted"] else "")


SEARCH = Step(
    name="search",
    needs=("train",),
    version=1,
    inputs=_inputs,
    make=_make,
    summary=_summary,
)
