"""Costs beside latency: what a fit to whole networks is worth, against networks left out of it.

Measures networks in a folder of its own and writes what the passports say: error on networks that
were left out, one session against the other (no table can do better), and how long it took.

    python -m benchmarks.costs.other_costs --space mbv3_tiny --runtime onnxruntime
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.environment import environment
from edgenas import spaces
from edgenas.core.files import write_json
from edgenas.costs.kinds import KINDS, UNITS
from edgenas.costs.table import CostTable
from edgenas.profiling.whole_networks import NetworkSettings
from edgenas.study.costs import profile_costs

RESULTS = Path(__file__).parent / "results"
DEFAULT_KINDS = ("load", "cold_start", "peak_memory", "sustained_p95")


def told(table: CostTable) -> dict[str, Any]:
    """Return what a table says of itself."""
    fit = table.passport.fit
    assert fit is not None
    assert table.passport.network_plan is not None
    return {
        "unit": UNITS[table.passport.kind],
        "range": list(fit.value_range),
        "plan": table.passport.network_plan.model_dump(),
        "duration_s": table.passport.duration_s,
        "held_out": fit.held_out.model_dump(),
        "one_session_against_the_other": (
            None if fit.noise_ceiling is None else fit.noise_ceiling.model_dump()
        ),
    }


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="mbv3_tiny")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--kinds", nargs="+", default=DEFAULT_KINDS, choices=KINDS)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--load-s", type=float, default=60.0, help="of sustained_p95")
    options = parser.parse_args()
    settings = NetworkSettings(n_networks=options.networks, load_s=options.load_s)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
        tables = profile_costs(
            spaces.get(options.space),
            options.kinds,
            runtime=options.runtime,
            settings=settings,
            out=Path(folder),
        )
        found = {kind: told(table) for kind, table in tables.items()}
    path = RESULTS / f"other-costs-{options.space}-{options.runtime}.json"
    write_json(
        path,
        {
            "environment": environment(),
            "command": (
                f"python -m benchmarks.costs.other_costs --space {options.space} "
                f"--runtime {options.runtime} --kinds {' '.join(options.kinds)} "
                f"--networks {options.networks} --load-s {options.load_s:g}"
            ),
            "settings": asdict(settings),
            "wall_s": round(time.monotonic() - began, 1),
            "kinds": found,
        },
    )
    for kind, one in found.items():
        held_out, twice = one["held_out"], one["one_session_against_the_other"]
        again = "" if twice is None else f"; measured again {twice['mape']:.2%}"
        print(f"{kind}: MAPE {held_out['mape']:.2%}, Spearman {held_out['spearman']:.3f}{again}")


if __name__ == "__main__":
    main()
