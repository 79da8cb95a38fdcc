"""Predictors fitted to 500 of 2,162 measured subnets, against the published one, on the rest.

ImageNet accuracies of subnets of the public supernet (width 1.0, 224 pixels; DyNAS-T, Intel Labs).
Repeated evaluations of a subnet are averaged and never parted by a split. The published predictor
was fitted to subnets of the supernet of width 1.2: its errors are told after a straight line
through the same 500, its ranks are its own. `splits`: every kind of predictor on random splits;
`fitted`: on the first splits all that `edgenas ofa predictor fit` does, the choice of the kind,
intervals and report; `by_size`: fewer and more subnets, by the two kinds that rank best.

    EDGENAS_BENCH_DATA=... python -m benchmarks.once_for_all.predictors
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.once_for_all.measured import Floats, Measured, measured
from benchmarks.program import main
from edgenas.evaluators.predictors import fit_predictor
from edgenas.evaluators.predictors.fitting import fit_kind
from edgenas.evaluators.predictors.kinds import KINDS
from edgenas.evaluators.predictors.report import accuracy_figures, kendall, noise_of, spearman

SIZES = (25, 50, 100, 200, 500, 1000)
N_FIT = 500
BEST = ("gaussian_process", "ensemble")
COVERAGES = (0.5, 0.8, 0.9, 0.95)
RESULTS = Path(__file__).parent / "results" / "predictors.json"


def errors(truth: Floats, predicted: Floats) -> dict[str, float]:
    """Return errors in points (percent of accuracy) and rank correlations."""
    away = 100 * (predicted - truth)
    return {
        "mae_points": float(np.abs(away).mean()),
        "rmse_points": float(np.sqrt((away**2).mean())),
        "spearman": spearman(truth, predicted),
        "kendall": kendall(truth, predicted),
    }


def over(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Return mean, least and greatest of figures over repeats."""
    return {
        key: {
            "mean": round(float(np.mean([run[key] for run in runs])), 5),
            "least": round(min(run[key] for run in runs), 5),
            "greatest": round(max(run[key] for run in runs), 5),
        }
        for key in runs[0]
    }


def by_kind(data: Measured, kind: str, fit: np.ndarray, rest: np.ndarray) -> dict[str, float]:
    """Return the errors of one kind on `rest`."""
    features, regression, level, spread = fit_kind(
        data.space, data.rows[fit], data.accuracy[fit], kind=kind, seed=0
    )
    predicted = regression(features(data.rows[rest])) * spread + level
    return errors(data.accuracy[rest], predicted)


def on_a_line(data: Measured, published: Floats, fit: np.ndarray) -> Floats:
    """Return the published predictions on the straight line through the subnets `fit`."""
    slope, level = np.polyfit(published[fit], data.accuracy[fit], 1)
    line: Floats = slope * published + level
    return line


def split(n_architectures: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which subnets are fitted and which are the rest."""
    order = np.random.default_rng(seed).permutation(n_architectures)
    return order[:n], order[n:]


def whole_fit(data: Measured, published: Floats, seed: int) -> dict[str, Any]:
    """Return what a user gets: chosen kind, report, coverage of intervals, on one split."""
    fit, rest = split(len(data.rows), N_FIT, seed)
    predictor = fit_predictor(data.space, data.rows[fit], data.accuracy[fit], seed=seed)
    value = predictor(data.rows[rest])
    held: dict[str, float] = {}
    for coverage in COVERAGES:
        _, low, high = predictor.predict(data.rows[rest], coverage=coverage)
        inside = (low <= data.accuracy[rest]) & (data.accuracy[rest] <= high)
        held[f"{coverage:.2f}"] = round(float(inside.mean()), 4)
    theirs = on_a_line(data, published, fit)[rest]
    return {
        "kind": predictor.report.kind,
        "cross_validated": {
            name: figures.model_dump() for name, figures in predictor.report.candidates.items()
        },
        "on_the_rest": accuracy_figures(data.accuracy[rest], value).model_dump(),
        "published_on_the_rest": accuracy_figures(data.accuracy[rest], theirs).model_dump(),
        "intervals_hold": held,
    }


def run(n_splits: int, n_whole: int, n_by_size: int) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    data = measured()
    published = data.published()(data.rows)
    every = data.published()(data.every_row)
    _, group = np.unique(data.every_row, axis=0, return_inverse=True)
    noise = noise_of(data.every_accuracy, group.reshape(-1))
    assert noise is not None
    wholes = [whole_fit(data, published, seed) for seed in range(n_whole)]
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(n_splits):
        fit, rest = split(len(data.rows), N_FIT, seed)
        for kind in KINDS:
            found.setdefault(kind, []).append(by_kind(data, kind, fit, rest))
        theirs = on_a_line(data, published, fit)[rest]
        found.setdefault("published", []).append(errors(data.accuracy[rest], theirs))
    parts = {n: [split(len(data.rows), n, seed) for seed in range(n_by_size)] for n in SIZES}
    by_size = {
        kind: {str(n): over([by_kind(data, kind, *part) for part in parts[n]]) for n in SIZES}
        for kind in BEST
    }
    return {
        "n_evaluations": len(data.every_row),
        "n_subnets": len(data.rows),
        "noise": noise.model_dump(),
        "published_on_all_evaluations": errors(
            data.every_accuracy, np.polyval(np.polyfit(every, data.every_accuracy, 1), every)
        ),
        "n_fitted": N_FIT,
        "n_splits": n_splits,
        "splits": {kind: over(runs) for kind, runs in found.items()},
        "fitted": wholes,
        "n_splits_by_size": n_by_size,
        "by_size": by_size,
    }


if __name__ == "__main__":
    main(
        run,
        doc=__doc__,
        out=RESULTS,
        options={
            "--n-splits": {"type": int, "default": 10},
            "--n-whole": {"type": int, "default": 3},
            "--n-by-size": {"type": int, "default": 5},
        },
    )
