"""A differentiable search as the training of a run's supernet: what it reads, what it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.extras import unavailable_reason
from edgenas.core.files import write_json
from edgenas.core.objective import Constraint
from edgenas.oneshot.mixed.loss_settings import PRODUCTS, unit_of
from edgenas.oneshot.mixed.settings import DifferentiableSettings
from edgenas.searchers.probabilities import ProbabilitiesSearcher, ProbabilitiesSettings
from edgenas.searchers.problem import cost_key
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import COUNTS, Fold
from edgenas.study.context import Run
from edgenas.study.job import limits_of
from edgenas.study.job_differentiable import DifferentiableSection
from edgenas.study.steps.problem import search_problem

if TYPE_CHECKING:
    from edgenas.oneshot.mixed.expected import ExpectedCost
    from edgenas.oneshot.mixed.state import Distribution
    from edgenas.oneshot.optimisation import OnStep
    from edgenas.oneshot.supernet import Supernet

_N_OTHERS = 200

_LEAST_USE = 0.95
"""Of a budget that is to be ended on: the network first proposed uses so much of it, if any can."""

LEARNED = "train/probabilities.json"
"""What was learned: probabilities, how they came about, and what is to be said of them."""


def section_of(run: Run) -> DifferentiableSection:
    """Return the job's section; only for jobs that have one."""
    section = run.job.search.differentiable
    assert section is not None  # noqa: S101  # callers look first
    return section


def settings_of(run: Run) -> DifferentiableSettings:
    """Return how the search learns: the method's settings, changed as the job says.

    Raises:
        UsageError: the warm-up is as long as the training, or longer.
    """
    section = section_of(run)
    chosen = section.settings(has_limits=any(limits_of(run.job)))
    training = run.job.training.over(chosen.training)
    share = chosen.warmup_epochs / chosen.training.epochs
    warmup = section.warmup_epochs
    warmup = round(share * training.epochs) if warmup is None else warmup
    if not 0 <= warmup < training.epochs:
        raise UsageError(
            f"search.differentiable: {warmup} epochs of warm-up, {training.epochs} of training, "
            "which holds them; give training.epochs more, or warmup_epochs less"
        )
    return replace(chosen, training=training, warmup_epochs=warmup)


def check(run: Run) -> None:
    """Refuse what would end the training at its first step, as far as no table is needed for it.

    Raises:
        DataError: some class has too few images to be divided.
        SpaceError: channels cannot be divided so, or a cost cannot be averaged.
        UsageError: see `settings_of`; or the form cannot be of a cost.
    """
    settings = settings_of(run)
    if settings.logits_share:
        run.dataset.divided(settings.logits_share)
    if unavailable_reason("torch"):
        return  # `Run.check_possible` asks for it
    from edgenas.oneshot.mixed.expected import ExpectedCost
    from edgenas.oneshot.mixed.narrow import check_cells

    if settings.channel_parts > 1:
        check_cells(run.space, settings.channel_parts)
    for name in _names(run):
        if name in COUNTS:
            fold = COUNTS[name](run.space)
            ExpectedCost(fold)
            _check_logarithm(run, name, fold)


def decisive(run: Run) -> dict[str, Any]:
    """Return, as JSON values, what decides the result beside data, space and tables."""
    settings = asdict(settings_of(run))
    settings["training"] |= {"threads": None, "checkpoint_minutes": None}
    limits = [[str(one) for one in own] for own in limits_of(run.job)]
    return {"settings": settings, "limits": limits, "costs": list(_names(run))}


def search_supernet(
    run: Run, supernet: Supernet, checkpoint: Path, identity: str, on_step: OnStep
) -> list[float]:
    """Train weights and logits, write what was learned, and return the mean loss of every epoch.

    Raises:
        UsageError: a cost that the loss is to read is not known before an evaluation.
    """
    from edgenas.oneshot.mixed.search import search
    from edgenas.oneshot.mixed.state import Searching

    settings, limits = settings_of(run), limits_of(run.job)
    costs, budgets = _costs(run), [_budgets(own) for own in limits]
    seed = run.job.training.seed
    greatest = {name: _greatest(cost.fold) for name, cost in costs.items()}
    searching = Searching(
        supernet, run.space, settings, budgets=budgets, greatest=greatest, seed=seed
    )
    told = search(
        searching,
        run.space,
        run.dataset,
        settings,
        costs=costs,
        identity=identity,
        seed=seed,
        checkpoint=checkpoint,
        on_step=on_step,
    )
    found = [
        _ended(one, costs, own) for one, own in zip(searching.distributions, limits, strict=True)
    ]
    _add_likeliest(run, found, limits)
    write_json(
        run.folder / LEARNED,
        {
            "method": settings.method,
            "loss": asdict(settings.loss),
            "costs": list(costs),
            "distributions": found,
            "progress": [_plain(asdict(report)) for report in told],
        },
    )
    return [report.loss for report in told if report.distribution == 0]


def _ended(
    one: Distribution, costs: Mapping[str, ExpectedCost], limits: Sequence[Constraint]
) -> dict[str, Any]:
    """Bring a distribution onto its budgets and return where it ended, as JSON values."""
    from edgenas.oneshot.mixed.budget import settle

    before, on_budget = _expected(costs, one.logits.probabilities()), True
    if one.multipliers is not None:
        on_budget = settle(one.logits, costs, one.budgets, is_reachable=one.is_reachable)
    return {
        "limits": [str(limit) for limit in limits],
        "budgets": one.budgets,
        "options": one.logits.options(),
        "least_use": _LEAST_USE if one.multipliers is not None else 0.0,
        "expected": before,
        "settled": _expected(costs, one.logits.probabilities()),
        "entropy": one.logits.entropy(),
        "on_budget": on_budget,
    }


def _add_likeliest(
    run: Run, found: Sequence[dict[str, Any]], limits: Sequence[tuple[Constraint, ...]]
) -> None:
    """Add the network that each distribution proposes first, and whether it has drifted."""
    searcher = ProbabilitiesSearcher(
        search_problem(run), settings=ProbabilitiesSettings(distributions=_proposed_from(found))
    )
    for i, entry in enumerate(found):
        row = searcher.likeliest(i)
        entry["most_likely"] = None if row is None else row.tolist()
        entry["drift"] = None if row is None else _drift(run, row, limits[i])


def summary(run: Run) -> str:
    """Return what was learned, in a few words."""
    content = run.read(LEARNED)
    parts = []
    for one in content["distributions"]:
        asked = ", ".join(one["limits"]) or "no limit"
        costs = ", ".join(f"{name} {value:.3g}" for name, value in one["settled"].items())
        parts.append(f"{asked}: expected {costs}, entropy {one['entropy']:.2f}")
        if one["drift"]:
            parts[-1] += " (drifted to operators without weights)"
    return f"{content['method']}: {'; '.join(parts)}"


def learned(run: Run) -> dict[str, Any]:
    """Return the course of the search, epoch by epoch, and where it ended, as JSON values."""
    found = dict(run.read(LEARNED))
    keys = ("limits", "expected", "settled", "on_budget", "entropy", "drift")
    ends = [{key: one[key] for key in keys} for one in found["distributions"]]
    return {**found, "distributions": ends}


def warnings(run: Run) -> list[str]:
    """Return what is wrong with what was learned, in sentences."""
    found = []
    for one in run.read(LEARNED)["distributions"]:
        if one["most_likely"] is None:
            limits = ", ".join(one["limits"]) or "the job's constraints"
            found.append(f"No network within {limits} was found to be the most likely one.")
        limits = f" within {', '.join(one['limits'])}" if one["limits"] else ""
        if one["drift"] is not None:
            found.append(f"{one['drift'][0].upper()}{one['drift'][1:]}.")
        if not one["on_budget"]:
            found.append(
                f"The distribution{limits} did not end on its budget: expected costs are "
                f"{', '.join(f'{k} {v:.4g}' for k, v in one['settled'].items())}; search longer."
            )
    return found


def distributions(run: Run) -> list[dict[str, Any]]:
    """Return what the searcher proposes from, as its settings have it."""
    return _proposed_from(run.read(LEARNED)["distributions"])


def _proposed_from(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    keys = ("options", "limits", "least_use")
    return [{key: one[key] for key in keys} for one in found]


def _names(run: Run) -> tuple[str, ...]:
    """Return the costs that the loss reads, by `cost_key`."""
    limits = [one for own in limits_of(run.job) for one in own]
    by_limit = tuple(dict.fromkeys(cost_key(one.name, one.confidence) for one in limits))
    given = section_of(run).costs
    if given is not None:
        limited = {one.name for one in limits}  # at whatever confidence: no cost counts twice
        others = (name for name in given if name not in limited)
        return tuple(dict.fromkeys((*others, *by_limit)))
    return by_limit or tuple(name for name in run.job.objectives if name != "accuracy")


def _costs(run: Run) -> dict[str, ExpectedCost]:
    from edgenas.oneshot.mixed.expected import ExpectedCost

    limits = tuple(one for own in limits_of(run.job) for one in own)
    folds = run.costs(tuple(dict.fromkeys((*run.constraints, *limits)))).folds()
    found = {}
    for name in _names(run):
        if name not in folds:
            raise UsageError(
                f"search.differentiable: {name} is not known before an evaluation; allowed: "
                f"{', '.join(sorted(folds))}"
            )
        found[name] = ExpectedCost(folds[name])
        _check_logarithm(run, name, folds[name])
    return found


def _check_logarithm(run: Run, name: str, fold: Fold) -> None:
    """Refuse forms that take the logarithm of a cost of which some network has 1 or less."""
    form = settings_of(run).loss.form
    if form not in PRODUCTS:
        return
    lowest = fold.offset + (
        sum(float(table.min()) for table in fold.tables)
        if fold.how == "sum"
        else max(float(table.min()) for table in fold.tables)
    )
    if unit_of(name) * lowest <= 1:
        raise UsageError(
            f"search.differentiable.loss: {form} takes the logarithm of {name}, of which networks "
            f"have as little as {lowest:.4g}; take the form budget, or sum"
        )


def _budgets(limits: Sequence[Constraint]) -> dict[str, float]:
    return {cost_key(one.name, one.confidence): one.limit for one in limits}


def _expected(
    costs: Mapping[str, ExpectedCost], probabilities: Mapping[int, Any]
) -> dict[str, float]:
    return {name: float(cost(probabilities).detach()) for name, cost in costs.items()}


def _greatest(fold: Fold) -> float:
    """Return the greatest cost of any network."""
    if fold.how == "sum":
        return BudgetProgram(fold).greatest()[0]
    return max(float(table.max()) for table in fold.tables) + fold.offset


def _drift(run: Run, row: Genes, limits: tuple[Constraint, ...]) -> str | None:
    from edgenas.oneshot.mixed.watch import drift

    rng = np.random.default_rng(run.job.training.seed)
    costs = run.costs(limits)
    others = costs.draw(_N_OTHERS, rng) if limits else run.space.sample(_N_OTHERS, rng)
    return drift(run.space, row, others)


def _plain(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report whose numbers JSON has: it knows no NaN."""
    return {k: None if isinstance(v, float) and v != v else v for k, v in report.items()}
