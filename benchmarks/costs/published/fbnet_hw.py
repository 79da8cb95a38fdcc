"""Costs fitted to whole networks of FBNet's space on published devices; drift followed forwards.

5,000 random networks were timed one after the other on each device; the number of a sample is its
place in that order. That this is so is tested, not assumed: residuals of an additive fit to all
networks remember themselves from one sample to the next, and do not when the order is shuffled.

Known and unknown. 200 networks are for training, 1,000 others for testing, in two layouts:
`spread`, both drawn at random from all 5,000 (one network in 25 is known), and `window`, both
from 1,200 consecutive timings (one in six). No prediction uses the time of any test network. Each
test network i is predicted by

- `ridge`: the plain additive fit, a coefficient a layer and option, strength by cross-validation;
- `fit`: `edgenas.costs.fit.fit_costs` without moments: costs from all 200;
- `forward`: costs from all 200 (as of a table made beforehand, though some of the 200 were timed
  after i), drift removed in the same fit; the machine's level at i from training networks timed
  before i only;
- `past_only`: prices, costs and level from training networks timed before i only: of what came
  later, only the fit's hyperparameters (amplitudes, lengths) are used. Test networks with fewer
  than ten training networks before them have no such prediction and are not counted (20 to 60
  of 1,000); `past_only_later` counts those with 100 and more;
- `both_sides`: the level from before and after. It is not a forecast and stands for comparison.

All of it for several random splits. For phones, whose times are whole milliseconds,
`rounding_ceiling` is the rank correlation of the costs of an additive fit to all networks with
themselves in whole milliseconds. `noise_ceiling` is that of fitted costs and level with themselves
after the fitted noise (and rounding) has been added: the networks were timed once, so it is an
estimate that trusts the fit.

    EDGENAS_BENCH_DATA=... python -m benchmarks.costs.published.fbnet_hw
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.costs.published.data import PHONES, Floats, Networks, fbnet
from benchmarks.program import main
from edgenas.costs.accuracy import error_report
from edgenas.costs.drift import autocorrelation
from edgenas.costs.features import driven_prior, similarity
from edgenas.costs.fit import Fitted, fit_costs

N_TRAIN, N_TEST = 200, 1000
LAYOUTS = ("spread", "window")
RESULTS = Path(__file__).parent / "results" / "fbnet_hw.json"


def split(layout: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of training and of test networks, both ascending."""
    if layout == "spread":
        places = rng.permutation(n)
    else:
        window = N_TRAIN + N_TEST
        places = rng.permutation(window) + int(rng.integers(0, n - window + 1))
    return np.sort(places[:N_TRAIN]), np.sort(places[N_TRAIN : N_TRAIN + N_TEST])


def ridge(counts: Floats, network_ms: Floats, strengths: Floats | None = None) -> Floats:
    """Return coefficients of the plain additive fit, the mean's last; strength by 5 folds."""
    if strengths is None:
        strengths = np.array([0.1, 0.3, 1.0, 3.0, 10.0, 30.0])
    fold = np.arange(len(counts)) % 5

    def solve(rows: np.ndarray, strength: float) -> Floats:
        x, mean = counts[rows], float(network_ms[rows].mean())
        gram = x.T @ x + strength * np.eye(x.shape[1])
        return np.append(np.linalg.solve(gram, x.T @ (network_ms[rows] - mean)), mean)

    def loss(strength: float) -> float:
        total = 0.0
        for k in range(5):
            weights = solve(fold != k, strength)
            predicted = counts[fold == k] @ weights[:-1] + weights[-1]
            total += float(((network_ms[fold == k] - predicted) ** 2).sum())
        return total

    best = min(strengths, key=loss)
    return solve(np.ones(len(counts), dtype=bool), float(best))


def fit(data: Networks, rows: np.ndarray, network_ms: Floats, at: Floats | None) -> Fitted:
    """Fit the costs of all options, with the prior of their drivers."""
    counts = data.counts[rows]
    return fit_costs(
        counts,
        network_ms,
        lambda seen: driven_prior(data.drivers, counts[seen], network_ms[seen]),
        similarity=similarity(data.features),
        times_at=at,
    )


def both_sides(fitted: Fitted, counts: Floats, at: Floats) -> Floats:
    """Return predictions with the level known from before and after."""
    parts, source = fitted.drift, fitted.regression
    assert parts is not None
    assert source.at is not None
    residuals = source.network_ms / fitted.predict(source.design[:, 1:]) - 1
    known = parts.covariance(source.at, source.at) + np.diag(parts.noise**2 / fitted.weights)
    level = parts.covariance(at, source.at) @ np.linalg.solve(known, residuals)
    return np.asarray(fitted.predict(counts) * (1 + level))


def noise_ceiling(fitted: Fitted, predicted: Floats, rounded: bool) -> float:
    """Return the rank correlation of predictions with themselves plus the fitted noise."""
    rng = np.random.default_rng(0)
    noisy = predicted * (1 + fitted.noise * rng.standard_t(4, len(predicted)))
    return rank_correlation(np.round(noisy) if rounded else noisy, predicted)


def rank_correlation(one: Floats, other: Floats) -> float:
    """Return Spearman's coefficient."""
    return round(float(spearmanr(one, other).statistic), 4)


def one_split(data: Networks, device: str, layout: str, seed: int) -> dict[str, Any]:
    """Return errors of every way to predict, and what the residuals remember."""
    times = data.network_ms[device]
    train, test = split(layout, len(times), np.random.default_rng(seed))
    at, asked = train.astype(float), test.astype(float)
    counts, measured = data.counts[test], times[test]
    weights = ridge(data.counts[train], times[train])
    plain = fit(data, train, times[train], None)
    drifting = fit(data, train, times[train], at)
    past = drifting.forward(counts, asked, costs_from="past")
    predicted = {
        "ridge": counts @ weights[:-1] + weights[-1],
        "fit": plain.predict(counts),
        "forward": drifting.forward(counts, asked),
        "past_only": past,
        "both_sides": both_sides(drifting, counts, asked),
    }
    predicted["past_only_later"] = np.where(test > train[99], past, np.nan)
    errors, memory = {}, {}
    for name, p in predicted.items():
        known = ~np.isnan(p)
        errors[name] = error_report(measured[known], p[known]).model_dump()
        if name in ("fit", "forward", "past_only"):
            memory[name] = vars_of(autocorrelation(measured[known] / p[known] - 1))
    ceiling = noise_ceiling(drifting, predicted["both_sides"], device in PHONES)
    return {"errors": errors, "memory_of_test_residuals": memory, "noise_ceiling": ceiling}


def vars_of(memory: Any) -> dict[str, float]:
    """Return an autocorrelation's two figures."""
    return {"lag_1": round(memory.lag_1, 4), "durbin_watson": round(memory.durbin_watson, 4)}


def order_of_measurement(data: Networks, device: str) -> dict[str, Any]:
    """Return what residuals of an additive fit to all networks remember, in order and shuffled."""
    times = data.network_ms[device]
    weights = ridge(data.counts, times, np.array([1.0]))
    residuals = (data.counts @ weights[:-1] + weights[-1]) / times - 1
    shuffled = np.random.default_rng(0).permutation(residuals)
    return {
        "in_order": vars_of(autocorrelation(residuals)),
        "shuffled": vars_of(autocorrelation(shuffled)),
        "standard_error": round(1 / np.sqrt(len(times)), 4),
    }


def rounding_ceiling(data: Networks, device: str) -> float:
    """Return the rank correlation of fitted costs with themselves in whole milliseconds."""
    weights = ridge(data.counts, data.network_ms[device], np.array([1.0]))
    costs = data.counts @ weights[:-1] + weights[-1]
    return rank_correlation(np.round(costs), costs)


def summary(splits: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean, least and greatest of each figure over the splits."""
    result: dict[str, Any] = {}
    for name in splits[0]["errors"]:
        result[name] = {}
        for figure in ("spearman", "mape", "within_5_percent", "within_10_percent"):
            values = [one["errors"][name][figure] for one in splits]
            result[name][figure] = {
                "mean": round(float(np.mean(values)), 4),
                "least": round(min(values), 4),
                "greatest": round(max(values), 4),
            }
    result["noise_ceiling"] = round(float(np.mean([one["noise_ceiling"] for one in splits])), 4)
    for name in splits[0]["memory_of_test_residuals"]:
        values = [one["memory_of_test_residuals"][name]["lag_1"] for one in splits]
        result[name]["lag_1_of_residuals"] = round(float(np.mean(values)), 4)
    return result


def run(devices: list[str] | None, n_splits: int) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    data = fbnet()
    results: dict[str, Any] = {}
    for device in devices or list(data.network_ms):
        results[device] = {"order_of_measurement": order_of_measurement(data, device)}
        if device in PHONES:
            results[device]["rounding_ceiling"] = rounding_ceiling(data, device)
        for layout in LAYOUTS:
            splits = [one_split(data, device, layout, seed) for seed in range(n_splits)]
            results[device][layout] = summary(splits)
    return {
        "what": "FBNet on CIFAR-100, 5,000 networks; see the module's text for the protocol",
        "n_train": N_TRAIN,
        "n_test": N_TEST,
        "n_splits": n_splits,
        "devices": results,
    }


if __name__ == "__main__":
    main(
        run,
        doc=__doc__,
        out=RESULTS,
        options={"--devices": {"nargs": "*"}, "--n-splits": {"type": int, "default": 5}},
    )
