"""One supernet trained one way in the time that there is, and what is picked from it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.differentiable.common import budgets_of, latency_model, settled
from edgenas import spaces
from edgenas.core.evaluation import Evaluation
from edgenas.core.files import write_json
from edgenas.core.objective import Constraint, objective
from edgenas.costs.model import LatencyModel
from edgenas.evaluators.accuracy import SharedWeightsAccuracy
from edgenas.evaluators.combined import CombinedEvaluator
from edgenas.evaluators.costs import CheapCosts
from edgenas.evaluators.predictors.learner import AccuracyLearner
from edgenas.oneshot.data import load_dataset
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.mixed.drawn import drawn_genes
from edgenas.oneshot.mixed.expected import ExpectedCost
from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.oneshot.mixed.loss_settings import LossSettings
from edgenas.oneshot.mixed.search import search
from edgenas.oneshot.mixed.settings import DifferentiableSettings, method, short
from edgenas.oneshot.mixed.state import Searching
from edgenas.oneshot.optimisation import OnStep
from edgenas.oneshot.settings import SUPERNET_PRESETS, TrainingSettings
from edgenas.oneshot.supernet import Supernet, save_supernet
from edgenas.oneshot.training import train_supernet
from edgenas.searchers import PredictorSearcher, RandomSearcher, SearchProblem
from edgenas.searchers.base import Searcher
from edgenas.searchers.predictor import PredictorSettings
from edgenas.searchers.probabilities import (
    Probabilities,
    ProbabilitiesSearcher,
    ProbabilitiesSettings,
)
from edgenas.spaces.budget import BudgetProgram
from edgenas.study.loop import run_search

DATA = "fashion-mnist"
SPACES = ("mbv3_tiny", "fbnet_tiny")
SEEDS = (0, 1, 2)
TRAININGS = ("fbnet", "proxylessnas", "once_for_all")
"""Ways to train the supernet; from the last one both a selection and random search pick."""

SHARES = (0.2, 0.5, 0.8)
"""Budgets: so far from the least latency to the greatest, on a logarithmic scale."""

TIME_S = 480.0
"""About so long, on one core, for a supernet's training and the choosing (see `time_s`)."""

_LEAST_EPOCHS, _N_PACE_IMAGES = 5, 4000

N_TRAIN = 10_000
N_VALIDATION_IMAGES = 2000
N_SELECTION = 240
N_DRAWS = 30
"""Evaluations with the shared weights, a third for each budget: of the selection and of random
search, and after a differentiable search."""

_GOALS = ("accuracy", "latency_ms")


@dataclass(frozen=True)
class Folder:
    """Where results are, which are kept, and supernets, which are not."""

    results_folder: Path
    work: Path

    def path(self, space: str, seed: int, name: str) -> Path:
        """Return where the result of a way to pick is."""
        return self.results_folder / f"{space}-{name}-{seed}.json"

    def supernet(self, space: str, seed: int, kind: str) -> Path:
        """Return where a supernet is."""
        self.work.mkdir(parents=True, exist_ok=True)
        return self.work / f"{space}-{kind}-{seed}.safetensors"

    def read(self, path: Path) -> Any:
        """Return what a file holds, None if there is none."""
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def results(self, space: str) -> list[Any]:
        """Return what has been picked in a space, all seeds and ways."""
        found = [
            self.read(self.path(space, seed, name)) for seed in SEEDS for name in picked_by("all")
        ]
        return [result for result in found if result is not None]


def picked_by(kind: str) -> tuple[str, ...]:
    """Return the ways to pick from a supernet that was trained one way, or all of them."""
    own = {"once_for_all": ("once_for_all", "random")}
    if kind == "all":
        return tuple(name for one in TRAININGS for name in picked_by(one))
    return own.get(kind, (kind,))


def images() -> ImageDataset:
    """Return the images that everything learns from."""
    return load_dataset(DATA).with_fewer(N_TRAIN)


# -- how long it takes -----------------------------------------------------------------------


def measure_pace(folder: Folder, space_name: str, kind: str) -> None:
    """Write the seconds of an epoch, in the warm-up and after it, and of the choosing.

    Measured as the runs themselves are, with another process at work.
    """
    path = _pace_path(folder, space_name, kind)
    if path.exists():
        return
    dataset, model = images(), latency_model(space_name)
    supernet = Supernet(model.space, seed=0)
    times: dict[int, list[float]] = {1: [], 2: []}
    learned, _ = _train(
        supernet,
        model,
        dataset.with_fewer(_N_PACE_IMAGES),
        kind,
        (2, 1),
        seed=0,
        on_step=lambda step: times[step.epoch].append(step.step_s),
    )
    dear = SharedWeightsAccuracy(
        supernet, model.space, dataset, n_validation_images=N_VALIDATION_IMAGES
    )
    start = time.perf_counter()
    _evaluations(folder, picked_by(kind)[0], model, dear, learned, seed=0)
    choosing_s = time.perf_counter() - start
    share = 1.0 if kind == "once_for_all" else 1 - method(kind).logits_share
    n_steps = int(N_TRAIN * share) // 64
    write_json(
        path,
        {
            # The first steps of an epoch begin threads and caches.
            "warmup_epoch_s": n_steps * mean(times[1][5:]),
            "epoch_s": n_steps * mean(times[2][5:]),
            "choosing_s": choosing_s,
        },
    )
    print(path.name, path.read_text(encoding="utf-8"), flush=True)


def _pace_path(folder: Folder, space_name: str, kind: str) -> Path:
    return folder.results_folder / f"pace-{space_name}-{kind}.json"


def _mean_epoch_s(pace: dict[str, float], kind: str) -> float:
    """Return the seconds of an epoch; a third of a differentiable search warms up."""
    if kind == "once_for_all":
        return pace["epoch_s"]
    return (pace["warmup_epoch_s"] + 2 * pace["epoch_s"]) / 3


def time_s(folder: Folder, space_name: str) -> float:
    """Return the seconds that every way has: those of whole epochs of the slowest one."""
    paces = {kind: folder.read(_pace_path(folder, space_name, kind)) for kind in TRAININGS}
    slowest = max(TRAININGS, key=lambda kind: _mean_epoch_s(paces[kind], kind))
    pace = paces[slowest]
    epoch_s = _mean_epoch_s(pace, slowest)
    epochs = max(_LEAST_EPOCHS, round((TIME_S - pace["choosing_s"]) / epoch_s))
    return float(epochs * epoch_s + pace["choosing_s"])


def epochs_of(folder: Folder, space_name: str, kind: str) -> tuple[int, int]:
    """Return as many epochs as there is time for, and how many of them warm up."""
    pace = folder.read(_pace_path(folder, space_name, kind))
    left_s = time_s(folder, space_name) - pace["choosing_s"]
    epochs = max(2, round(left_s / _mean_epoch_s(pace, kind)))
    return epochs, 0 if kind == "once_for_all" else max(1, round(epochs / 3))


# -- one run ---------------------------------------------------------------------------------


def run(folder: Folder, space_name: str, seed: int, kind: str) -> None:
    """Train a supernet and write what is picked from it, where that is not yet known."""
    names = picked_by(kind)
    if all(folder.path(space_name, seed, name).exists() for name in names):
        return
    space, model, dataset = spaces.get(space_name), latency_model(space_name), images()
    epochs, warmup = epochs_of(folder, space_name, kind)
    supernet = Supernet(space, seed=seed)
    start = time.perf_counter()
    learned, told = _train(supernet, model, dataset, kind, (epochs, warmup), seed=seed)
    training_s = time.perf_counter() - start
    save_supernet(supernet, folder.supernet(space_name, seed, kind))
    dear = SharedWeightsAccuracy(supernet, space, dataset, n_validation_images=N_VALIDATION_IMAGES)
    for name in names:
        start = time.perf_counter()
        evaluations = _evaluations(folder, name, model, dear, learned, seed)
        result = {
            "space": space_name,
            "seed": seed,
            "method": name,
            "epochs": epochs,
            "warmup_epochs": warmup,
            "training_s": round(training_s, 1),
            "choosing_s": round(time.perf_counter() - start, 1),
            "n_evaluations": len(evaluations),
            "allowed_s": round(time_s(folder, space_name), 1),
            "learned": told,
            "picks": _picks(model, evaluations),
        }
        if learned:
            result["unlearned"] = _unlearned(folder, name, model, dear, seed)
        write_json(folder.path(space_name, seed, name), result)
        print({k: v for k, v in result.items() if k != "picks"}, flush=True)


def _train(  # noqa: PLR0913
    supernet: Supernet,
    model: LatencyModel,
    dataset: ImageDataset,
    kind: str,
    epochs: tuple[int, int],
    *,
    seed: int,
    on_step: OnStep | None = None,
) -> tuple[list[Probabilities], list[dict[str, float]]]:
    """Train in place; return the distributions that were learned, if any, and what to tell of each.

    Weights learn with the same decay and smoothing. The rates are the defaults: the sandwich's
    is a sum over several networks a step, the mixture is one.
    """
    space, usual = model.space, SUPERNET_PRESETS[DATA]
    if kind == "once_for_all":
        training: TrainingSettings = replace(usual, epochs=epochs[0])
        train_supernet(supernet, space, dataset, training, seed=seed, on_step=on_step)
        return [], []
    chosen: DifferentiableSettings = short(method(kind), epochs=epochs[0], warmup_epochs=epochs[1])
    training = replace(
        chosen.training,
        weight_decay=usual.weight_decay,
        label_smoothing=usual.label_smoothing,
    )
    settings = replace(chosen, training=training, loss=LossSettings(form="budget"))
    costs = {"latency_ms": ExpectedCost(model.fold)}
    budgets = [{"latency_ms": budget} for budget in budgets_of(model, SHARES)]
    searching = Searching(supernet, space, settings, budgets=budgets, seed=seed)
    reports = search(
        searching, space, dataset, settings, costs=costs, identity=kind, seed=seed, on_step=on_step
    )
    found, told = [], []
    for one, own, report in zip(
        searching.distributions, budgets, reports[-len(budgets) :], strict=True
    ):
        told.append(
            {
                "budget_ms": own["latency_ms"],
                "expected_ms": report.costs["latency_ms"],
                "entropy": report.entropy,
                "n_steps": one.number("n_steps"),
            }
        )
        found.append(settled(one.logits, model, own["latency_ms"]))
    return found, told


def _unlearned(
    folder: Folder, name: str, model: LatencyModel, dear: SharedWeightsAccuracy, seed: int
) -> list[float]:
    """Return the best accuracies with shared weights, within each budget, where nothing is learned.

    All options are equally likely but for what puts their expected latency on the budget: what is
    better than these was learned.
    """
    given = [
        settled(GeneLogits(model.space, seed=seed, drawn=drawn_genes(model.space)), model, budget)
        for budget in budgets_of(model, SHARES)
    ]
    picks = _picks(model, _evaluations(folder, name, model, dear, given, seed))
    return [pick["shared_accuracy"] for pick in picks]


def _evaluations(  # noqa: PLR0913
    folder: Folder,
    name: str,
    model: LatencyModel,
    dear: SharedWeightsAccuracy,
    learned: list[Probabilities],
    seed: int,
) -> list[Evaluation]:
    """Return what a way to pick has evaluated."""
    budgets = budgets_of(model, SHARES)
    per_budget: dict[str, tuple[type[Searcher], Any]] = {
        "random": (RandomSearcher, None),
        "once_for_all": (PredictorSearcher, PredictorSettings(n_first=40, n_between=20)),
    }
    if name in per_budget:
        kind, settings = per_budget[name]
        n = N_SELECTION // len(budgets)
        return [
            evaluation
            for budget in budgets
            for evaluation in _searched(folder, kind, model, dear, budget, n, seed, settings)
        ]
    own = ProbabilitiesSettings(distributions=learned)
    return _searched(folder, ProbabilitiesSearcher, model, dear, budgets[-1], N_DRAWS, seed, own)


def _searched(  # noqa: PLR0913
    folder: Folder,
    kind: type[Searcher],
    model: LatencyModel,
    dear: SharedWeightsAccuracy,
    budget: float,
    n: int,
    seed: int,
    settings: Any,
) -> list[Evaluation]:
    goals = tuple(map(objective, _GOALS))
    limits = (Constraint.parse(f"latency_ms <= {budget}"),)
    costs = CheapCosts(model.space, _GOALS, models={"latency_ms": model}, constraints=limits)
    problem = SearchProblem(
        model.space,
        goals,
        limits,
        cheap=costs,
        draw=lambda count, rng: BudgetProgram(model.fold).sample(count, budget, rng),
        folds=costs.folds(),
        learner=AccuracyLearner(model.fold),
    )
    storage = folder.work / "search.db"
    name = f"{model.space.name}-{kind.name}-{seed}-{budget}-{time.time_ns()}"
    evaluator = CombinedEvaluator(costs, dear, objectives=goals, constraints=limits)
    searcher = kind(problem, seed=seed, settings=settings)
    result = run_search(searcher, evaluator, n_evaluations=n, storage=storage, name=name)
    return [one for one in result.evaluations if one.status == "complete"]


def _picks(model: LatencyModel, evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Return the most accurate network within each budget, as JSON values."""
    found = []
    for budget in budgets_of(model, SHARES):
        within = [one for one in evaluations if one.values["latency_ms"] <= budget]
        if not within:
            raise RuntimeError(f"nothing within {budget} ms was evaluated")
        best = max(within, key=lambda one: (one.values["accuracy"], -one.values["latency_ms"]))
        row = best.arch.row[None]
        value, lower, upper = (float(v[0]) for v in model.predict(row))
        found.append(
            {
                "budget_ms": budget,
                "genes": list(best.arch.genes),
                "shared_accuracy": best.values["accuracy"],
                "predicted_ms": round(value, 6),
                "interval_ms": [round(lower, 6), round(upper, 6)],
            }
        )
    return found
