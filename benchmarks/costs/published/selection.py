"""Do upper ends of predictions hold for what a search picks? Winner's curse on published devices.

A fit to some networks predicts; 200 further timings calibrate. A search has a pool of 200 random
candidates and a budget, and picks the best candidate whose upper end at 90 % keeps the budget. The
share of picks whose measured time breaks the budget, among picks with an upper end within 10 %
under it, should be at most 10 %. Three ways to make the upper end:

- `split_conformal`: the quantile of 200 random networks' errors, the same for all candidates;
- `pick_scores`: `edgenas.costs.selection.PickScores` of the same 200;
- `replayed`: PickScores of 160 random networks and 40 that `replayed_picks` chose, so the same
  number of timings.

`share_above` is the share of the picks' times above their own upper ends, `break_budget` above the
budget. What is good: MACs and parameters on FBNet's space (they rise with accuracy, and with
latency), measured accuracy on NAS-Bench-201. `drivers`: a fit to 200 networks with the prior of
MACs and traffic; `flat`: a fit to 100 networks that knows nothing of operators beforehand (an
engine that cannot be looked into), where the curse is strongest. Fits, calibration and pools are
drawn anew in every repeat.

    EDGENAS_BENCH_DATA=... python -m benchmarks.costs.published.selection
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.costs.published.data import Floats, Networks, fbnet, nb201
from benchmarks.costs.published.fbnet_hw import fit
from benchmarks.program import main
from edgenas.costs.conformal import upper_quantile
from edgenas.costs.fit import Fitted, fit_costs
from edgenas.costs.selection import PickScores, replayed_picks

CONFIDENCE, N_CALIBRATE, N_REPLAYED, N_POOL, N_SEARCHES = 0.9, 200, 40, 200, 40
DEVICES = {
    "fbnet_hw": ["gold_6226", "silver_4114", "essential_ph_1", "titan_rtx_1", "titanxp_64"],
    "nb201_hw": ["gold_6240", "pixel2", "essential_ph_1", "titan_rtx_1"],
}
RESULTS = Path(__file__).parent / "results" / "selection.json"
Upper = Callable[[Floats, Floats], Floats]


def fits(data: Networks, rows: np.ndarray, network_ms: Floats, prior: str) -> Fitted:
    """Fit with the prior that is named."""
    if prior == "drivers":
        return fit(data, rows, network_ms[rows], None)
    flat = np.ones(data.counts.shape[1])
    return fit_costs(data.counts[rows], network_ms[rows], flat, overhead_ms=1.0)


def upper_ends(
    predicted: Floats,
    scores: Floats,
    goodness: Floats,
    groups: list[np.ndarray],
    rng: np.random.Generator,
) -> dict[str, Upper]:
    """Return each way to turn predictions and goodness into upper ends."""
    random, spare = groups
    quantile = upper_quantile(scores[random], CONFIDENCE)
    budgets = np.quantile(predicted[random], [0.1, 0.9])
    picked = spare[
        replayed_picks(
            predicted[spare],
            goodness[spare],
            (float(budgets[0]), float(budgets[1])),
            N_REPLAYED,
            n_pool=N_POOL,
            rng=rng,
        )
    ]
    mixed = np.concatenate([random[: N_CALIBRATE - N_REPLAYED], picked])
    plain, replayed = (
        PickScores(scores[rows], predicted[rows], goodness[rows]) for rows in (random, mixed)
    )
    return {
        "split_conformal": lambda p, _: p * (1 + quantile),
        "pick_scores": lambda p, g: plain.upper_ms(p, g, CONFIDENCE),
        "replayed": lambda p, g: replayed.upper_ms(p, g, CONFIDENCE),
    }


def one_repeat(
    data: Networks, network_ms: Floats, goodness: Floats, prior: str, seed: int
) -> dict[str, list[tuple[bool, bool, float]]]:
    """Return, by way, whether each pick was above its upper end and its budget, and the margin."""
    rng = np.random.default_rng(seed)
    n_fit = 200 if prior == "drivers" else 100
    rows = rng.permutation(len(network_ms))
    train, random, rest = np.split(rows, [n_fit, n_fit + N_CALIBRATE])
    spare, searched = np.split(rest, [len(rest) // 2])
    predicted = np.maximum(fits(data, train, network_ms, prior).predict(data.counts), 1e-3)
    ways = upper_ends(predicted, network_ms / predicted - 1, goodness, [random, spare], rng)
    found: dict[str, list[tuple[bool, bool, float]]] = {name: [] for name in ways}
    limits = np.log(np.quantile(network_ms[random], [0.2, 0.95]))
    for _ in range(N_SEARCHES):
        pool = rng.choice(searched, N_POOL, replace=False)
        budget = float(np.exp(rng.uniform(*limits)))
        for name, upper in ways.items():
            ends = upper(predicted[pool], goodness[pool])
            inside = np.flatnonzero(ends <= budget)
            if not len(inside):
                continue
            place = inside[np.argmax(goodness[pool[inside]])]
            if ends[place] >= 0.9 * budget:
                took, end = network_ms[pool[place]], ends[place]
                margin = float(end / predicted[pool[place]] - 1)
                found[name].append((bool(took > end), bool(took > budget), margin))
    return found


def one_case(
    data: Networks, network_ms: Floats, goodness: Floats, prior: str, n_repeats: int
) -> dict[str, Any]:
    """Return shares over all repeats."""
    repeats = [one_repeat(data, network_ms, goodness, prior, seed) for seed in range(n_repeats)]
    result: dict[str, Any] = {}
    for name in repeats[0]:
        picks = np.array([pick for repeat in repeats for pick in repeat[name]], dtype=float)
        above, broken, margin = picks.mean(axis=0)
        result[name] = {
            "n_picks": len(picks),
            "share_above": round(float(above), 4),
            "break_budget": round(float(broken), 4),
            "mean_margin": round(float(margin), 4),
        }
    return result


def overall(cases: dict[str, Any]) -> dict[str, Any]:
    """Return mean and greatest share over the cases of one prior."""
    result: dict[str, Any] = {}
    for prior in ("drivers", "flat"):
        chosen = [case for name, case in cases.items() if name.endswith(prior)]
        result[prior] = {}
        for way in chosen[0]:
            shares = [case[way]["share_above"] for case in chosen]
            broken = [case[way]["break_budget"] for case in chosen]
            result[prior][way] = {
                "share_above_mean": round(float(np.mean(shares)), 4),
                "share_above_greatest": max(shares),
                "break_budget_mean": round(float(np.mean(broken)), 4),
                "break_budget_greatest": max(broken),
            }
    return result


def run(n_repeats: int) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    cases: dict[str, Any] = {}
    for name, data in (("fbnet_hw", fbnet()), ("nb201_hw", nb201())):
        if data.accuracy is None:
            goods = {"n_macs": np.log(data.n_macs), "n_params": np.log(data.n_params)}
        else:
            goods = {"accuracy": data.accuracy}
        for device in DEVICES[name]:
            for what, goodness in goods.items():
                for prior in ("drivers", "flat"):
                    case = one_case(data, data.network_ms[device], goodness, prior, n_repeats)
                    cases[f"{name}, {device}, {what}, {prior}"] = case
    return {
        "promised_share": round(1 - CONFIDENCE, 4),
        "n_repeats": n_repeats,
        "overall": overall(cases),
        "cases": cases,
    }


if __name__ == "__main__":
    main(run, doc=__doc__, out=RESULTS, options={"--n-repeats": {"type": int, "default": 12}})
