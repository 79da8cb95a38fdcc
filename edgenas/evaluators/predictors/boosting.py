"""Gradient boosting of small regression trees, kept as arrays.

Friedman 2001, doi:10.1214/aos/1013203451; every tree is laid out in full, so that a population
takes the same few steps in each.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from edgenas.evaluators.predictors.features import Features, Floats, Singles
from edgenas.evaluators.predictors.regression import Arrays, Regression

_DEPTH = 3
_TREES = 600
_RATE = 0.05
_ROWS = 0.5  # of the rows, for each tree
_COLUMNS = 0.3  # of the features, for each split


class Boosting(Regression):
    """Trees of depth 3.

    Args:
        level: what the leaves are added to.
        features: which feature each inner node compares, shape (n_trees, 7), node by node:
            those below node i are 2 i + 1, if it is at most the threshold, and 2 i + 2.
        thresholds: shape (n_trees, 7).
        leaves: shape (n_trees, 8).
    """

    kind: ClassVar[str] = "boosting"

    def __init__(
        self, level: float, features: npt.NDArray[np.int32], thresholds: Floats, leaves: Floats
    ) -> None:
        self.level, self.features = level, features
        self.thresholds, self.leaves = thresholds, leaves

    @classmethod
    def fit(cls, features: Features, rows: Singles, target: Floats, *, seed: int) -> Self:
        """Return the trees (see `Regression.fit`)."""
        from sklearn.ensemble import GradientBoostingRegressor

        del features
        model = GradientBoostingRegressor(
            n_estimators=_TREES,
            max_depth=_DEPTH,
            learning_rate=_RATE,
            subsample=_ROWS,
            max_features=_COLUMNS,
            random_state=seed,
        ).fit(rows.T, target)
        trees = [_complete(tree.tree_) for tree in model.estimators_[:, 0]]
        columns, thresholds, leaves = (np.stack(part) for part in zip(*trees, strict=True))
        level = float(model.init_.constant_.item())
        return cls(level, columns.astype(np.int32), thresholds, _RATE * leaves)

    def __call__(self, rows: Singles) -> Floats:
        """Return the sum of the leaves (see `Regression.__call__`)."""
        total = np.full(rows.shape[1], self.level)
        for columns, thresholds, leaves in zip(
            self.features, self.thresholds, self.leaves, strict=True
        ):
            right = rows[columns] > thresholds[:, None]
            second = np.where(right[0], right[2], right[1])
            third = np.where(
                right[0],
                np.where(second, right[6], right[5]),
                np.where(second, right[4], right[3]),
            )
            total += leaves[4 * right[0].view(np.int8) + 2 * second + third]
        return total

    def arrays(self) -> Arrays:
        """Return all that prediction needs."""
        return {
            "level": np.array([self.level]),
            "features": self.features,
            "thresholds": self.thresholds,
            "leaves": self.leaves,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the trees whose `arrays` these are."""
        features, leaves = arrays["features"].astype(np.int32), arrays["leaves"].astype(np.float64)
        thresholds = arrays["thresholds"].astype(np.float64)
        n = len(leaves)
        if features.shape != (n, 7) or thresholds.shape != (n, 7) or leaves.shape != (n, 8):
            raise ValueError(f"{n} trees have shapes {features.shape} and {leaves.shape}")
        return cls(float(arrays["level"][0]), features, thresholds, leaves)


def _complete(tree: Any) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Return (features, thresholds, leaves) of a tree in which no branch ends early."""
    n = 2**_DEPTH - 1
    columns, thresholds = np.zeros(n, dtype=np.int64), np.full(n, np.inf)
    leaves = np.zeros(n + 1)
    pending = [(0, 0)]  # (place in the complete tree, node of the tree)
    while pending:
        place, node = pending.pop()
        ends = tree.children_left[node] < 0
        if place >= n:
            leaves[place - n] = tree.value[node].item()
        elif ends:  # both sides lead to the same leaf
            pending += [(2 * place + 1, node), (2 * place + 2, node)]
        else:
            columns[place], thresholds[place] = tree.feature[node], tree.threshold[node]
            pending += [
                (2 * place + 1, tree.children_left[node]),
                (2 * place + 2, tree.children_right[node]),
            ]
    return columns, thresholds, leaves
