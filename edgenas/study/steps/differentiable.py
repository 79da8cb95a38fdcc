"""A differentiable search as the training of a run's supernet: what it reads, what it leaves."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.files import write_json
from edgenas.core.objective import Constraint
from edgenas.oneshot.mixed.settings import DifferentiableSettings
from edgenas.searchers.problem import cost_key
from edgenas.study.context import Run
from edgenas.study.job_differentiable import DifferentiableSection

if TYPE_CHECKING:
    from edgenas.oneshot.mixed.expected import ExpectedCost
    from edgenas.oneshot.optimisation import OnStep
    from edgenas.oneshot.supernet import Supernet

_N_OTHERS = 200
_N_JUDGES = 4

LEARNED = "train/probabilities.json"
"""What was learned: probabilities, how they came about, and what is to be said of them."""


def section_of(run: Run) -> DifferentiableSection:
    """Return the job's section; only for jobs that have one."""
    section = run.job.search.differentiable
    assert section is not None  # noqa: S101  # callers look first
    return section


def limits_of(run: Run) -> list[tuple[Constraint, ...]]:
    """Return the limits of every distribution, those of the job among them."""
    section = section_of(run)
    own = tuple(c for c in run.constraints if c.name != "accuracy")
    if not section.budgets:
        return [own]
    found = []
    for text in section.budgets:
        asked = section.limits_of(text)
        names = {one.name for one in asked}
        found.append((*asked, *(one for one in own if one.name not in names)))
    return found


def settings_of(run: Run) -> DifferentiableSettings:
    """Return how the search learns: the method's settings, changed as the job says."""
    chosen = section_of(run).settings(has_limits=any(limits_of(run)))
    training = run.job.training.over(chosen.training)
    if training.epochs != chosen.training.epochs and section_of(run).warmup_epochs is None:
        share = chosen.warmup_epochs / chosen.training.epochs
        chosen = replace(chosen, warmup_epochs=0, training=training)
        return replace(chosen, warmup_epochs=round(share * training.epochs))
    return replace(chosen, training=training)


def decisive(run: Run) -> dict[str, Any]:
    """Return, as JSON values, what decides the result beside data, space and tables."""
    settings = asdict(settings_of(run))
    settings["training"] |= {"threads": None, "checkpoint_minutes": None}
    limits = [[str(one) for one in own] for own in limits_of(run)]
    return {"settings": settings, "limits": limits, "costs": list(_names(run))}


def search_supernet(
    run: Run, supernet: Supernet, checkpoint: Path, identity: str, on_step: OnStep
) -> list[float]:
    """Train weights and logits, write what was learned, and return the mean loss of every epoch.

    Raises:
        UsageError: a cost that the loss is to read is not known before an evaluation.
    """
    from edgenas.oneshot.mixed.budget import settle
    from edgenas.oneshot.mixed.search import search
    from edgenas.oneshot.mixed.state import Searching

    settings, limits = settings_of(run), limits_of(run)
    costs, budgets = _costs(run), [_budgets(own) for own in limits]
    seed = run.job.training.seed
    searching = Searching(supernet, run.space, settings, budgets=budgets, seed=seed)
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
    found = []
    for i, one in enumerate(searching.distributions):
        before = _expected(costs, one.logits.probabilities())
        if settings.loss.form == "budget" and budgets[i]:
            settle(one.logits, costs, budgets[i])
        found.append(
            {
                "limits": [str(limit) for limit in limits[i]],
                "budgets": budgets[i],
                "options": _options(run, one.logits.probabilities()),
                "expected": before,
                "settled": _expected(costs, one.logits.probabilities()),
                "entropy": one.logits.entropy(),
                "most_likely": one.logits.most_likely().tolist(),
                "drift": _drift(run, one.logits.most_likely(), limits[i]),
            }
        )
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
    keys = ("limits", "expected", "settled", "entropy", "drift")
    ends = [{key: one[key] for key in keys} for one in found["distributions"]]
    return {**found, "distributions": ends}


def warnings(run: Run, evaluations: Sequence[Evaluation]) -> list[str]:
    """Return what is wrong with the result, in sentences.

    A most likely network that is nearly all skips is wrong where it is worse than what was drawn
    from the same distribution: a tight budget may ask for one.

    Args:
        run: whose search is done.
        evaluations: of the search, in their order: distributions took turns, each with its most
            likely network first.
    """
    found, ends = [], run.read(LEARNED)["distributions"]
    for i, one in enumerate(ends):
        own = [e.values["accuracy"] for e in evaluations[i :: len(ends)] if "accuracy" in e.values]
        if one["drift"] is None or len(own) < _N_JUDGES:
            continue
        typical = statistics.median(own[1:])
        if own[0] < typical:
            text = one["drift"]
            found.append(
                f"{text[0].upper()}{text[1:]}. It reaches {own[0]:.1%} with shared weights, draws "
                f"from the same probabilities {typical:.1%} (median)."
            )
    return found


def distributions(run: Run) -> list[dict[str, Any]]:
    """Return what the searcher proposes from, as its settings have it."""
    return [
        {"options": one["options"], "limits": one["limits"]}
        for one in run.read(LEARNED)["distributions"]
    ]


def _names(run: Run) -> tuple[str, ...]:
    """Return the costs that the loss reads, by `cost_key`."""
    limits = [one for own in limits_of(run) for one in own]
    by_limit = tuple(dict.fromkeys(cost_key(one.name, one.confidence) for one in limits))
    given = section_of(run).costs
    if given is not None:
        return tuple(dict.fromkeys((*given, *by_limit)))
    return by_limit or tuple(name for name in run.job.objectives if name != "accuracy")


def _costs(run: Run) -> dict[str, ExpectedCost]:
    from edgenas.oneshot.mixed.expected import ExpectedCost

    limits = tuple(one for own in limits_of(run) for one in own)
    folds = run.costs(tuple(dict.fromkeys((*run.constraints, *limits)))).folds()
    found = {}
    for name in _names(run):
        if name not in folds:
            raise UsageError(
                f"search.differentiable: {name} is not known before an evaluation; allowed: "
                f"{', '.join(sorted(folds))}"
            )
        found[name] = ExpectedCost(folds[name])
    return found


def _budgets(limits: Sequence[Constraint]) -> dict[str, float]:
    return {cost_key(one.name, one.confidence): one.limit for one in limits}


def _expected(
    costs: Mapping[str, ExpectedCost], probabilities: Mapping[int, Any]
) -> dict[str, float]:
    return {name: float(cost(probabilities).detach()) for name, cost in costs.items()}


def _options(run: Run, probabilities: Mapping[int, Any]) -> dict[str, list[float]]:
    found = {}
    for column, values in probabilities.items():
        own = values.detach().double()
        found[run.space.genes[column].name] = (own / own.sum()).tolist()
    return found


def _drift(run: Run, row: Genes, limits: tuple[Constraint, ...]) -> str | None:
    from edgenas.oneshot.mixed.watch import drift

    rng = np.random.default_rng(run.job.training.seed)
    costs = run.costs(limits)
    others = costs.draw(_N_OTHERS, rng) if limits else run.space.sample(_N_OTHERS, rng)
    return drift(run.space, row, others)


def _plain(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report whose numbers JSON has: it knows no NaN."""
    return {k: None if isinstance(v, float) and v != v else v for k, v in report.items()}
