"""MnasNet's space on FPGAs: models of 5,125 measured networks stand for all of it.

The benchmark's authors do the same (Ahmad et al. 2024, Accel-NASBench, arXiv:2404.08005): nobody
can train a space of 10^11 networks. The front is the best known one: that of long selections.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.environment import environment
from benchmarks.search.problem import Known
from benchmarks.search.tables import RESULTS, place
from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.core.files import write_json
from edgenas.evaluators import published
from edgenas.evaluators.tabular import TabularValues
from edgenas.pareto import non_dominated
from edgenas.searchers.arrays.problem import Limits
from edgenas.searchers.arrays.select import select
from edgenas.searchers.problem import Floats

_SPACE = "mnasnet_accel"
_SEEDS = range(8)


@cache
def measured() -> TabularValues:
    """Return the distinct measured networks, means over repeats."""
    path = place("accel_nasbench_mnasnet/anb_mnasnet_imagenet.csv.gz")
    return published.mnasnet_accel(path, spaces.get(_SPACE))


def known(name: str, device: str) -> Known:
    """Return the problem of a device (``zcu102`` or ``vck190``)."""
    table = measured()
    space, rows = table.space, table.rows
    accuracy = _Model(rows, table.values["accuracy"])
    latency = _Model(rows, table.values[f"latency_ms.{device}"])
    front = np.unique(_points(_best_known(device, accuracy, latency), accuracy, latency), axis=0)
    worst = (float(latency(rows).max()), float(-accuracy(rows).min()))
    return Known(name, space, accuracy, latency, front, worst, is_exact=False)


def _points(rows: Genes, accuracy: _Model, latency: _Model) -> Floats:
    """Return latency and minus accuracy, shape (n, 2)."""
    return np.stack([latency(rows), -accuracy(rows)], axis=1)


def _best_known(device: str, accuracy: _Model, latency: _Model) -> Genes:
    """Return the front of long selections; they take minutes, so it is kept with the results."""
    path = RESULTS / f"mnasnet_{device}_front.json"
    if path.exists():
        return np.array(json.loads(path.read_text(encoding="utf-8"))["genes"], dtype=np.int8)
    found = [
        select(
            measured().space,
            {"latency_ms": latency},
            accuracy=accuracy,
            seed=seed,
            limits=Limits(n_evaluations=200_000),
        ).genes
        for seed in _SEEDS
    ]
    rows = np.unique(np.concatenate(found), axis=0)
    best: Genes = rows[non_dominated(_points(rows, accuracy, latency))]
    about = {"n_selections": len(_SEEDS), "n_evaluations_each": 200_000}
    write_json(path, {**about, "genes": best.tolist(), "environment": environment()})
    return best


class _Model:
    """Boosted trees of the genes, fitted to measured networks."""

    def __init__(self, rows: Genes, values: Floats) -> None:
        sound = np.isfinite(values)
        self.rows, self.values = rows[sound], values[sound]
        self._trees = _trees().fit(self.rows, self.values)

    def __call__(self, population: Genes) -> Floats:
        if not len(population):
            return np.zeros(0)
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
