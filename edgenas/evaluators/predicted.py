"""Accuracy of architectures as a predictor tells it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgenas.core.architecture import Architecture, population
from edgenas.core.evaluation import Evaluation
from edgenas.evaluators.base import Evaluator, check_space
from edgenas.evaluators.predictors.base import AccuracyPredictor


class PredictedAccuracy(Evaluator):
    """Predicted accuracy, a fraction; nothing is run.

    Args:
        predictor: of the space that the architectures are of.
    """

    def __init__(self, predictor: AccuracyPredictor) -> None:
        self.predictor, self.space = predictor, predictor.space

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """Return the accuracy of each of `archs` (see `Evaluator.evaluate`)."""
        check_space(archs, self.space)
        if not archs:
            return []
        rows = population(list(archs), self.space.n_genes)
        self.space.check(rows)
        return [
            Evaluation(arch, "complete", {"accuracy": float(value)})
            if np.isfinite(value)
            else Evaluation(arch, "failed", error=f"the predicted accuracy is {value}")
            for arch, value in zip(archs, self.predictor(rows), strict=True)
        ]
