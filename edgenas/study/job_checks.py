"""What of a job cannot go together, found before any work: before profiling, which takes hours."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.extras import unavailable_reason
from edgenas.costs.kinds import KIND_OF, column_of
from edgenas.costs.model import CostModel
from edgenas.oneshot.mixed.drawn import drawn_genes
from edgenas.runtimes import RUNTIMES
from edgenas.searchers import SEARCHERS, SearchProblem, make_searcher
from edgenas.spaces.fold import COUNTS
from edgenas.study import optuna_searcher  # noqa: F401  # registers itself
from edgenas.study.job import Job, limits_of
from edgenas.study.table_names import TableName

if TYPE_CHECKING:
    from edgenas.study.context import Run


def check_job(run: Run) -> None:
    """Refuse a job whose parts contradict each other, or the data.

    Raises:
        RegistryError: no such searcher.
        UsageError: what, and what is allowed.
    """
    _check_accuracy(run)
    _check_candidates(run)
    _check_other_devices(run)
    _check_confidences(run)
    _check_searcher(run)
    _check_differentiable(run)
    _check_engines(run)


def searcher_settings(job: Job) -> dict[str, Any]:
    """Return the settings of the job's searcher.

    Raises:
        RegistryError: no such searcher.
        UsageError: a setting that it does not have.
    """
    section = job.search
    kind = SEARCHERS.get(section.searcher)
    known = {field.name for field in dataclasses.fields(kind.Settings)}
    settings = dict(section.settings)
    if section.population is not None:
        if "population_size" not in known:
            raise UsageError(f"search.population: {section.searcher} has no population")
        settings["population_size"] = section.population
    unknown = sorted(set(settings) - known)
    if unknown:
        allowed = ", ".join(sorted(known)) or "none"
        raise UsageError(
            f"search.settings: {section.searcher} has no {', '.join(unknown)}; allowed: {allowed}"
        )
    kind.Settings(**settings)  # which refuses what cannot be: now, not after training
    return settings


def _check_accuracy(run: Run) -> None:
    """Refuse images without labels where something has to be learned or judged by them.

    Raises:
        UsageError: weights are to be trained, or accuracy is to be measured.
    """
    if run.dataset.is_labelled:
        return
    if run.job.training.weights is None or run.job.finetune.epochs:
        raise UsageError(
            f"{run.dataset.name} has no labels to train with; give training.weights (see "
            "`edgenas ofa import --help`) and leave out finetune.epochs"
        )
    if run.job.search.predictor is None and run.job.search.accuracies is None:
        raise UsageError(
            f"{run.dataset.name} has no labels to measure accuracy with; name a file that "
            "predicts it: search.predictor, or one that holds it: search.accuracies"
        )


def _check_candidates(run: Run) -> None:
    """Refuse to train candidates on more images than there are.

    Raises:
        UsageError: the message has how many there are.
    """
    section = run.job.search.candidates
    wanted, there = section and section.n_train_images, len(run.dataset.train)
    if wanted and wanted > there:
        raise UsageError(
            f"search.candidates.n_train_images: {run.dataset.name} has {there:,} training images, "
            f"got {wanted:,}; leave it out to train on all"
        )


def _check_other_devices(run: Run) -> None:
    """Refuse costs on devices that no table is named of.

    Raises:
        UsageError: which one; the message has those that there are.
    """
    there = run.other_devices  # all are read, those too that only the pick tells
    limits = (budget.name for budget in (*run.job.budgets(), *run.job.sweep_limits()))
    for name in (*run.job.objectives, *limits):
        if "." in name and name not in there:
            allowed = ", ".join(there) or "none, as device.also names no table"
            raise UsageError(
                f"{name}: nothing tells that; name a table of it, device: {{also: "
                f"{{{name.partition('.')[2]}: TABLE}}}}; there are: {allowed}"
            )


def _check_confidences(run: Run) -> None:
    """Refuse limits with a confidence on what has no intervals.

    Tables that are still to be measured will have them.

    Raises:
        UsageError: which one.
    """
    named = {TableName.parse(text) for text in run.job.device.tables}
    own = {column_of(name.kind): name for name in named if name.runtime == run.job.device.runtime}
    for budget in (*run.job.budgets(), *run.job.sweep_limits()):
        if budget.confidence is None:
            continue
        if budget.name not in KIND_OF and budget.name not in run.other_devices:
            what = "counted" if budget.name in COUNTS else "evaluated"
            raise UsageError(
                f"'{budget}': {budget.name} is {what}, not predicted: it has no intervals; leave "
                "out '@'"
            )
        model = run.other_devices.get(budget.name)
        if budget.name in own:
            model = CostModel(run.space, run.given_table(own[budget.name]))
        if model is not None:
            model.budget_on_value(budget.limit, budget.confidence)


def _check_differentiable(run: Run) -> None:
    """Refuse a differentiable search that could not begin, or not be looked at.

    Raises:
        UsageError: a cost that nobody knows before an evaluation, or fewer evaluations than
            distributions.
        SpaceError: the choices of the space cannot be mixed.
    """
    if run.job.search.differentiable is None:
        return
    from edgenas.study.steps import differentiable  # which looks at runs, as this does

    differentiable.check(run)
    drawn_genes(run.space)
    known = {*COUNTS, *KIND_OF, *run.other_devices}
    for name in sorted(run.job.searched_names() - known - {"accuracy"}):
        raise UsageError(
            f"search.differentiable: {name} is not known before an evaluation; allowed: "
            f"{', '.join(sorted(known))}"
        )
    n, n_limits = run.job.search.n_evaluations, len(limits_of(run.job))
    if n < n_limits:
        raise UsageError(
            f"search.n_evaluations is {n}, and {n_limits} budgets are swept: each has its most "
            f"likely network to be evaluated, so {n_limits} at least"
        )


def _check_engines(run: Run) -> None:
    """Refuse 8 bits on TensorRT without a file that has TensorRT's.

    Raises:
        UsageError: no target of the job is an engine that its runtime builds.
    """
    own, precision = run.job.device.runtime, run.job.device.precision
    if precision != "int8" or not RUNTIMES.get(own).symmetric:
        return
    if all(run.runtime_of(target) != own for target in run.exporters):
        raise UsageError(
            f"device: {own} in int8 runs engines alone, as its 8 bits are its own; write export: "
            "{targets: [tensorrt], tensorrt: {build: device}}"
        )


def _check_searcher(run: Run) -> None:
    """Refuse settings that a searcher does not have, and a problem that it cannot search.

    The searcher is made once for nothing, with costs that are all alike, as the tables may not be
    there yet. A search of this folder that has the same objectives and settings shows it, too.

    Raises:
        RegistryError: no such searcher.
        UsageError: what the searcher refuses.
    """
    section, settings = run.job.search, searcher_settings(run.job)
    wanted = {
        "algorithm": section.searcher,
        "settings": settings,
        "objectives": list(run.job.objectives),
    }
    record = run.folder.record("search")
    done = {} if record is None else record.inputs
    if all(done.get(key) == value for key, value in wanted.items()):
        return
    if unavailable_reason("torch"):
        return  # some searchers need it, and `Run.check_possible` asks for it
    cheap = {*run.job.objectives, column_of("latency")}
    cheap -= set() if section.predictor is not None else {"accuracy"}

    def alike(population: Genes) -> dict[str, np.ndarray]:
        return {name: np.ones(len(population)) for name in cheap}

    problem = SearchProblem(run.space, run.objectives, cheap=alike)
    make_searcher(section.searcher, problem, seed=section.seed, settings=settings)
