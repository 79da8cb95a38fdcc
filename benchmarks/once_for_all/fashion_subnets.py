"""The supernet of the comparison: trained by phases, its front, and eight subnets along it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from benchmarks.once_for_all.fashion_networks import SEED, SPACE, Network, Work, recipe
from edgenas import spaces
from edgenas.core.architecture import Genes, population
from edgenas.core.files import write_json
from edgenas.core.objective import objective
from edgenas.costs.model import LatencyModel
from edgenas.costs.store import find_table
from edgenas.evaluators.accuracy import SharedWeightsAccuracy
from edgenas.evaluators.combined import CombinedEvaluator
from edgenas.evaluators.costs import CheapCosts
from edgenas.evaluators.predictors import fit_predictor
from edgenas.evaluators.predictors.learner import AccuracyLearner
from edgenas.hardware.device import load_device
from edgenas.oneshot.calibration import calibrate, calibration_of
from edgenas.oneshot.finetune import finetune
from edgenas.oneshot.optimisation import StepReport
from edgenas.oneshot.settings import FINETUNING_PRESETS
from edgenas.oneshot.supernet import Supernet, extract, load_supernet, save_supernet
from edgenas.oneshot.training import train_supernet
from edgenas.profiling.conditions import conditions_of
from edgenas.searchers import PredictorSearcher, SearchProblem
from edgenas.searchers.predictor import PredictorSettings
from edgenas.study.loop import run_search

SUPERNET, TIMES, FRONT = "supernet.safetensors", "shrink.json", "front.json"
RUNTIME = "onnxruntime"
N_SUBNETS = 8
N_EVALUATIONS = 300
N_VALIDATION_IMAGES = 4000
_GOALS = ("accuracy", "latency_ms")


def shrink(work: Work) -> None:
    """Train the supernet by all phases; killed, it goes on where it was."""
    space = spaces.get(SPACE)
    if (work.folder / SUPERNET).exists():
        return
    seconds: defaultdict[str, float] = defaultdict(float, work.read(TIMES) or {})
    losses: list[float] = []  # of the epoch, or what is left of it

    def on_step(report: StepReport) -> None:
        seconds[report.phase] += report.step_s
        losses.append(report.loss)
        if report.step == report.n_steps:
            write_json(work.folder / TIMES, dict(seconds))
            loss = sum(losses) / len(losses)
            losses.clear()
            print(report.phase, report.epoch, f"{loss:.4f}", f"{sum(seconds.values()):.0f}s")

    supernet = Supernet(space, seed=SEED)
    train_supernet(
        supernet,
        space,
        work.dataset,
        recipe(work.threads),
        seed=SEED,
        checkpoint=work.folder / "shrink.checkpoint",
        on_step=on_step,
    )
    save_supernet(supernet, work.folder / SUPERNET)


def find_front(work: Work) -> None:
    """Search the supernet by a predictor; write the front, the subnets and the predictor's report.

    The subnets are members of the front, in equal steps of the logarithm of the latency.
    """
    if work.read(FRONT):
        return
    space = spaces.get(SPACE)
    supernet = load_supernet(space, work.folder / SUPERNET)
    device = load_device("local")
    asked = conditions_of(device, RUNTIME, precision="float32")
    table = find_table(space, asked, slug=device.fingerprint.slug)
    model = LatencyModel(space, table)
    goals = tuple(map(objective, _GOALS))
    costs = CheapCosts(space, _GOALS, models={"latency_ms": model})
    problem = SearchProblem(
        space, goals, cheap=costs, folds=costs.folds(), learner=AccuracyLearner(model.fold)
    )
    dear = SharedWeightsAccuracy(
        supernet,
        space,
        work.dataset,
        n_validation_images=N_VALIDATION_IMAGES,
        threads=work.threads,
    )
    settings = PredictorSettings(n_first=100, n_between=50)
    result = run_search(
        PredictorSearcher(problem, seed=SEED, settings=settings),
        CombinedEvaluator(costs, dear, objectives=goals),
        n_evaluations=N_EVALUATIONS,
        storage=work.folder / "search.db",
        name="fashion-mnist",
        batch_size=work.threads,
        context={},
    )
    done = [e for e in result.evaluations if e.status == "complete"]
    rows = population([e.arch for e in done], space.n_genes)
    fitted = fit_predictor(space, rows, [e.values["accuracy"] for e in done], seed=SEED)
    front = sorted(result.front, key=lambda e: e.values["latency_ms"])
    latency = np.log([e.values["latency_ms"] for e in front])
    places = np.linspace(latency[0], latency[-1], N_SUBNETS)
    chosen = list(dict.fromkeys(int(np.abs(latency - place).argmin()) for place in places))
    write_json(
        work.folder / FRONT,
        {
            "front": [{"genes": list(e.arch.genes), **e.values} for e in front],
            "subnets": [list(front[i].arch.genes) for i in chosen],
            "predictor": fitted.report.model_dump(mode="json"),
        },
    )


def subnets(work: Work) -> list[Network]:
    """Return the subnets that `find_front` chose, the fastest first."""
    space, found = spaces.get(SPACE), work.read(FRONT)
    rows: list[Genes] = [np.array(genes, dtype=np.int8) for genes in found["subnets"]]
    return [Network(space, row) for row in rows]


def judge(work: Work) -> None:
    """Write every subnet's accuracy with the shared weights, and after a short fine-tuning."""
    space = spaces.get(SPACE)
    supernet = load_supernet(space, work.folder / SUPERNET)
    settings = FINETUNING_PRESETS["fashion-mnist"]
    for network in subnets(work):
        name = f"shared/{network.id}.json"
        if work.read(name):
            continue
        shared = calibrate(extract(supernet, space, network.row), calibration_of(work.dataset))
        result: dict[str, Any] = {**network.about(), "shared": work.accuracies(shared)}
        tuned = finetune(supernet, space, network.row, work.dataset, settings, seed=SEED)
        result["finetuned"] = {**work.accuracies(tuned), "epochs": settings.epochs}
        write_json(work.folder / name, result)
        print(network.id, result)
