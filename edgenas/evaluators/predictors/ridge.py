"""Ridge regression on options, sizes, counts, and products of options of the same stage.

Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634; the penalty is chosen by leaving one out.
"""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from edgenas.evaluators.predictors.features import Features, Floats, Singles
from edgenas.evaluators.predictors.regression import Arrays, Regression

_PENALTIES = np.logspace(-1, 4, 21)
_PRODUCT_WEIGHT = 0.5  # products are believed in less than options by themselves


class Ridge(Regression):
    """The function `level + linear @ x + x @ products @ x` of the features x.

    Args:
        level: the constant.
        linear: shape (n_features,).
        products: shape (n_features, n_features), zero below and on the diagonal of options.
    """

    kind: ClassVar[str] = "ridge"

    def __init__(self, level: float, linear: Floats, products: Floats) -> None:
        self.level, self.linear, self.products = level, linear, products
        self._linear = linear.astype(np.float32)
        self._products = products.astype(np.float32)

    @classmethod
    def fit(cls, features: Features, rows: Singles, target: Floats, *, seed: int) -> Self:
        """Return the regression (see `Regression.fit`); nothing is random."""
        from sklearn.linear_model import RidgeCV

        del seed
        x = rows.T.astype(np.float64)
        pairs = _pairs(features)
        sizes = np.zeros((features.sizes.shape[0], features.n_features))
        sizes[:, : features.n_options] = features.sizes
        left, right = pairs.T
        columns = np.hstack([x, x @ sizes.T, x[:, left] * x[:, right]])
        mean, spread = columns.mean(axis=0), columns.std(axis=0)
        weight = np.ones(columns.shape[1])
        weight[x.shape[1] + len(sizes) :] = _PRODUCT_WEIGHT
        scale = np.where(spread > 1e-9, weight / np.where(spread > 1e-9, spread, 1.0), 0.0)
        model = RidgeCV(alphas=_PENALTIES).fit((columns - mean) * scale, target)
        coefficients = model.coef_ * scale
        own, of_sizes, of_pairs = np.split(coefficients, [x.shape[1], x.shape[1] + len(sizes)])
        products = np.zeros((x.shape[1], x.shape[1]))
        products[left, right] = of_pairs
        level = float(model.intercept_ - mean @ coefficients)
        return cls(level, own + of_sizes @ sizes, products)

    def __call__(self, rows: Singles) -> Floats:
        """Return the function (see `Regression.__call__`)."""
        values = self._products @ rows
        values += self._linear[:, None]
        values *= rows
        return np.asarray(values.sum(axis=0, dtype=np.float64) + self.level)

    def arrays(self) -> Arrays:
        """Return all that prediction needs."""
        return {
            "level": np.array([self.level]),
            "linear": self.linear,
            "products": self.products,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the regression whose `arrays` these are."""
        floats = {name: np.asarray(value, dtype=np.float64) for name, value in arrays.items()}
        n = len(floats["linear"])
        if floats["products"].shape != (n, n) or floats["level"].shape != (1,):
            raise ValueError(f"products of {n} features have shape {floats['products'].shape}")
        return cls(float(floats["level"][0]), floats["linear"], floats["products"])


def _pairs(features: Features) -> npt.NDArray[np.int64]:
    """Return which features are multiplied: options of one stage's genes, counts with counts."""
    n_options = features.space.n_options
    gene = np.repeat(np.arange(len(n_options)), n_options)
    found = [
        pair
        for group in features.groups
        for pair in combinations(group, 2)
        if gene[pair[0]] != gene[pair[1]]
    ]
    found += combinations_with_replacement(range(features.n_options, features.n_features), 2)
    return np.array(found, dtype=np.int64)
