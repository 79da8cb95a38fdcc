"""Predictions of accuracy a second: the published predictor, and each kind fitted to 500 subnets.

OMP_NUM_THREADS=2 EDGENAS_BENCH_DATA=... python -m benchmarks.once_for_all.predictor_speed
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from benchmarks.once_for_all.measured import measured
from benchmarks.program import main
from edgenas.core.architecture import Genes
from edgenas.evaluators.predictors import fit_predictor
from edgenas.evaluators.predictors.kinds import KINDS

RESULTS = Path(__file__).parent / "results" / "predictor_speed.json"
N_FIT = 500


def rate(predict: Callable[[Genes], Any], population: Genes) -> dict[str, Any]:
    """Time the whole population five times."""
    predict(population[:2048])
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        predict(population)
        seconds.append(time.perf_counter() - began)
    return {
        "seconds": [round(s, 4) for s in seconds],
        "predictions_per_s_median": round(len(population) / median(seconds)),
    }


def run(n: int) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    data = measured()
    population = data.space.sample(n, np.random.default_rng(0))
    found = {"published": rate(data.published(), population)}
    some = np.random.default_rng(0).permutation(len(data.rows))[:N_FIT]
    for kind in KINDS:
        began = time.perf_counter()
        predictor = fit_predictor(
            data.space, data.rows[some], data.accuracy[some], kinds=(kind,), n_folds=2
        )
        fit_s = round(time.perf_counter() - began, 2)
        found[kind] = {**rate(predictor, population), "two_folds_and_fit_s": fit_s}
    libraries = [
        {key: pool[key] for key in ("internal_api", "num_threads")} for pool in threadpool_info()
    ]
    return {"n_architectures": n, "n_fitted": N_FIT, "thread_pools": libraries, "speed": found}


if __name__ == "__main__":
    main(run, doc=__doc__, out=RESULTS, options={"--n": {"type": int, "default": 200_000}})
