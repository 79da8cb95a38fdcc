"""How well a network's time in one process repeats in another, by how visits become one time.

For every table in `latency_tables/` with its samples: networks that several processes timed,
each process against the one with most visits; the processes' levels are taken out (median ratio).
Mean error of a network, by

- `least`: the least, over the visits, of a visit's median run;
- `median`: the median over the visits of a visit's median run;
- `separate`: `edgenas.costs.drift.separate` of a visit's least run: the level at every moment
  is found from all that was timed, operators and anchor included, and taken out.

What `separate` found of the longest process stands beside: memory of residuals with the drift left
in and taken out, size and length of its components.

    python -m benchmarks.costs.drift_samples
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.program import main
from edgenas.core.paths import data_folder
from edgenas.costs.drift import Separated, separate
from edgenas.costs.samples import SampledVisit, read_samples
from edgenas.costs.table import samples_path

RESULTS = Path(__file__).parent / "results" / "drift_samples.json"


def by_process(visits: list[SampledVisit]) -> list[list[SampledVisit]]:
    """Return the visits of every process in the order of time, the longest first.

    An artefact's name ends in the process that timed it; the anchor's does not, and goes with
    the visit before it.
    """
    found: dict[str, list[SampledVisit]] = {}
    process = ""
    for visit in sorted(visits, key=lambda visit: visit.at_s):
        name, _, suffix = visit.artefact.partition("@")
        process = process if name == "anchor" else suffix
        found.setdefault(process, []).append(visit)
    return sorted(found.values(), key=len, reverse=True)


def name_of(visit: SampledVisit) -> str:
    """Return what was timed, whatever the process."""
    return visit.artefact.partition("@")[0]


def simple(visits: list[SampledVisit], how: str) -> dict[str, float]:
    """Return the least or the median of the visits' medians by name."""
    medians: dict[str, list[float]] = {}
    for visit in visits:
        medians.setdefault(name_of(visit), []).append(float(np.median(visit.runs)))
    join = min if how == "least" else np.median
    return {name: float(join(values)) for name, values in medians.items()}


def separated(visits: list[SampledVisit]) -> Separated:
    """Return artefacts and machine told apart."""
    return separate(
        np.array([visit.at_s for visit in visits]),
        [name_of(visit) for visit in visits],
        np.array([min(visit.runs) for visit in visits]),
    )


def repeat_error(one: dict[str, float], other: dict[str, float]) -> float:
    """Return the mean relative difference of networks that both have, levels taken out."""
    names = [name for name in one if name in other and name.startswith("net:")]
    ratios = np.array([other[name] / one[name] for name in names])
    return float(np.abs(ratios / np.median(ratios) - 1).mean())


def one_table(path: Path) -> dict[str, Any]:
    """Return repeat errors by way, and what the longest process showed of drift."""
    processes = by_process(read_samples(path))
    first, *others = [visits for visits in processes if len(visits) >= 100]
    drift = separated(first)
    errors: dict[str, list[float]] = {"least": [], "median": [], "separate": []}
    for visits in others:
        for how in ("least", "median"):
            errors[how].append(repeat_error(simple(first, how), simple(visits, how)))
        found = separated(visits).artefact_ms
        errors["separate"].append(repeat_error(drift.artefact_ms, found))
    return {
        "n_processes": len(others) + 1,
        "repeat_error": {how: round(float(np.mean(found)), 5) for how, found in errors.items()},
        "drift": {name: round(value, 5) for name, value in asdict(drift.parts).items()},
        "memory_before": {k: round(v, 4) for k, v in asdict(drift.before).items()},
        "memory_after": {k: round(v, 4) for k, v in asdict(drift.after).items()},
    }


def run() -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    tables = sorted(data_folder("latency_tables").glob("*/*/*.csv"))
    return {
        "tables": {
            str(path.relative_to(path.parents[2])): one_table(samples_path(path))
            for path in tables
            if samples_path(path).is_file()
        }
    }


if __name__ == "__main__":
    main(run, doc=__doc__, out=RESULTS)
