"""An ensemble of small perceptrons on options, sizes and counts; their mean is the prediction.

Lakshminarayanan et al. 2017 (deep ensembles), arXiv:1612.01474: members differ by their initial
weights and the order of the samples.
"""

from __future__ import annotations

import warnings
from typing import ClassVar, Self

import numpy as np

from edgenas.evaluators.predictors.features import Features, Floats, Singles
from edgenas.evaluators.predictors.regression import Arrays, Regression

_MEMBERS = 4
_UNITS = 64
_EPOCHS = 150
_BATCH = 32
_RATE = 1e-3
_DECAY = 0.1


class Ensemble(Regression):
    """Members of two hidden layers, ReLU.

    Args:
        first: weights (n_members, n_units, n_features) and biases (n_members, n_units, 1).
        second: weights (n_members, n_units, n_units) and biases (n_members, n_units, 1).
        last: weights (n_members, 1, n_units) and biases (n_members, 1, 1).
    """

    kind: ClassVar[str] = "ensemble"

    def __init__(
        self,
        first: tuple[Singles, Singles],
        second: tuple[Singles, Singles],
        last: tuple[Singles, Singles],
    ) -> None:
        self.layers = (first, second, last)

    @classmethod
    def fit(cls, features: Features, rows: Singles, target: Floats, *, seed: int) -> Self:
        """Return the ensemble (see `Regression.fit`)."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        n = features.n_options
        sizes = features.sizes[features.sizes.any(axis=1)].astype(np.float32)
        inputs = np.vstack([rows, sizes @ rows[:n]]).T
        members = []
        for member in range(_MEMBERS):
            network = MLPRegressor(
                hidden_layer_sizes=(_UNITS, _UNITS),
                alpha=_DECAY,
                batch_size=min(_BATCH, len(target)),
                learning_rate_init=_RATE,
                max_iter=_EPOCHS,
                random_state=_MEMBERS * seed + member,
            )
            with warnings.catch_warnings():  # the number of epochs is fixed on purpose
                warnings.simplefilter("ignore", ConvergenceWarning)
                members.append(network.fit(inputs, target))
        layers = []
        for i in range(3):
            weights = np.stack([member.coefs_[i].T for member in members])
            biases = np.stack([member.intercepts_[i][:, None] for member in members])
            layers.append((weights.astype(np.float32), biases.astype(np.float32)))
        # Sizes are sums of options: the first layer can read the options instead.
        own, of_sizes = np.split(layers[0][0], [len(rows)], axis=2)
        own[:, :, :n] += of_sizes @ sizes
        return cls((np.ascontiguousarray(own), layers[0][1]), layers[1], layers[2])

    def __call__(self, rows: Singles) -> Floats:
        """Return the members' mean (see `Regression.__call__`)."""
        values = rows[None]
        for weights, biases in self.layers[:-1]:
            values = weights @ values
            values += biases
            np.maximum(values, 0, out=values)
        weights, biases = self.layers[-1]
        return np.asarray((weights @ values + biases)[:, 0].mean(axis=0, dtype=np.float64))

    def arrays(self) -> Arrays:
        """Return all that prediction needs."""
        found: dict[str, Singles] = {}
        for i, (weights, biases) in enumerate(self.layers):
            found |= {f"weights{i}": weights, f"biases{i}": biases}
        return found

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the ensemble whose `arrays` these are."""
        singles = {name: np.asarray(value, dtype=np.float32) for name, value in arrays.items()}
        first, second, last = ((singles[f"weights{i}"], singles[f"biases{i}"]) for i in range(3))
        m, units = first[0].shape[:2]
        shapes = [biases.shape for _, biases in (first, second, last)]
        if shapes != [(m, units, 1), (m, units, 1), (m, 1, 1)] or last[0].shape != (m, 1, units):
            raise ValueError(f"layers of {m} members do not follow each other: biases {shapes}")
        return cls(first, second, last)
