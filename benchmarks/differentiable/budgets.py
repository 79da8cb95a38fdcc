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
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import environment
from edgenas import spaces
from edgenas.core.files import write_json
from edgenas.core.measurement import MeasurementPlan
from edgenas.costs.model import LatencyModel
from edgenas.costs.table import CostTable
from edgenas.hardware.device import load_device
from edgenas.oneshot.data import load_dataset
from edgenas.oneshot.mixed.budget import settle
from edgenas.oneshot.mixed.expected import ExpectedCost
from edgenas.oneshot.mixed.loss_settings import LossSettings
from edgenas.oneshot.mixed.search import search
from edgenas.oneshot.mixed.settings import DifferentiableSettings, method, short
from edgenas.oneshot.mixed.state import Searching
from edgenas.oneshot.supernet import Supernet
from edgenas.profiling.measure import measure_files
from edgenas.profiling.workload import model_bytes
from edgenas.searchers.likelihood import most_likely
from edgenas.spaces.budget import BudgetProgram

RESULTS = Path(__file__).parent / "results"
TABLE = Path("latency_tables/amd-epyc-2c-6e2bf889/onnxruntime-float32/mbv3_tiny.csv")
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

PLAN = MeasurementPlan(n_visits=40, n_runs=3, n_warmup=1, spread_s=90.0, n_processes=4, seed=1)


def settings_of(name: str, form: str, threads: int) -> DifferentiableSettings:
    """Return the settings of a case."""
    from dataclasses import replace

    chosen = short(method(name), epochs=EPOCHS, warmup_epochs=WARMUP_EPOCHS)
    training = replace(chosen.training, threads=threads)
    return replace(chosen, training=training, loss=LossSettings(form=form))


def main() -> None:
    """Search every case that has no result yet, then measure all networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    space = spaces.get("mbv3_tiny")
    model = LatencyModel(space, CostTable.load(TABLE))
    low, high = (f(model)[0] for f in (lambda m: m.budget.least(), lambda m: m.budget.greatest()))
    budgets = [float(np.exp(np.log(low) + s * (np.log(high) - np.log(low)))) for s in SHARES]
    path = RESULTS / "budgets.json"
    done: list[dict[str, Any]] = []
    if path.exists():
        done = json.loads(path.read_text(encoding="utf-8"))["searches"]
    for name, form in CASES:
        for budget in budgets:
            case = {"method": name, "form": form, "budget_ms": round(budget, 6)}
            if not any(all(one[k] == v for k, v in case.items()) for one in done):
                done.append({**case, **one_search(space, model, name, form, budget, given.threads)})
                write_json(path, {"searches": done, "environment": environment()})
                print(done[-1], flush=True)
    measured = measure(space, {tuple(one["proposed"]) for one in done if one["proposed"]})
    for one in done:
        if one["proposed"]:
            one["measured_ms"] = measured[tuple(one["proposed"])]
    write_json(path, {"searches": done, "environment": environment()})


def one_search(  # noqa: PLR0913
    space: Any, model: LatencyModel, name: str, form: str, budget: float, threads: int
) -> dict[str, Any]:
    """Search once and say where it ended."""
    settings = settings_of(name, form, threads)
    dataset = load_dataset("fashion-mnist").with_fewer(N_TRAIN)
    costs, asked = {"latency_ms": ExpectedCost(model.fold)}, {"latency_ms": budget}
    supernet = Supernet(space, seed=0, weights=settings.weights)
    greatest = {"latency_ms": BudgetProgram(model.fold).greatest()[0]}
    searching = Searching(supernet, space, settings, budgets=[asked], greatest=greatest, seed=0)
    told = search(searching, space, dataset, settings, costs=costs, identity=form, seed=0)
    logits = searching.distributions[0].logits
    free = logits.most_likely()
    if form == "budget":
        settle(logits, costs, asked)
    start = BudgetProgram(model.fold).sample(64, budget, np.random.default_rng(0))
    proposed = most_likely(
        space,
        logits.log_probabilities(),
        excess=lambda rows: np.maximum(model.fold(rows) / budget - 1, 0.0),
        start=start,
    )
    assert proposed is not None  # the budgets lie in the range
    value, lower, upper = (float(v[0]) for v in model.predict(proposed[None]))
    return {
        "expected_ms": told[-1].costs["latency_ms"],
        "entropy": told[-1].entropy,
        "most_likely_ms": float(model.fold(free[None])[0]),
        "proposed": proposed.tolist(),
        "predicted_ms": value,
        "interval_ms": [lower, upper],
    }


def measure(space: Any, rows: set[tuple[int, ...]]) -> dict[tuple[int, ...], float]:
    """Return measured latencies of networks, all in turn."""
    device = load_device("local")
    names = {f"network{i}": row for i, row in enumerate(sorted(rows))}
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder, device.claim():
        paths = {}
        for name, row in names.items():
            paths[name] = Path(folder) / f"{name}.onnx"
            graph = space.network(np.array(row, dtype=np.int8))
            paths[name].write_bytes(model_bytes(graph, "onnx", "float32"))
        found = measure_files(device, "onnxruntime", paths, PLAN)
    return {row: round(found[name].latency_ms, 6) for name, row in names.items()}


if __name__ == "__main__":
    main()
