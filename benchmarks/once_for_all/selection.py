"""Selection on the Note10 tables with the published predictor: ten seeds, all budgets in one run.

`public` are the accuracies that the public implementation's evolution finds (population 100, 500
generations, one run a budget; 88 s for all seven on a machine of two cores), `reference` the best
over many seeds of an earlier sketch of ours, as known before this benchmark. `runs`: one a seed, by
evaluations, so that another machine finds the same; `seconds` is what it took here, all included
but the reading of the tables. `long`: the same for longer. `speeds`: table costs and predictions a
second, the best of several timings. `exact`: true fronts of additive quantities. `fleet`: one
network for four devices.

    OMP_NUM_THREADS=2 EDGENAS_BENCH_DATA=... python -m benchmarks.once_for_all.selection
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.once_for_all import devices
from benchmarks.program import main
from edgenas.costs.model import LatencyModel
from edgenas.costs.store import locate
from edgenas.costs.table import CostTable
from edgenas.searchers.arrays.exact import FrontProgram
from edgenas.searchers.arrays.fleet import select_fleet
from edgenas.searchers.arrays.front import Front
from edgenas.searchers.arrays.problem import ACCURACY, Limits
from edgenas.searchers.arrays.select import select
from edgenas.searchers.arrays.terms import Additive, GeneSum
from edgenas.spaces.fold import macs

BUDGETS_MS = (15, 20, 25, 30, 40, 50, 60)
PUBLIC = (0.78488, 0.80539, 0.81908, 0.82927, 0.83864, 0.84261, 0.84916)
REFERENCE = (0.78800, 0.80789, 0.82222, 0.83133, 0.84268, 0.85154, 0.85397)
WITHIN = 0.0003
HERE = "amd-epyc-2c-6e2bf889/onnxruntime-float32/ofa_mbv3_w1.2"
FLEET_MS = {"note10": 30.0, "i7_8700k": 14.5, "v100_batch64": 22.5, "epyc_onnxruntime": 9.3}
RESULTS = Path(__file__).parent / "results" / "selection.json"
_N_SPEED, _N_TIMINGS = 200_000, 7


def one(seed: int, n_evaluations: int) -> tuple[Front, dict[str, Any]]:
    """Return the front of one seed and its figures."""
    front = select(
        devices.space(),
        {"latency_ms": devices.note10()},
        accuracy=devices.predictor(),
        budgets=[{"latency_ms": budget} for budget in BUDGETS_MS],
        seed=seed,
        limits=Limits(n_evaluations=n_evaluations),
    )
    accuracy = np.array([pick.values[ACCURACY] for pick in front.picks])
    away = accuracy - np.array(REFERENCE)
    told = {
        "seed": seed,
        "accuracy": accuracy.round(5).tolist(),
        "against_reference": away.round(5).tolist(),
        "within": int((away >= -WITHIN).sum()),
        "above_public": int((accuracy > np.array(PUBLIC)).sum()),
        "seconds": round(front.statistics.seconds, 2),
        "n_evaluations": front.statistics.n_evaluations,
        "n_front": len(front),
    }
    return front, told


def several(seeds: range, n_evaluations: int) -> dict[str, Any]:
    """Return the figures of several seeds, and the best of all."""
    found = [one(seed, n_evaluations) for seed in seeds]
    runs = [told for _, told in found]
    accuracy = np.array([[p.values[ACCURACY] for p in front.picks] for front, _ in found])
    best = accuracy.argmax(axis=0)
    picks = [found[k][0].picks[i] for i, k in enumerate(best)]
    return {
        "runs": runs,
        "seconds_greatest": max(run["seconds"] for run in runs),
        "pairs_within": f"{sum(run['within'] for run in runs)} of {accuracy.size}",
        "seeds_wholly_within": sum(run["within"] == len(BUDGETS_MS) for run in runs),
        "least": accuracy.min(axis=0).round(5).tolist(),
        "median": np.median(accuracy, axis=0).round(5).tolist(),
        "best": accuracy.max(axis=0).round(5).tolist(),
        "best_against_reference": (accuracy.max(axis=0) - REFERENCE).round(5).tolist(),
        "best_networks": [
            {
                "budget_ms": budget,
                "latency_ms": round(pick.values["latency_ms"], 4),
                "accuracy": round(pick.values[ACCURACY], 6),
                "config": devices.space().describe(pick.genes),
            }
            for budget, pick in zip(BUDGETS_MS, picks, strict=True)
        ],
    }


def speeds() -> dict[str, Any]:
    """Return table costs and predictions a second."""
    rows = devices.space().sample(_N_SPEED, np.random.default_rng(0))

    def rate(call: Callable[[np.ndarray], object], genes: np.ndarray) -> int:
        seconds = []
        for _ in range(_N_TIMINGS):
            began = time.perf_counter()
            call(genes)
            seconds.append(time.perf_counter() - began)
        return round(len(genes) / min(seconds))

    return {
        "table_costs_per_s": rate(devices.note10(), rows),
        "predictions_per_s": rate(devices.predictor(), rows[: _N_SPEED // 4]),
    }


def additive_accuracy() -> GeneSum:
    """Return a linear fit to the predictor, which stands for a linear predictor."""
    space = devices.space()
    rows = space.sample(8000, np.random.default_rng(0))
    features = np.column_stack([space.encode(rows), np.ones(len(rows))]).astype(np.float64)
    gram = features.T @ features + 1e-3 * np.eye(features.shape[1])
    found = np.linalg.solve(gram, features.T @ devices.predictor()(rows))
    return GeneSum.from_linear(space, found[:-1], offset=float(found[-1]))


def exact() -> list[dict[str, Any]]:
    """Return true fronts over the whole space, with their cost."""
    latency, told = devices.note10(), []
    compute: dict[str, Additive] = {"macs": macs(devices.space()), "linear": additive_accuracy()}
    for name, quantity in compute.items():
        began = time.perf_counter()
        program = FrontProgram({"latency_ms": latency, name: quantity}, maximised=(name,))
        front = program.front()
        told.append(
            {
                "front": f"most {name} against latency",
                "n_members": len(front.genes),
                "exact": front.exact,
                "n_labels": front.n_labels,
                "seconds": round(time.perf_counter() - began, 2),
            }
        )
    return told


def fleet(n_evaluations: int) -> dict[str, Any]:
    """Return one network for four devices, within their budgets and at an accuracy."""
    fitted, report = devices.gpu()
    here = LatencyModel(devices.space(), CostTable.load(locate(HERE))).fold
    costs = {
        "note10": devices.note10(),
        "i7_8700k": devices.i7(),
        "v100_batch64": fitted,
        "epyc_onnxruntime": here,
    }
    found = {}
    for name, least in (("within_budgets", None), ("at_accuracy_0.82", 0.82)):
        result = select_fleet(
            devices.space(),
            costs,
            FLEET_MS if least is None else {key: 1.5 * ms for key, ms in FLEET_MS.items()},
            accuracy=devices.predictor(),
            least_accuracy=least,
            limits=Limits(n_evaluations=n_evaluations),
        )
        found[name] = result.as_dict()
    return {"gpu_fit": report, **found}


def run(seeds: int, evaluations: int, long_evaluations: int, long_seeds: int) -> dict[str, Any]:
    """Return all figures."""
    devices.note10()
    devices.predictor()(devices.space().sample(5000, np.random.default_rng(1)))
    return {
        "command": "python -m benchmarks.once_for_all.selection",
        "budgets_ms": list(BUDGETS_MS),
        "public": list(PUBLIC),
        "public_seconds": 88,
        "reference": list(REFERENCE),
        "speeds": speeds(),
        "short": several(range(seeds), evaluations),
        "long": several(range(100, 100 + long_seeds), long_evaluations),
        "exact": exact(),
        "fleet": fleet(evaluations // 2),
    }


if __name__ == "__main__":
    main(
        run,
        doc=__doc__,
        out=RESULTS,
        options={
            "--seeds": {"type": int, "default": 10},
            "--evaluations": {"type": int, "default": 360_000},
            "--long-evaluations": {"type": int, "default": 3_000_000},
            "--long-seeds": {"type": int, "default": 2},
        },
    )
