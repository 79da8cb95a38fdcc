"""What the tables in `latency_tables/` took to measure, and how much of that the engine ran.

For every table with its samples: operators, networks, wall time from the first process to the
last, and the share of it inside the engine: all timed runs and the warm-up runs before them, which
are taken to last as long as the visit's own. The rest is lowering and loading models, starting
processes, and waiting so that a process lasts long enough.

    python -m benchmarks.speed.tables
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import environment
from edgenas.core.files import write_json
from edgenas.core.paths import data_folder
from edgenas.costs.samples import read_samples
from edgenas.costs.table import CostTable, samples_path

RESULTS = Path(__file__).parent / "results" / "tables.json"


def what_it_took(path: Path) -> dict[str, Any]:
    """Return the figures of the measured table at `path`."""
    table = CostTable.load(path)
    passport = table.passport
    plan, duration_s = passport.plan, passport.duration_s
    assert plan is not None
    assert duration_s is not None
    assert passport.fit is not None
    visits = read_samples(samples_path(path))
    timed_ms = sum(sum(visit.runs) for visit in visits)
    warm_up_ms = sum(plan.n_warmup * float(np.mean(visit.runs)) for visit in visits)
    return {
        "created": passport.created,
        "checksum": passport.checksum,
        "n_operators": len(table.rows),
        "n_networks": passport.fit.n_networks,
        "n_processes": plan.n_sessions,
        "n_visits": len(visits),
        "duration_s": round(duration_s, 1),
        "in_engine": round((timed_ms + warm_up_ms) / 1e3 / duration_s, 3),
    }


def main() -> None:
    """Look at every measured table, write."""
    root = data_folder("latency_tables")
    paths = [path for path in sorted(root.rglob("*.csv")) if samples_path(path).is_file()]
    found = {str(path.relative_to(root)): what_it_took(path) for path in paths}
    write_json(RESULTS, {"environment": environment(), "tables": found})
    for name, one in found.items():
        print(f"{name}: {one['duration_s']:.0f} s, {one['in_engine']:.0%} inside the engine")


if __name__ == "__main__":
    main()
