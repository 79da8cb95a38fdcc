"""A table carried to another device with ten networks: published devices as source and target.

The source's costs are fitted to 400 networks on the source device, as a good table of it would
be. The target has ten networks, drawn at random; the 1,000 test networks are others than those of
source and target. Each pair is done for several draws and reported as the mean over them of

- `source`: the source's predictions times the ratio of the ten networks' medians (a plain scale);
- `alone`: the ten networks without the source, `edgenas.costs.fit.fit_costs` with the prior of the
  operators' drivers (MACs, traffic, ...);
- `transfer`: `edgenas.costs.transfer.transfer_costs`; `interval_90`: the share of test networks
  inside its 90 % intervals; `left_out_mape`: the error that it states, from leaving out one of ten.

`many` is the same target fitted to 200 networks of its own: what transfer saves and what it lacks.

    EDGENAS_BENCH_DATA=... python -m benchmarks.costs.published.transfer
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.costs.published.data import Floats, Networks, fbnet, nb201
from benchmarks.costs.published.fbnet_hw import fit
from benchmarks.program import main
from edgenas.costs.accuracy import error_report
from edgenas.costs.conformal import interval
from edgenas.costs.features import similarity
from edgenas.costs.fit import Fitted
from edgenas.costs.transfer import transfer_costs

N_SOURCE, N_TARGET, N_TEST, N_MANY = 400, 10, 1000, 200
PAIRS = {
    "fbnet_hw": [
        ("silver_4114", "silver_4210r"),
        ("silver_4210r", "gold_6226"),
        ("samsung_s7", "samsung_a50"),
        ("samsung_a50", "essential_ph_1"),
        ("titanx_1", "1080ti_1"),
        ("1080ti_1", "titan_rtx_1"),
        ("titanxp_32", "titanx_32"),
        ("2080ti_64", "titan_rtx_64"),
        ("titan_rtx_1", "samsung_a50"),
    ],
    "nb201_hw": [
        ("silver_4114", "silver_4210r"),
        ("silver_4210r", "gold_6240"),
        ("pixel2", "samsung_s7"),
        ("1080ti_1", "2080ti_1"),
        ("titanx_1", "titanxp_1"),
        ("1080ti_256", "2080ti_256"),
        ("titan_rtx_1", "pixel2"),
    ],
}
RESULTS = Path(__file__).parent / "results" / "transfer.json"


def one_draw(data: Networks, source: Fitted, target_ms: Floats, rows: np.ndarray) -> dict[str, Any]:
    """Return errors of each way, on test networks that nothing was fitted to."""
    few, test, many = np.split(rows[: N_TARGET + N_TEST + N_MANY], [N_TARGET, N_TARGET + N_TEST])
    counts, measured = data.counts[test], target_ms[test]
    moved = transfer_costs(
        source.cost_ms,
        data.counts[few],
        target_ms[few],
        kinds=data.kinds,
        source_std=source.std_ms,
        source_overhead_ms=source.overhead_ms,
        similarity=similarity(data.features),
    )
    predicted = moved.fitted.predict(counts)
    low, high = interval(moved.scores, 0.9)
    inside = (measured >= predicted * (1 + low)) & (measured <= predicted * (1 + high))
    ways = {
        "source": moved.ratio * source.predict(counts),
        "alone": fit(data, few, target_ms[few], None).predict(counts),
        "transfer": predicted,
        "many": fit(data, many, target_ms[many], None).predict(counts),
    }
    figures: dict[str, Any] = {}
    for name, p in ways.items():
        report = error_report(measured, p)
        figures[name] = {"mape": report.mape, "spearman": report.spearman}
    figures["transfer"]["interval_90"] = float(inside.mean())
    left_out = moved.left_out_ms
    figures["transfer"]["left_out_mape"] = float(np.abs(left_out / target_ms[few] - 1).mean())
    return figures


def one_pair(data: Networks, source: str, target: str, n_draws: int) -> dict[str, Any]:
    """Return mean figures over the draws."""
    rows = np.random.default_rng(0).permutation(len(data.counts))
    known, others = rows[:N_SOURCE], rows[N_SOURCE:]
    fitted = fit(data, known, data.network_ms[source][known], None)
    draws = [
        one_draw(
            data, fitted, data.network_ms[target], np.random.default_rng(seed).permutation(others)
        )
        for seed in range(n_draws)
    ]
    return {
        way: {
            figure: round(float(np.mean([draw[way][figure] for draw in draws])), 4)
            for figure in draws[0][way]
        }
        for way in draws[0]
    }


def run(n_draws: int) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    results: dict[str, Any] = {}
    for name, data in (("fbnet_hw", fbnet()), ("nb201_hw", nb201())):
        results[name] = {
            f"{source} -> {target}": one_pair(data, source, target, n_draws)
            for source, target in PAIRS[name]
        }
    return {
        "n_source": N_SOURCE,
        "n_target": N_TARGET,
        "n_test": N_TEST,
        "n_many": N_MANY,
        "n_draws": n_draws,
        "pairs": results,
    }


if __name__ == "__main__":
    main(run, doc=__doc__, out=RESULTS, options={"--n-draws": {"type": int, "default": 5}})
