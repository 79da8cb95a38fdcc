"""Run searches: ``python -m benchmarks.search.run``; what has a result is not run again.

Every method searches every problem with ten seeds, its defaults, and `COUNTS`[-1] distinct
evaluations; a file a problem and method holds how good it was and the method's own seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes, not threads

from benchmarks.environment import environment
from benchmarks.search import methods, tables
from benchmarks.search.problem import COUNTS
from edgenas.core.files import write_json

RUNS = tables.RESULTS / "runs"


def path_of(problem: str, method: str) -> Path:
    """Return where the results of a method on a problem lie."""
    return RUNS / problem / f"{method}.json"


def read(problem: str, method: str) -> dict[str, Any]:
    """Return results by seed; none is an empty dict."""
    path = path_of(problem, method)
    return json.loads(path.read_text(encoding="utf-8"))["seeds"] if path.exists() else {}


def one(problem: str, method: str, seed: int) -> dict[str, Any]:
    """Run one search and judge it."""
    known = tables.get(problem)
    start = time.process_time()
    rows = methods.get(method)(known, seed, COUNTS[-1])
    took_s = time.process_time() - start
    judged = {key: [round(v, 6) for v in values] for key, values in known.judge(rows).items()}
    return {**judged, "n_evaluations": len(rows), "cpu_s": round(took_s, 2)}


def main() -> None:
    """Run what is missing, seed by seed, so that an early end leaves every method something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="+", default=tables.names())
    parser.add_argument("--methods", nargs="+", default=methods.names())
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    about = environment()
    jobs = [
        (problem, method, seed)
        for seed in range(given.seeds)
        for problem in given.problems
        for method in given.methods
        if str(seed) not in read(problem, method)
    ]
    with ProcessPoolExecutor(given.processes) as pool:
        futures = {pool.submit(one, *job): job for job in jobs}
        for i, future in enumerate(as_completed(futures), start=1):
            if future.exception() is not None:  # told now, not when all the others are done
                pool.shutdown(cancel_futures=True)
            problem, method, seed = futures[future]
            seeds = {**read(problem, method), str(seed): future.result()}
            ordered = {key: seeds[key] for key in sorted(seeds, key=int)}
            write_json(path_of(problem, method), {"seeds": ordered, "environment": about})
            regret = 100 * ordered[str(seed)]["regret"][-1]
            print(f"{i} of {len(jobs)}: {problem} {method} {seed}: {regret:.3f} %", flush=True)


if __name__ == "__main__":
    main()
