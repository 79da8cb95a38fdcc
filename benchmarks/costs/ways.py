"""Ways to know what an operator costs inside a network, compared on the same networks.

Each way gives a cost a priori for every operator; the same Bayesian fit then holds it against 25,
50, ... whole networks and predicts networks that were measured afterwards (`held_out.py`).

isolated     every operator timed alone; border costs are part of the fit (what tables do)
sum          the same without border costs: operators' own times are taken as they are
nodes        the runtime's own profile of whole networks, node by node (ONNX Runtime alone tells it)
differences  networks that differ from a middle one in one gene, beside a prior from operators' size
size         no operator is timed: MACs and bytes alone are the prior, networks decide

    python -m benchmarks.costs.ways --space ofa_mbv3_w1.0 --resolution 160 --runtime onnxruntime

needs the space's own table on this machine with its samples, and the result of `held_out.py`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.costs.held_out import networks
from benchmarks.environment import environment
from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.core.files import write_json
from edgenas.core.measurement import MeasurementPlan
from edgenas.costs.accuracy import error_report
from edgenas.costs.calibration import calibrate
from edgenas.costs.counts import operator_counts
from edgenas.costs.features import (
    driven_prior,
    operator_drivers,
    operator_features,
    similarity,
)
from edgenas.costs.fit import fit_costs
from edgenas.costs.samples import read_samples
from edgenas.costs.store import find_table
from edgenas.costs.table import samples_path
from edgenas.hardware.device import load_device
from edgenas.profiling.conditions import conditions_of
from edgenas.profiling.measure import measure_networks
from edgenas.profiling.workload import ProfileSettings, Workload, model_bytes
from edgenas.spaces.base import SearchSpace

Floats = npt.NDArray[np.float64]
NUMBERS = (25, 50, 100, 200)
N_PROFILED = 40
N_PROFILE_RUNS = 60


def node_times(space: SearchSpace, population: Genes) -> tuple[dict[str, float], float]:
    """Return each operator's time in ONNX Runtime's profile, ms, and what no operator owns.

    Durations are whole microseconds, so the mean of the fastest quarter of the runs is taken.
    """
    import onnxruntime

    found: dict[str, list[float]] = defaultdict(list)
    rest = []
    for row in population:
        parts = dict(space.ops(row))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling = True
        with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
            options.profile_file_prefix = f"{folder}/profile"
            session = onnxruntime.InferenceSession(
                model_bytes(space.network(row), "onnx"), options, providers=["CPUExecutionProvider"]
            )
            entry = session.get_inputs()[0]
            image = np.random.default_rng(0).normal(size=entry.shape).astype(np.float32)
            for _ in range(N_PROFILE_RUNS):
                session.run(None, {entry.name: image})
            events = json.loads(Path(session.end_profiling()).read_text())
        durations: dict[str, list[int]] = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                durations[event["name"].removesuffix("_kernel_time")].append(event["dur"])
        of_part: dict[str, float] = defaultdict(float)
        for name, some in durations.items():
            part = name.partition(".")[0]
            fastest = np.sort(some[1:])[: max(1, len(some) // 4)]
            of_part[part if part in parts else ""] += float(fastest.mean()) / 1e3
        rest.append(of_part.pop("", 0.0))
        for part, ms in of_part.items():
            found[parts[part].key].append(ms)
    return {key: float(np.median(some)) for key, some in found.items()}, float(np.median(rest))


def neighbours(space: SearchSpace) -> Genes:
    """Return the middle network and every network that differs from it in one gene."""
    middle = np.array([len(gene.options) // 2 for gene in space.genes], dtype=np.int8)
    rows = [middle]
    for k, gene in enumerate(space.genes):
        for option in range(len(gene.options)):
            row = middle.copy()
            row[k] = option
            rows.append(row)
    return np.unique(space.canonical(np.array(rows)), axis=0)


def least_times(path: Path) -> dict[str, float]:
    """Return the least run of every artefact, whichever process timed it, ms."""
    least: dict[str, float] = {}
    for visit in read_samples(path):
        key = visit.artefact.partition("@")[0]
        least[key] = min(least.get(key, np.inf), *visit.runs)
    return least


def main() -> None:
    """Compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", required=True)
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    space, device = spaces.get(options.space), load_device("local")
    name = f"{options.space}{f'-{options.resolution}' if options.resolution else ''}"
    held_out = json.loads((options.out / f"{name}-{options.runtime}.json").read_text())
    asked = conditions_of(device, options.runtime, precision="float32")
    table = find_table(space, asked, slug=device.fingerprint.slug)
    workload = Workload.of(space, ProfileSettings.for_space(space))
    least = least_times(samples_path(Path(table.source)))
    isolated = np.array([least[key] for key in workload.op_keys])
    network_ms = np.array([least[key] for key in workload.network_keys])
    counts = workload.counts()
    asked_for = operator_counts(
        space,
        networks(space, len(held_out["measured_ms"]), options.resolution),
        workload.ops,
    )
    measured = np.sqrt(np.array(held_out["measured_ms"]) * np.array(held_out["measured_again_ms"]))
    plan = MeasurementPlan(n_visits=20, n_runs=3, spread_s=20.0)
    near = neighbours(space)
    near_ms = np.array(
        [m.latency_ms for m in measure_networks(device, options.runtime, space, near, plan)]
    )
    near_counts = operator_counts(space, near, workload.ops)
    order = np.random.default_rng(0).permutation(len(counts))
    ways: dict[str, dict[str, Any]] = defaultdict(dict)

    def note(way: str, n: int, predicted: Floats) -> None:
        level = float(np.median(measured / predicted))
        report = error_report(measured, predicted).model_dump()
        steady = error_report(measured, predicted * level).mape
        ways[way][str(n)] = {**report, "mape_at_one_level": steady}

    note("sum", 0, asked_for @ isolated)
    profiled: Floats | None = None
    if options.runtime == "onnxruntime":
        seen, rest = node_times(space, workload.networks[order[:N_PROFILED]])
        alike = float(np.median([ms / least[f"op:{key}"] for key, ms in seen.items()]))
        profiled = np.array(
            [seen.get(op.key, alike * ms) for op, ms in zip(workload.ops, isolated, strict=True)]
        )
        note("nodes", 0, asked_for @ profiled + rest)
    drivers = operator_drivers(workload.ops)
    alike_ops = similarity(operator_features(workload.ops))
    for n in NUMBERS:
        some = order[:n]
        for way, prior in (("isolated", isolated), ("nodes", profiled)):
            if prior is not None:
                fitted = calibrate(workload.ops, prior, counts[some], network_ms[some])
                note(way, n, fitted.overhead_ms + asked_for @ fitted.cost_ms)
        for way, rows, times in (
            ("size", counts[some], network_ms[some]),
            ("differences", near_counts, near_ms),
        ):
            if way == "size" or n == NUMBERS[-1]:
                prior_ms, overhead_ms = driven_prior(drivers, rows, times)
                found = fit_costs(
                    rows, times, prior_ms, overhead_ms=overhead_ms, similarity=alike_ops
                )
                note(way, len(times), found.predict(asked_for))
    result = {
        "environment": environment(),
        "command": f"python -m benchmarks.costs.ways --space {options.space} "
        + (f"--resolution {options.resolution} " if options.resolution else "")
        + f"--runtime {options.runtime}",
        "table": table.passport.checksum,
        "held_out": held_out["command"],
        "n_profiled": N_PROFILED if profiled is not None else 0,
        "ways": ways,
    }
    path = options.out / f"ways-{name}-{options.runtime}.json"
    write_json(path, result)
    for way, by_number in ways.items():
        for number, report in by_number.items():
            print(
                f"{way:12} {number:>4} networks: MAPE {report['mape']:.2%}, at one level "
                f"{report['mape_at_one_level']:.2%}, Spearman {report['spearman']:.4f}"
            )


if __name__ == "__main__":
    main()
