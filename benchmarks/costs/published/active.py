"""Error against the number of timed networks: chosen by the posterior, or at random.

From 25 random networks on, each next batch (to 50, 100, 200, 400) is chosen from 3,000 candidates
by `edgenas.costs.active.next_networks`: `variance`, the network that the posterior is least sure
of; `reduction`, the one that reduces the mean doubt of all most; or at `random`. After each batch
the costs are fitted anew and held against 1,000 other networks. Means over several draws, published
devices (FBNet's space) first; then, for the tables in `latency_tables/`, the networks that
calibrated them, 50 of which are kept for the test: here `measured` fits have the isolated times of
the operators as their prior and `fitted` ones have none but MACs and traffic.

    EDGENAS_BENCH_DATA=... python -m benchmarks.costs.published.active
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.costs.published.data import Floats, Networks, fbnet
from benchmarks.costs.published.fbnet_hw import fit
from benchmarks.program import main
from edgenas import spaces
from edgenas.core.errors import UsageError
from edgenas.core.paths import data_folder
from edgenas.costs.accuracy import error_report
from edgenas.costs.active import next_networks
from edgenas.costs.counts import operator_counts
from edgenas.costs.features import driven_prior, operator_drivers, operator_features, similarity
from edgenas.costs.fit import Fitted, fit_costs
from edgenas.costs.samples import SampledVisit, read_samples
from edgenas.costs.table import CostTable, samples_path
from edgenas.profiling.workload import ProfileSettings, calibration_networks

SIZES = (25, 50, 100, 200, 400)
DEVICES = ("gold_6226", "silver_4114", "titan_rtx_1", "samsung_a50")
WAYS = ("random", "variance", "reduction")
RESULTS = Path(__file__).parent / "results" / "active.json"


def chosen(way: str, fitted: Fitted, counts: Floats, n: int, rng: np.random.Generator) -> list[int]:
    """Return the next `n` candidates."""
    if way == "random":
        return [int(i) for i in rng.choice(len(counts), n, replace=False)]
    target = counts[rng.choice(len(counts), min(400, len(counts)), replace=False)]
    by: Any = way
    return next_networks(fitted, counts, n, by=by, target=target)


def one_device(data: Networks, device: str, way: str, seed: int) -> list[float]:
    """Return the MAPE at each of `SIZES`."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(data.counts))
    test, free = rows[:1000], rows[1000:4000]
    times = data.network_ms[device]
    timed, free = free[: SIZES[0]], free[SIZES[0] :]
    errors: list[float] = []
    for k, size in enumerate(SIZES):
        fitted = fit(data, timed, times[timed], None)
        errors.append(error_report(times[test], fitted.predict(data.counts[test])).mape)
        if k + 1 < len(SIZES):
            batch = chosen(way, fitted, data.counts[free], SIZES[k + 1] - size, rng)
            timed, free = np.concatenate([timed, free[batch]]), np.delete(free, batch)
    return errors


def curves(one: list[list[float]]) -> dict[str, Any]:
    """Return mean and standard error of curves over draws."""
    values = np.array(one)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return {"mape": values.mean(axis=0).round(5).tolist(), "error": error.round(5).tolist()}


def published(n_draws: int) -> dict[str, Any]:
    """Return curves by device and way."""
    data = fbnet()
    return {
        device: {
            way: curves([one_device(data, device, way, seed) for seed in range(n_draws)])
            for way in WAYS
        }
        for device in DEVICES
    }


class TimedNetworks:
    """What calibrated a table: counts, networks' times, isolated times of operators.

    A network's time in a process is the least, over the visits, of a visit's median; processes
    are brought to the same level by the networks that all of them timed.
    """

    def __init__(self, path: Path) -> None:
        table = CostTable.load(path)
        own = table.passport
        if own.plan is None or own.fit is None:
            raise UsageError(f"{path} was not measured here: it has no timed networks")
        space = spaces.from_parameters(own.space.parameters)
        self.ops = space.distinct_ops()
        settings = ProfileSettings(n_networks=own.fit.n_networks, seed=own.plan.seed)
        networks = calibration_networks(space, settings)
        self.counts = operator_counts(space, networks, self.ops)
        names = [f"net:{architecture.id}" for architecture in space.architectures(networks)]
        self.network_ms = _by_name(read_samples(samples_path(path)), names)
        isolated = [table[op].isolated for op in self.ops]
        self.isolated_ms = np.array([alone for alone in isolated if alone is not None])
        self.similarity = similarity(operator_features(self.ops))

    def fit(self, rows: np.ndarray, prior: str) -> Fitted:
        """Fit some of the networks with the prior that is named."""
        counts, times = self.counts[rows], self.network_ms[rows]
        mean, overhead = self.isolated_ms, 0.0
        if prior == "fitted":
            mean, overhead = driven_prior(operator_drivers(self.ops), counts, times)
        return fit_costs(counts, times, mean, similarity=self.similarity, overhead_ms=overhead)


def _by_name(visits: list[SampledVisit], names: list[str]) -> Floats:
    least: dict[str, dict[str, float]] = {}
    for visit in visits:
        name, _, process = visit.artefact.partition("@")
        if name.startswith("net:"):
            found = least.setdefault(process, {})
            found[name] = min(found.get(name, np.inf), float(np.median(visit.runs)))
    shared = sorted(set.intersection(*(set(found) for found in least.values())))
    typical = {name: float(np.median([f[name] for f in least.values()])) for name in shared}
    for found in least.values():
        level = np.median([found[name] / typical[name] for name in shared])
        for name in found:
            found[name] /= float(level)
    return np.array(
        [float(np.median([f[name] for f in least.values() if name in f])) for name in names]
    )


def own_table(path: Path, n_draws: int) -> dict[str, Any]:
    """Return curves of error against the number of networks that calibrated a table."""
    data = TimedNetworks(path)
    n_test = 50
    most = len(data.counts) - n_test
    sizes = [size for size in SIZES if size < most] + [most]
    result: dict[str, Any] = {"n_timed": sizes, "checksum": CostTable.load(path).passport.checksum}
    for prior in ("measured", "fitted"):
        for way in WAYS:
            runs = [_own_draw(data, prior, way, sizes, n_test, seed) for seed in range(n_draws)]
            result[f"{prior}, {way}"] = curves(runs)
    return result


def _own_draw(  # noqa: PLR0913
    data: TimedNetworks, prior: str, way: str, sizes: list[int], n_test: int, seed: int
) -> list[float]:
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(data.counts))
    test, timed, free = np.split(rows, [n_test, n_test + sizes[0]])
    errors = []
    for k, size in enumerate(sizes):
        fitted = data.fit(timed, prior)
        predicted = fitted.predict(data.counts[test])
        errors.append(error_report(data.network_ms[test], predicted).mape)
        if k + 1 < len(sizes):
            batch = chosen(way, fitted, data.counts[free], sizes[k + 1] - size, rng)
            timed, free = np.concatenate([timed, free[batch]]), np.delete(free, batch)
    return errors


def run(n_draws: int) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    shipped = sorted(data_folder("latency_tables").glob("*/*/*.csv"))
    own = {str(path.relative_to(path.parents[2])): own_table(path, n_draws) for path in shipped}
    return {
        "n_timed": list(SIZES),
        "n_draws": n_draws,
        "published": published(n_draws),
        "own_tables": own,
    }


if __name__ == "__main__":
    main(run, doc=__doc__, out=RESULTS, options={"--n-draws": {"type": int, "default": 3}})
