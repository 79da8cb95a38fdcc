"""Error of a table by the number of networks that were timed for it.

Times all operators and 400 networks as `edgenas profile` does, then takes 25, 50, ... of the
networks at random, several times over, and predicts the networks of `held_out.py`, which were
measured at another time. Hours apart a machine that others share has another level: the error is
told with one factor for all networks taken out, too.

measured  operators timed alone are the prior (`edgenas profile`)
fitted    nothing but networks is known (`edgenas tables fit`)

    python -m benchmarks.costs.networks --space ofa_mbv3_w1.0 --runtime onnxruntime
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.costs.held_out import networks
from benchmarks.environment import environment
from edgenas import spaces
from edgenas.core.files import write_json
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
from edgenas.costs.table import CostTable, samples_path
from edgenas.hardware.device import load_device
from edgenas.profiling.profile import profile
from edgenas.profiling.sessions import least_runs
from edgenas.profiling.workload import ProfileSettings, Workload

Floats = npt.NDArray[np.float64]
NUMBERS = (25, 50, 100, 200, 400)
N_DRAWS = 5


def network_times(table: CostTable, workload: Workload, settings: ProfileSettings) -> Floats:
    """Return the networks' times in a typical process, shape (n_networks,), from the samples."""
    least: dict[str, float] = {}
    for visit in read_samples(samples_path(Path(table.source))):
        least[visit.artefact] = min(least.get(visit.artefact, math.inf), *visit.runs)
    plan = table.passport.plan
    assert plan is not None
    # Memory may have asked for more pools than planned; their networks follow from the number.
    done = replace(settings, n_pools=plan.n_pools, n_sessions=plan.n_sessions)
    sessions = least_runs(workload, workload.pools(done, math.inf), least, done)
    return sessions.network_ms(len(workload.networks))


def errors(
    table: CostTable, workload: Workload, network_ms: Floats, asked: Floats, measured_ms: Floats
) -> dict[str, dict[str, Any]]:
    """Return mean error figures by variant and number of networks.

    Args:
        table: has the operators' times alone.
        workload: what was timed.
        network_ms: shape (n_networks,).
        asked: operators of the networks to predict, shape (n_asked, n_ops).
        measured_ms: of those, shape (n_asked,).
    """
    ops, counts = workload.ops, workload.counts()
    alone = [table[op].isolated for op in ops]
    isolated = np.array([ms for ms in alone if ms is not None])
    alike = similarity(operator_features(ops))
    found: dict[str, dict[str, Any]] = {"measured": {}, "fitted": {}}
    for n in NUMBERS:
        reports: dict[str, list[dict[str, Any]]] = {"measured": [], "fitted": []}
        for draw in range(1 if n == len(counts) else N_DRAWS):
            rows = np.random.default_rng(draw).permutation(len(counts))[:n]
            measured = calibrate(ops, isolated, counts[rows], network_ms[rows])
            prior_ms, overhead_ms = driven_prior(
                operator_drivers(ops), counts[rows], network_ms[rows]
            )
            fitted = fit_costs(
                counts[rows],
                network_ms[rows],
                prior_ms,
                similarity=alike,
                overhead_ms=overhead_ms,
            )
            for name, predicted in (
                ("measured", measured.overhead_ms + asked @ measured.cost_ms),
                ("fitted", fitted.predict(asked)),
            ):
                level = float(np.median(measured_ms / predicted))
                at_one_level = error_report(measured_ms, predicted * level).mape
                report = error_report(measured_ms, predicted).model_dump()
                reports[name].append(report | {"mape_at_one_level": at_one_level})
        for name, some in reports.items():
            found[name][str(n)] = {
                key: round(float(np.mean([report[key] for report in some])), 5)
                for key in reports[name][0]
                if key != "n_networks"
            }
    return found


def main() -> None:
    """Time, fit, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", required=True)
    parser.add_argument("--resolution", type=int, help="of the networks to predict")
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    space, device = spaces.get(options.space), load_device("local")
    name = f"{options.space}{f'-{options.resolution}' if options.resolution else ''}"
    held_out = json.loads((options.out / f"{name}-{options.runtime}.json").read_text())
    settings = ProfileSettings.for_space(space, n_networks=max(NUMBERS))
    workload = Workload.of(space, settings)
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
        table = profile(device, options.runtime, space, settings, Path(folder))
        network_ms = network_times(table, workload, settings)
    measured, again = np.array(held_out["measured_ms"]), np.array(held_out["measured_again_ms"])
    population = networks(space, len(measured), options.resolution)
    asked = operator_counts(space, population, workload.ops)
    result = {
        "environment": environment(),
        "command": f"python -m benchmarks.costs.networks --space {options.space} "
        + (f"--resolution {options.resolution} " if options.resolution else "")
        + f"--runtime {options.runtime}",
        "held_out": held_out["command"],
        "duration_s": table.passport.duration_s,
        "n_draws": N_DRAWS,
        "noise_ceiling": held_out["noise_ceiling"],
        "errors": errors(table, workload, network_ms, asked, np.minimum(measured, again)),
    }
    write_json(options.out / f"networks-{name}-{options.runtime}.json", result)
    for variant, by_number in result["errors"].items():
        for n, report in by_number.items():
            print(
                f"{variant:8} {n:>4}: MAPE {report['mape']:.2%}, at one level "
                f"{report['mape_at_one_level']:.2%}, rank {report['spearman']:.4f}"
            )


if __name__ == "__main__":
    main()
