"""Whether a differentiable search ends on the budget that was asked for.

``python -m benchmarks.differentiable.budgets``: five budgets over the range of ``mbv3_tiny`` on
this CPU, by methods and forms of the loss, on Fashion-MNIST. What is compared with the budget: the
expected cost when the search ends, the predicted latency of the most likely network as it is (no
limit is asked of it), of the one that is proposed (within the limit), and its measured latency,
with the interval that the table gives.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.differentiable.common import budgets_of, latency_model, measured_ms
from benchmarks.environment import environment
from edgenas import spaces
from edgenas.core.files import write_json
from edgenas.core.objective import objective
from edgenas.costs.model import LatencyModel
from edgenas.evaluators.costs import CheapCosts
from edgenas.oneshot.data import load_dataset
from edgenas.oneshot.mixed.budget import settle
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

RESULTS = Path(__file__).parent / "results"
SPACE = "mbv3_tiny"
N_TRAIN = 6000
EPOCHS, WARMUP_EPOCHS = 10, 3
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Budgets: so far from the least latency to the greatest, on a logarithmic scale."""

CASES: tuple[tuple[str, str], ...] = (
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


def settings_of(name: str, form: str, threads: int) -> DifferentiableSettings:
    """Return the settings of a case."""
    chosen = short(method(name), epochs=EPOCHS, warmup_epochs=WARMUP_EPOCHS)
    training = replace(chosen.training, threads=threads)
    return replace(chosen, training=training, loss=LossSettings(form=form))


def main() -> None:
    """Search every case that has no result yet, then measure all networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    space, model = spaces.get(SPACE), latency_model(SPACE)
    budgets = budgets_of(model, SHARES)
    path = RESULTS / "budgets.json"
    done: list[dict[str, Any]] = []
    if path.exists():
        done = json.loads(path.read_text(encoding="utf-8"))["searches"]
    for name, form in CASES:
        asked = [one for one in budgets if not is_done(done, name, form, one)]
        # A form that compares nothing with a budget learns the same for all of them.
        together = [[one] for one in asked] if form in NEED_BUDGET else [asked]
        for some in filter(None, together):
            settings = settings_of(name, form, given.threads)
            logits, reports = learned(space, model, settings, budget=some[0])
            for budget in some:
                case = {"method": name, "form": form, "budget_ms": budget}
                done.append({**case, **end(space, model, settings, logits, budget), **reports})
                print(done[-1], flush=True)
            write_json(path, {"searches": done, "environment": environment()})
    measured = measured_ms(space, (tuple(one["proposed"]) for one in done))
    for one in done:
        one["measured_ms"] = measured[tuple(one["proposed"])]
    write_json(path, {"searches": done, "environment": environment()})


def is_done(done: list[dict[str, Any]], name: str, form: str, budget: float) -> bool:
    """Return whether a case has its result."""
    case = {"method": name, "form": form, "budget_ms": budget}
    return any(all(one[key] == value for key, value in case.items()) for one in done)


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


def end(
    space: SearchSpace,
    model: LatencyModel,
    settings: DifferentiableSettings,
    logits: GeneLogits,
    budget: float,
) -> dict[str, Any]:
    """Return what a search ends with at a budget: as it is, settled, and what is proposed."""
    free = logits.most_likely()
    cost = ExpectedCost(model.fold)
    if settings.loss.form == "budget":
        settle(logits, {"latency_ms": cost}, {"latency_ms": budget})
    least_use = 0.95 if settings.loss.form == "budget" else 0.0
    own = Probabilities(logits.options(), (f"latency_ms <= {budget}",), least_use=least_use)
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
        "settled_ms": float(cost(logits.probabilities()).detach()),
        "proposed": proposed.tolist(),
        "predicted_ms": value,
        "interval_ms": [lower, upper],
    }


if __name__ == "__main__":
    main()
