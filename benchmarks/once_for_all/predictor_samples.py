"""Which subnets to evaluate for a predictor: chosen, or at random, at the same number.

`measured`: of 1,362 measured subnets (see `predictors`) some are taken, a Gaussian process is
fitted to them and held against the other 800; means over repeats, and the difference from random
ones in the same repeats with its standard error. `near_front_mae_points`: over the fifth of the
800 with the greatest accuracy for their MACs. Ways: `random`; `strata`, one from each stratum of
MACs; `maximin`, each furthest from all before; `greatest_doubt`, each where the process is least
sure; `chosen`, by `edgenas.evaluators.predictors.design.most_telling`; `two_rounds`, half of them
so and the other half by a process fitted to those; `two_rounds_front`, the other half for the
quarter that looks best for its MACs.

`whole_space`: nobody measured architectures from everywhere, so here the published predictor
stands for the truth (width 1.2, all resolutions; noise of .03 points): `uniform` genes, `spread`
over MACs, `chosen` and `two_rounds` by `choose_subnets`; held against uniform genes, a spread over
MACs, and the best for their MACs that an evolution on that truth finds. Its peaks are the
predictor's own and no network's (up to 0.85, where the supernet has 0.80).

    EDGENAS_BENCH_DATA=... python -m benchmarks.once_for_all.predictor_samples
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.once_for_all.measured import PREDICTOR, Floats, Measured, folder, measured
from benchmarks.program import main
from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.evaluators.predictors import AccuracyPredictor, choose_subnets, load_published
from edgenas.evaluators.predictors.design import PriorProcess, most_telling
from edgenas.evaluators.predictors.features import Features
from edgenas.evaluators.predictors.fitting import fit_kind
from edgenas.evaluators.predictors.process import GaussianProcess, Projection
from edgenas.evaluators.predictors.report import kendall, spearman
from edgenas.evaluators.predictors.sampling import spread_over_cost
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import macs

SIZES = (25, 50, 100, 200, 500)
SPACE_SIZES = (100, 200)
N_TEST = 800
NOISE = 0.0003
RESULTS = Path(__file__).parent / "results" / "predictor_samples.json"


def process_of(space: SearchSpace, rows: Genes, accuracy: Floats) -> tuple[Any, ...]:
    """Return (features, process, level, spread) fitted to some subnets."""
    return fit_kind(space, rows, accuracy, kind="gaussian_process", seed=0)


def maximin(coordinates: Floats, n: int, first: int) -> list[int]:
    """Return rows each of which is furthest from all before it (Gonzalez 1985)."""
    chosen = [first]
    away = ((coordinates - coordinates[first]) ** 2).sum(axis=1)
    while len(chosen) < n:
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, ((coordinates - coordinates[chosen[-1]]) ** 2).sum(axis=1))
    return chosen


def greatest_doubt(covariance: Floats, n: int, noise: float) -> list[int]:
    """Return rows each of which the process is least sure of, after all before it."""
    left, chosen = covariance.copy(), list[int]()
    for _ in range(n):
        doubt = np.diag(left).copy()
        doubt[chosen] = -1.0
        best = int(np.argmax(doubt))
        chosen.append(best)
        left -= np.outer(left[:, best], left[best]) / (left[best, best] + noise)
    return chosen


def second_round(
    data: Measured, pool: np.ndarray, first: list[int], n: int, *, front: bool
) -> list[int]:
    """Return the first round and `n` more, by the process that the first round fits."""
    known = pool[first]
    features, process, _, _ = process_of(data.space, data.rows[known], data.accuracy[known])
    assert isinstance(process, GaussianProcess)
    values = features(data.rows[pool])
    among = process.covariance(values, values)
    target = among
    if front:
        logs, value = np.log(data.n_macs[pool]), process(values)
        better = value - np.polyval(np.polyfit(logs, value, 3), logs)
        target = among[np.argsort(-better)[: len(pool) // 4]]
    more = most_telling(among, target, n, noise=process.noise, known=tuple(first))
    return [*first, *more]


def samples(data: Measured, pool: np.ndarray, n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the subnets that each way takes, as places in `pool`."""
    features = Features.scaled_to(data.space, data.rows[pool])
    values = features(data.rows[pool])
    prior = PriorProcess(features, values)
    among = prior.covariance(values, values)
    counts = values[features.n_options :].T.astype(np.float64)
    coordinates = np.hstack([Projection.of(features, values)(values), counts / np.sqrt(2)])
    order = np.argsort(data.n_macs[pool])
    half = most_telling(among, among, n // 2, noise=prior.noise)
    rest = n - len(half)
    return {
        "random": rng.choice(len(pool), n, replace=False),
        "strata": [int(rng.choice(part)) for part in np.array_split(order, n)],
        "maximin": maximin(coordinates, n, int(rng.integers(len(pool)))),
        "greatest_doubt": greatest_doubt(among, n, prior.noise),
        "chosen": most_telling(among, among, n, noise=prior.noise),
        "two_rounds": second_round(data, pool, half, rest, front=False),
        "two_rounds_front": second_round(data, pool, half, rest, front=True),
    }


def one_repeat(data: Measured, n: int, seed: int) -> dict[str, dict[str, float]]:
    """Return figures by way, on one split."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.rows))
    test, pool = order[:N_TEST], order[N_TEST:]
    logs = np.log(data.n_macs)
    better = (data.accuracy - np.polyval(np.polyfit(logs, data.accuracy, 3), logs))[test]
    front = better >= np.quantile(better, 0.8)
    found = {}
    for way, places in samples(data, pool, n, rng).items():
        taken = pool[np.asarray(places)]
        assert len(np.unique(taken)) == n
        features, process, level, spread = process_of(
            data.space, data.rows[taken], data.accuracy[taken]
        )
        value = process(features(data.rows[test])) * spread + level
        away = 100 * np.abs(value - data.accuracy[test])
        found[way] = {
            "mae_points": float(away.mean()),
            "greatest_error_points": float(away.max()),
            "near_front_mae_points": float(away[front].mean()),
            "spearman": spearman(data.accuracy[test], value),
            "kendall": kendall(data.accuracy[test], value),
        }
    return found


def against(runs: list[dict[str, dict[str, float]]], base: str) -> dict[str, Any]:
    """Return means by way, and mean and standard error of the differences from `base`."""
    result: dict[str, Any] = {}
    for way in runs[0]:
        result[way] = {}
        for key in runs[0][way]:
            own = np.array([run[way][key] for run in runs])
            less = own - np.array([run[base][key] for run in runs])
            result[way][key] = {
                "mean": round(float(own.mean()), 5),
                f"minus_{base}": round(float(less.mean()), 5),
                "standard_error": round(float(less.std(ddof=1) / np.sqrt(len(runs))), 5),
            }
    return result


def best_for_their_macs(truth: AccuracyPredictor, start: Genes, rng: np.random.Generator) -> Genes:
    """Return architectures that an evolution on the truth finds, 60 at each of 16 levels."""
    space, cost, best = truth.space, macs(truth.space), start
    edges = np.quantile(cost(start), np.linspace(0, 1, 17)[1:-1])
    for _ in range(60):
        left, right = best[rng.integers(0, len(best), (2, 6000))]
        children = space.mutate(space.crossover(left, right, rng), rng, probability=0.05)
        pool = np.unique(np.vstack([best, children]), axis=0)
        value, level = truth(pool), np.searchsorted(edges, cost(pool))
        places = [np.flatnonzero(level == i) for i in range(16)]
        best = np.vstack([pool[rows[np.argsort(-value[rows])[:60]]] for rows in places])
    return best


def whole_space(n_repeats: int) -> dict[str, Any]:
    """Return figures by number and way where the published predictor is the truth."""
    space = spaces.get("ofa_mbv3_w1.2")
    truth = load_published(folder() / PREDICTOR, space)
    program, rng = BudgetProgram(macs(space)), np.random.default_rng(99)
    spread = spread_over_cost(program, 3000, rng)
    tests = {
        "uniform": space.sample(2000, rng),
        "spread": spread,
        "front": best_for_their_macs(truth, spread, rng),
    }
    found: dict[str, Any] = {"greatest_truth": round(float(truth(tests["front"]).max()), 4)}
    for n in SPACE_SIZES:
        runs = [_space_repeat(truth, program, tests, n, seed) for seed in range(n_repeats)]
        found[str(n)] = against(runs, "uniform")
    return found


def _space_repeat(
    truth: AccuracyPredictor, program: BudgetProgram, tests: dict[str, Genes], n: int, seed: int
) -> dict[str, dict[str, float]]:
    space, rng = truth.space, np.random.default_rng(seed)

    def evaluated(rows: Genes) -> tuple[Genes, Floats]:
        return rows, truth(rows) + NOISE * rng.normal(size=len(rows))

    pool = spread_over_cost(program, 4 * n, rng)
    first = evaluated(choose_subnets(space, n // 2, rng))
    second = evaluated(choose_subnets(space, n - n // 2, rng, known=first))
    ways = {
        "uniform": evaluated(space.sample(n, rng)),
        "spread": evaluated(pool[rng.permutation(len(pool))[:n]]),
        "chosen": evaluated(choose_subnets(space, n, rng)),
        "two_rounds": (np.vstack([first[0], second[0]]), np.concatenate([first[1], second[1]])),
    }
    found: dict[str, dict[str, float]] = {}
    for way, (rows, accuracy) in ways.items():
        features, process, level, scale = process_of(space, rows, accuracy)
        found[way] = {}
        for name, test in tests.items():
            value, real = process(features(test)) * scale + level, truth(test)
            found[way][f"{name}_mae_points"] = float(100 * np.abs(value - real).mean())
            found[way][f"{name}_kendall"] = kendall(real, value)
    return found


def run(n_repeats: int, n_space_repeats: int) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    data = measured()
    return {
        "n_repeats": n_repeats,
        "n_space_repeats": n_space_repeats,
        "measured": {
            str(n): against([one_repeat(data, n, seed) for seed in range(n_repeats)], "random")
            for n in SIZES
        },
        "whole_space": whole_space(n_space_repeats),
    }


if __name__ == "__main__":
    main(
        run,
        doc=__doc__,
        out=RESULTS,
        options={
            "--n-repeats": {"type": int, "default": 12},
            "--n-space-repeats": {"type": int, "default": 8},
        },
    )
