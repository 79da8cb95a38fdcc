"""Predictors that edgenas fitted to evaluated subnets."""

from __future__ import annotations

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.costs import conformal
from edgenas.evaluators.predictors.base import AccuracyPredictor
from edgenas.evaluators.predictors.features import CHUNK, Features, Floats
from edgenas.evaluators.predictors.regression import Regression
from edgenas.evaluators.predictors.report import PredictorReport


class FittedPredictor(AccuracyPredictor):
    """A regression on features of architectures, with intervals and its report.

    Args:
        features: of the architectures; they hold the space.
        regression: of the accuracy, brought to mean 0 and deviation 1.
        level: the mean of the accuracies that it was fitted to.
        spread: their standard deviation.
        errors: evaluated minus predicted accuracy of architectures that were left out in turn,
            shape (n,).
        report: how it was fitted and chosen.
    """

    def __init__(  # noqa: PLR0913
        self,
        features: Features,
        regression: Regression,
        *,
        level: float,
        spread: float,
        errors: Floats,
        report: PredictorReport,
    ) -> None:
        super().__init__(features.space)
        self.features, self.regression = features, regression
        self.level, self.spread = level, spread
        self.errors, self.report = errors, report

    def __call__(self, population: Genes) -> Floats:
        """Return predicted accuracies (see `AccuracyPredictor.__call__`)."""
        result = np.empty(len(population))
        for start in range(0, len(population), CHUNK):
            rows = self.features(population[start : start + CHUNK])
            result[start : start + CHUNK] = self.regression(rows)
        return result * self.spread + self.level

    @property
    def has_intervals(self) -> bool:
        """Whether predictions have intervals: always."""
        return True

    def predict(self, population: Genes, *, coverage: float = 0.9) -> tuple[Floats, Floats, Floats]:
        """Return predicted accuracy and the ends of its interval (see `AccuracyPredictor`).

        The ends are split-conformal, from the errors of architectures left out in turn: they
        hold for architectures that are spread like those that were evaluated.
        """
        value = self(population)
        low, high = conformal.interval(self.errors, coverage)
        return value, np.clip(value + low, 0.0, 1.0), np.clip(value + high, 0.0, 1.0)
