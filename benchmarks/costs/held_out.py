"""Predicted against measured latency of networks that no table has seen.

Samples networks anew (another seed than any table's) and times them twice: each time in several
passes, each pass in new processes of some networks in random groups, the least of a network's runs
counting. The passes of the two timings take turns, so that both are spread over the same minutes.
Networks that happen to be among those that calibrated the table do not count.
Writes one JSON file: errors of the table and of the naive sum of isolated operators against the
least of both timings; the table against the first timing alone, beside the second against the first
(the noise ceiling); what the 90 % intervals cover; and how often picks break the budget that they
were promised to keep. What single processes measure stands beside; with few visits to a network
their least run is above the truth.

    python -m benchmarks.costs.held_out --space ofa_mbv3_w1.0 --resolution 160 --runtime onnxruntime
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.environment import environment
from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.core.files import write_json
from edgenas.core.measurement import MeasurementPlan
from edgenas.costs.accuracy import error_report
from edgenas.costs.model import LatencyModel
from edgenas.costs.store import find_table
from edgenas.costs.table import CostTable, Row
from edgenas.hardware.device import Device, load_device
from edgenas.profiling.conditions import conditions_of
from edgenas.profiling.measure import measure_networks
from edgenas.profiling.workload import ProfileSettings, calibration_networks
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import Fold, macs

Floats = npt.NDArray[np.float64]

SEED = 20_000  # tables are made with seeds below
CONFIDENCE = 0.9
NEAR = 0.9  # of a budget: picks predicted to take more than that are looked at
N_PICKS = 2000
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Job:
    """What is measured; as text, the options that ask for it."""

    space: str
    runtime: str
    precision: str = "float32"
    resolution: int | None = None

    def __str__(self) -> str:
        at = f"--resolution {self.resolution} " if self.resolution else ""
        return f"--space {self.space} {at}--runtime {self.runtime} --precision {self.precision}"

    @property
    def name(self) -> str:
        """What the results are called."""
        at = f"-{self.resolution}" if self.resolution else ""
        precision = "" if self.precision == "float32" else f"-{self.precision}"
        return f"{self.space}{at}-{self.runtime}{precision}"


@dataclass(frozen=True)
class Plan:
    """How networks are measured; as text, the options that ask for it."""

    networks: int = 100
    group: int = 25
    spread_s: float = 10.0
    passes: int = 3
    visits: int = 20

    def __str__(self) -> str:
        return (
            f"--networks {self.networks} --group {self.group} --spread-s {self.spread_s:g} "
            f"--passes {self.passes} --visits {self.visits}"
        )


def networks(space: SearchSpace, n: int, resolution: int | None) -> Genes:
    """Return `n` distinct networks with every gene uniform, at one resolution if given."""
    rng = np.random.default_rng(SEED)
    sampled = space.sample(4 * n, rng)
    if resolution is not None:
        column = space.index["resolution"]
        sampled[:, column] = space.genes[column].options.index(resolution)
    _, first = np.unique(sampled, axis=0, return_index=True)
    return sampled[np.sort(first)][:n]


def in_sessions(  # noqa: PLR0913
    device: Device,
    runtime: str,
    space: SearchSpace,
    population: Genes,
    *,
    precision: str,
    n_visits: int,
    group: int,
    spread_s: float,
    seed: int,
) -> Floats:
    """Time the networks in random groups, each in a process of its own; shape (n,), ms."""
    measured = np.empty(len(population))
    order = np.random.default_rng(seed).permutation(len(population))
    for rows in np.split(order, range(group, len(order), group)):
        plan = MeasurementPlan(n_visits=n_visits, n_runs=3, spread_s=spread_s, seed=seed)
        found = measure_networks(
            device, runtime, space, population[rows], plan, precision=precision
        )
        measured[rows] = [m.latency_ms for m in found]
    return measured


def broken_budgets(model: LatencyModel, population: Genes, measured_ms: Floats) -> dict[str, float]:
    """Return how often what a search picks under a random budget breaks it.

    A search takes the network with the most MACs (they stand for accuracy) out of random ones whose
    upper ends keep the budget. Only picks predicted within a tenth under their budget count.

    Args:
        model: what the search believes.
        population: the networks.
        measured_ms: what each took, shape (n_timings, n_networks).
    """
    rng = np.random.default_rng(0)
    value = model.latency_ms(population)
    upper = model.upper(population, CONFIDENCE)
    goodness = macs(model.space)(population)
    broken = []
    for _ in range(N_PICKS):
        pool = rng.choice(len(value), len(value) // 2, replace=False)
        budget_ms = float(np.exp(rng.uniform(*np.log(np.quantile(upper, [0.02, 1.0])))))
        allowed = pool[upper[pool] <= budget_ms]
        if len(allowed) == 0:
            continue
        pick = allowed[np.argmax(goodness[allowed])]
        if value[pick] >= NEAR * budget_ms:
            broken.append(measured_ms[:, pick] > budget_ms)
    return {
        "promised": 1 - CONFIDENCE,
        "n_picks": len(broken),
        "broken": float(np.mean(broken)),
    }


def unseen(table: CostTable, space: SearchSpace, population: Genes) -> npt.NDArray[np.bool_]:
    """Return which networks did not calibrate the table, shape (n,): small spaces repeat some."""
    record = table.passport
    assert record.calibration is not None
    assert record.plan is not None
    settings = ProfileSettings.for_space(
        space, n_networks=record.calibration.n_networks, seed=record.plan.seed
    )
    seen = {row.tobytes() for row in space.canonical(calibration_networks(space, settings))}
    return np.array([row.tobytes() not in seen for row in space.canonical(population)])


def _alone_ms(row: Row) -> float:
    assert row.isolated is not None  # measured tables have it
    return row.isolated


def measure(  # noqa: PLR0913
    device: Device, job: Job, population: Genes, options: Plan, *, turn: int, timing: int
) -> Floats:
    """Time the networks once, in processes of some; shape (n,), ms."""
    with device.claim():
        return in_sessions(
            device,
            job.runtime,
            spaces.get(job.space),
            population,
            precision=job.precision,
            n_visits=options.visits,
            group=options.group,
            spread_s=options.spread_s,
            seed=2 * turn + timing,
        )


def report(
    device: Device,
    job: Job,
    passes: Floats,
    command: str,
    *,
    measured_in: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return everything that is told of a table and of networks measured after it.

    Args:
        device: this machine.
        job: which table.
        passes: what the networks took, shape (2, n_passes, n_networks), ms.
        command: that measured them.
        measured_in: the environment of that command; None: this one.
    """
    space = spaces.get(job.space)
    asked = conditions_of(device, job.runtime, precision=job.precision)
    table = find_table(space, asked, slug=device.fingerprint.slug)
    population = networks(space, passes.shape[-1], job.resolution)
    kept = unseen(table, space, population)
    all_passes, population, passes = passes, population[kept], passes[..., kept]
    first, second = passes.min(axis=1)
    every = passes.reshape(-1, len(population))
    measured = every.min(axis=0)
    model = LatencyModel(space, table, coverage=CONFIDENCE)
    value, low, high = model.predict(population)
    naive = Fold.compile(space, lambda op: _alone_ms(table[op]))(population)
    level = float(np.median(measured / value))
    return {
        "environment": environment() if measured_in is None else dict(measured_in),
        "command": command,
        "job": asdict(job),
        "n_networks": len(population),
        "calibrated_the_table": np.flatnonzero(~kept).tolist(),
        "table": {
            "created": table.passport.created,
            "checksum": table.passport.checksum,
            "runtime_version": table.passport.runtime.version,
            "threads": table.passport.runtime.threads,
        },
        "single_passes": {
            "table_error": error_report(every.ravel(), np.tile(value, len(every))).model_dump(),
            "interval_90_coverage": float(((every >= low) & (every <= high)).mean()),
            "picks_near_a_budget": broken_budgets(model, population, every),
            "levels": [round(float(x), 5) for x in np.median(every / value, axis=1)],
        },
        "table_error": error_report(measured, value).model_dump(),
        "table_error_at_the_day's_level": {
            "level": level,
            **error_report(measured, value * level).model_dump(),
        },
        "naive_sum_error": error_report(measured, naive).model_dump(),
        "one_timing": {
            "table_error": error_report(first, value).model_dump(),
            "interval_90_coverage": float(((first >= low) & (first <= high)).mean()),
        },
        "noise_ceiling": error_report(first, second).model_dump(),
        "interval_90_coverage": float(((measured >= low) & (measured <= high)).mean()),
        "interval_90_mean_width": float(((high - low) / value).mean()),
        "broken_upper_90": float((measured > model.upper(population, CONFIDENCE)).mean()),
        "picks_near_a_budget": broken_budgets(model, population, measured[None]),
        "measured_ms": [round(float(v), 6) for v in first],
        "measured_again_ms": [round(float(v), 6) for v in second],
        "passes_ms": np.round(all_passes, 5).tolist(),
        "predicted_ms": [round(float(v), 6) for v in value],
        "naive_ms": [round(float(v), 6) for v in naive],
    }


def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", required=True)
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--group", type=int, default=25, help="networks a measuring process")
    parser.add_argument("--spread-s", type=float, default=10.0, help="least length of a process")
    parser.add_argument("--passes", type=int, default=3, help="processes that time each network")
    parser.add_argument("--visits", type=int, default=20, help="to each network in a process")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    device = load_device("local")
    job = Job(options.space, options.runtime, options.precision, options.resolution)
    plan = Plan(options.networks, options.group, options.spread_s, options.passes, options.visits)
    population = networks(spaces.get(job.space), plan.networks, job.resolution)
    passes = np.empty((2, plan.passes, len(population)))
    for turn in range(plan.passes):
        for timing in (0, 1):
            passes[timing, turn] = measure(device, job, population, plan, turn=turn, timing=timing)
    result = report(device, job, passes, f"python -m benchmarks.costs.held_out {job} {plan}")
    path = options.out / f"{job.name}.json"
    write_json(path, result)
    shown = ("table_error", "naive_sum_error", "noise_ceiling", "interval_90_coverage")
    print(path, {key: result[key] for key in shown})


if __name__ == "__main__":
    main()
