"""Compares the timings that `results/` keeps anew, with the tables that are installed now.

For results of `held_out.py` and `rotation.py`, after a change to what is told of them; a result of
a table that was replaced since is left as it is.

    python -m benchmarks.costs.judge_again
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.costs.held_out import RESULTS, Job, report
from edgenas import spaces
from edgenas.core.files import write_json
from edgenas.hardware.device import Device, load_device


def job_of(path: Path, result: dict[str, Any]) -> Job:
    """Return of what a result is: older ones say so by their names alone."""
    if "job" in result:
        return Job(**result["job"])
    parts = path.stem.split("-")
    at = int(parts.pop(1)) if parts[1].isdigit() else None
    space, runtime, *precision = parts
    spaces.get(space)
    return Job(space, runtime, *precision, resolution=at)


def judge(device: Device, path: Path) -> str:
    """Write a result anew from its own timings; return what became of it."""
    result = json.loads(path.read_text())
    if "passes_ms" not in result:
        return "keeps no timings of single processes"
    job = job_of(path, result)
    found = report(
        device,
        job,
        np.array(result["passes_ms"]),
        result["command"],
        measured_in=result["environment"],
    )
    if found["table"]["checksum"] != result["table"]["checksum"]:
        return "is of another table than the one that is installed; left as it is"
    write_json(path, found)
    return f"{found['n_networks']} networks"


def main() -> None:
    """Judge every result."""
    device = load_device("local")
    for path in sorted(RESULTS.glob("*.json")):
        print(f"{path.stem}: {judge(device, path)}")


if __name__ == "__main__":
    main()
