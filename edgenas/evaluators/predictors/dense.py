"""Dense networks over one-hot genes, in numpy: populations in chunks that stay in the cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError
from edgenas.evaluators.predictors.base import Floats
from edgenas.evaluators.predictors.features import CHUNK, OneHots, Singles

Layer = tuple[Singles, Singles]
"""Weights, shape (n_outputs, n_inputs), and biases, shape (n_outputs,)."""


class DenseNetwork:
    """A multi-layer perceptron on `OneHots`: ReLU between layers, one output.

    Args:
        one_hots: the encoder; the first layer takes its features.
        layers: from the first to the last.

    Raises:
        SpaceError: the layers do not follow each other, or not the features.
    """

    def __init__(self, one_hots: OneHots, layers: Sequence[Layer]) -> None:
        widths = [one_hots.n_features, *(len(bias) for _, bias in layers)]
        for i, (weights, bias) in enumerate(layers):
            if weights.shape != (widths[i + 1], widths[i]) or bias.ndim != 1:
                raise SpaceError(
                    f"layer {i} of a network over {one_hots.space.name} has weights of shape "
                    f"{weights.shape} and {bias.shape} biases, allowed: ({widths[i + 1]}, "
                    f"{widths[i]}) and ({widths[i + 1]},)"
                )
        if widths[-1] != 1:
            raise SpaceError(f"the last layer has {widths[-1]} outputs, allowed: 1")
        self.one_hots = one_hots
        self.layers = [
            (np.ascontiguousarray(w, dtype=np.float32), b.astype(np.float32)[:, None])
            for w, b in layers
        ]

    def __call__(self, population: Genes) -> Floats:
        """Return the network's output for every architecture, shape (n,)."""
        result = np.empty(len(population))
        for start in range(0, len(population), CHUNK):
            values = self.one_hots(population[start : start + CHUNK])
            for weights, bias in self.layers[:-1]:
                values = weights @ values
                values += bias
                np.maximum(values, 0, out=values)
            weights, bias = self.layers[-1]
            result[start : start + CHUNK] = (weights @ values + bias)[0]
        return result
