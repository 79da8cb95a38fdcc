"""MnasNet's space on FPGAs: models of 5,125 measured networks stand for all of it.

The benchmark's authors do the same (Ahmad et al. 2024, Accel-NASBench, arXiv:2404.08005): nobody
can train a space of 10^11 networks. The front is the best known one: that of long selections.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.search.problem import Known
from benchmarks.search.tables import read
from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.pareto import non_dominated
from edgenas.searchers.arrays.problem import Limits
from edgenas.searchers.arrays.select import select
from edgenas.searchers.problem import Floats
from edgenas.spaces.base import SearchSpace

_SPACE = "mnasnet_accel"
_N_BLOCKS = 7
_SEEDS = range(8)


@cache
def measured() -> tuple[SearchSpace, Genes, dict[str, Floats]]:
    """Return the space, distinct measured networks and their columns, means over repeats."""
    table = read("accel_nasbench_mnasnet/anb_mnasnet_imagenet.csv.gz")
    space = spaces.get(_SPACE)
    configs = []
    for i in range(len(table["val_top1"])):
        config: dict[str, object] = {}
        for b in range(_N_BLOCKS):
            e, k, n, se = (table[f"block{b}_{what}"][i] for what in ("e", "k", "l", "se"))
            name = f"block{b + 1}"
            config |= {f"{name}.op": f"mbconv_e{e}", f"{name}.kernel": int(k)}
            config |= {f"{name}.n_layers": int(n), f"{name}.se": 0.25 if int(se) else 0.0}
        # Genes with one option need no value; the benchmark has no others.
        config |= {g.name: g.options[0] for g in space.genes if len(g.options) == 1}
        configs.append(space.parse(config))
    every = np.array(configs, dtype=np.int8)
    rows, places = np.unique(every, axis=0, return_inverse=True)
    columns = {}
    for name in ("val_top1", "latency_ms_zcu102_mean", "latency_ms_vck190_mean"):
        values = np.array([float(text) if text else np.nan for text in table[name]])
        known = np.isfinite(values)
        sums = np.bincount(places.reshape(-1)[known], values[known], len(rows))
        counts = np.bincount(places.reshape(-1)[known], minlength=len(rows))
        columns[name] = np.divide(sums, counts, out=np.full(len(rows), np.nan), where=counts > 0)
    return space, rows, columns


def known(name: str, device: str) -> Known:
    """Return the problem of a device (``zcu102`` or ``vck190``)."""
    space, rows, columns = measured()
    accuracy = _Model(rows, columns["val_top1"] / 100)
    latency = _Model(rows, columns[f"latency_ms_{device}_mean"])
    found = [
        select(
            space,
            {"latency_ms": latency},
            accuracy=accuracy,
            seed=seed,
            limits=Limits(n_evaluations=200_000),
        ).genes
        for seed in _SEEDS
    ]
    best = np.unique(np.concatenate(found), axis=0)
    points = np.stack([latency(best), -accuracy(best)], axis=1)
    worst = (float(latency(rows).max()), float(-accuracy(rows).min()))
    front = np.unique(points[non_dominated(points)], axis=0)
    return Known(name, space, accuracy, latency, front, worst, is_exact=False)


class _Model:
    """Boosted trees of the genes, fitted to measured networks."""

    def __init__(self, rows: Genes, values: Floats) -> None:
        sound = np.isfinite(values)
        self.rows, self.values = rows[sound], values[sound]
        self._trees = _trees().fit(self.rows, self.values)

    def __call__(self, population: Genes) -> Floats:
        return np.asarray(self._trees.predict(population), dtype=np.float64)

    def spearman(self) -> float:
        """Return the rank correlation with networks left out, five folds."""
        from scipy.stats import spearmanr

        folds = KFold(5, shuffle=True, random_state=0)
        found = cross_val_predict(_trees(), self.rows, self.values, cv=folds)
        return float(spearmanr(found, self.values).statistic)


def _trees() -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        max_iter=600, learning_rate=0.05, max_leaf_nodes=16, random_state=0
    )
