"""Whether a differentiable search ends on the budget that was asked for.

Five budgets over the range of ``mbv3_tiny`` on this CPU, by methods and forms of the loss, on
Fashion-MNIST. What is compared with the budget: the expected cost when the search ends, the
predicted latency of the most likely network as it is (no limit is asked of it), of the one that is
proposed (within the limit), and its measured latency, with the interval that the table gives.

Steps, each of which goes on where it was stopped: ``search`` (for several processes at once, one a
core), ``latency``, ``summary``.

    python -m benchmarks.differentiable.budgets search --share 0 --n-shares 2
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.differentiable.budgets_summary import table
from benchmarks.differentiable.common import budgets_of, latency_model, measured_ms, settled
from benchmarks.environment import environment
from edgenas import spaces
from edgenas.core.files import write_json, write_text
from edgenas.core.objective import objective
from edgenas.costs.model import LatencyModel
from edgenas.evaluators.costs import CheapCosts
from edgenas.oneshot.data import load_dataset
from edgenas.oneshot.mixed.drawn import drawn_genes
from edgenas.oneshot.mixed.expected import ExpectedCost
from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.oneshot.mixed.loss_settings import NEED_BUDGET, LossSettings
from edgenas.oneshot.mixed.search import search
from edgenas.oneshot.mixed.settings import DifferentiableSettings, method, short
from edgenas.oneshot.mixed.state import Searching
from edgenas.oneshot.supernet import Supernet
from edgenas.searchers.probabilities import (
    Probabilities,
    ProbabilitiesSearcher,
    ProbabilitiesSettings,
)
from edgenas.searchers.problem import SearchProblem
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.budget import BudgetProgram

_ROOT = Path(__file__).parent / "results"
RESULTS, TIMED, SUMMARY = _ROOT / "budgets", _ROOT / "budgets-latency.json", _ROOT / "budgets.md"
SPACE = "mbv3_tiny"
N_TRAIN = 3000
EPOCHS, WARMUP_EPOCHS = 10, 3
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Budgets: so far from the least latency to the greatest, on a logarithmic scale."""

UNLEARNED = ("none", "budget")
"""A case in which the logits learn nothing, and are put on the budget as searches are."""

CASES: tuple[tuple[str, str], ...] = (
    UNLEARNED,
    ("fbnet", "budget"),
    ("proxylessnas", "budget"),
    ("proxylessnas_full", "budget"),
    ("gdas", "budget"),
    ("darts", "budget"),
    ("fbnet", "fbnet"),
    ("proxylessnas", "proxylessnas_sum"),
    ("proxylessnas", "proxylessnas_product"),
)
"""Methods and forms of the loss; FBNet's form has no budget and ends where it ends."""


def settings_of(name: str, form: str) -> DifferentiableSettings:
    """Return the settings of a case."""
    chosen = short(method(name), epochs=EPOCHS, warmup_epochs=WARMUP_EPOCHS)
    return replace(chosen, loss=LossSettings(form=form))


def main() -> None:
    """Carry out one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("search", "latency", "summary"))
    parser.add_argument("--share", type=int, default=0, help="which of several such processes")
    parser.add_argument("--n-shares", type=int, default=1)
    given = parser.parse_args()
    if given.step == "search":
        search_all(given.share, given.n_shares)
        return
    budgets = budgets_of(latency_model(SPACE), SHARES)
    found = {case: read(*case, budgets) for case in CASES}
    match given.step:
        case "latency":
            rows = (tuple(one["proposed"]) for results in found.values() for one in results)
            measured = measured_ms(spaces.get(SPACE), rows)
            timed = [{"genes": list(row), "latency_ms": ms} for row, ms in measured.items()]
            write_json(TIMED, {"networks": timed, "environment": environment()})
        case "summary":
            timed = json.loads(TIMED.read_text(encoding="utf-8"))["networks"]
            latency = {tuple(one["genes"]): float(one["latency_ms"]) for one in timed}
            write_text(SUMMARY, table(found, latency))


def search_all(share: int, n_shares: int) -> None:
    """Search every case of a share that has no result yet."""
    space, model = spaces.get(SPACE), latency_model(SPACE)
    budgets = budgets_of(model, SHARES)
    # A form that compares nothing with a budget learns the same for all of them.
    every = [
        (case, some)
        for case in CASES
        for some in ([[one] for one in budgets] if case[1] in NEED_BUDGET else [budgets])
    ]
    for (name, form), some in every[share::n_shares]:
        known = {one["budget_ms"] for one in read(name, form, budgets)}
        asked = [budget for budget in some if budget not in known]
        if not asked:
            continue
        start = time.perf_counter()
        if (name, form) == UNLEARNED:
            logits, reports = unlearned(space, model)
        else:
            logits, reports = learned(space, model, settings_of(name, form), budget=asked[0])
        taken = {"search_s": round(time.perf_counter() - start, 1)}
        for budget in asked:
            found = {"budget_ms": budget, **end(space, model, form, logits, budget)}
            path = RESULTS / f"{name}-{form}-{budget}.json"
            write_json(path, {"method": name, "form": form, **found, **reports, **taken})
            print(name, form, budget, found["predicted_ms"], taken, flush=True)


def read(name: str, form: str, asked: Sequence[float]) -> list[dict[str, Any]]:
    """Return the results of a case for the budgets asked (an earlier table's are others)."""
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob(f"{name}-{form}-*")
    ]
    return sorted(
        (one for one in found if one["budget_ms"] in asked), key=lambda one: float(one["budget_ms"])
    )


def learned(
    space: SearchSpace, model: LatencyModel, settings: DifferentiableSettings, budget: float
) -> tuple[GeneLogits, dict[str, float]]:
    """Search, and return the logits and where their distribution ended by itself."""
    costs, asked = {"latency_ms": ExpectedCost(model.fold)}, {"latency_ms": budget}
    greatest = {"latency_ms": BudgetProgram(model.fold).greatest()[0]}
    supernet = Supernet(space, seed=0, weights=settings.weights)
    searching = Searching(supernet, space, settings, budgets=[asked], greatest=greatest, seed=0)
    told = search(
        searching,
        space,
        load_dataset("fashion-mnist").with_fewer(N_TRAIN),
        settings,
        costs=costs,
        identity=settings.loss.form,
        seed=0,
    )
    ended = {"expected_ms": told[-1].costs["latency_ms"], "entropy": told[-1].entropy}
    return searching.distributions[0].logits, ended


def unlearned(space: SearchSpace, model: LatencyModel) -> tuple[GeneLogits, dict[str, float]]:
    """Return logits as they are at the beginning, and where they are."""
    logits = GeneLogits(space, seed=0, drawn=drawn_genes(space))
    return logits, {"expected_ms": expected_ms(logits, model), "entropy": logits.entropy()}


def expected_ms(logits: GeneLogits, model: LatencyModel) -> float:
    """Return the expected latency of a distribution, in ms."""
    return float(ExpectedCost(model.fold)(logits.probabilities()).detach())


def end(
    space: SearchSpace,
    model: LatencyModel,
    form: str,
    logits: GeneLogits,
    budget: float,
) -> dict[str, Any]:
    """Return what a search ends with at a budget: as it is, settled, and what is proposed."""
    free = logits.most_likely()
    if form == "budget":
        own = settled(logits, model, budget)
    else:
        own = Probabilities(logits.options(), (f"latency_ms <= {budget}",))
    costs = CheapCosts(space, ("latency_ms",), models={"latency_ms": model})
    problem = SearchProblem(
        space,
        (objective("latency_ms"),),
        cheap=costs,
        draw=lambda n, rng: BudgetProgram(model.fold).sample(n, budget, rng),
    )
    searcher = ProbabilitiesSearcher(problem, settings=ProbabilitiesSettings([own]))
    proposed = searcher.likeliest(0)
    assert proposed is not None  # the budgets lie in the range
    value, lower, upper = (float(v[0]) for v in model.predict(proposed[None]))
    return {
        "most_likely_ms": float(model.fold(free[None])[0]),
        "ended_ms": expected_ms(logits, model),
        "proposed": proposed.tolist(),
        "predicted_ms": value,
        "interval_ms": [lower, upper],
    }


if __name__ == "__main__":
    main()
