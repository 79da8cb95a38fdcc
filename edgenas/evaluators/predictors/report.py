"""How good a predictor is: errors and rank correlations with intervals, beside the noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.stats import kendalltau, rankdata

from edgenas.core.errors import UsageError
from edgenas.core.schema import StrictModel
from edgenas.evaluators.predictors.features import Floats

N_RESAMPLES = 300


class Estimate(StrictModel):
    """A figure with the ends of its bootstrap interval over architectures."""

    value: float
    low: float
    high: float


class AccuracyFigures(StrictModel):
    """Predictions against evaluations of architectures that the fit did not see.

    Errors are fractions like the accuracies; correlations are of ranks.
    """

    n_architectures: int
    coverage: float
    """Of the intervals."""
    mae: Estimate
    rmse: Estimate
    spearman: Estimate
    kendall: Estimate


class Noise(StrictModel):
    """How far evaluations of the same architecture differ; no predictor can err less."""

    n_repeated: int
    """Architectures that were evaluated more than once."""
    deviation: float
    """Pooled standard deviation of one evaluation, a fraction."""


class PredictorReport(StrictModel):
    """What a predictor was fitted to and how it was chosen.

    `candidates` holds every kind's figures on architectures left out in turn (cross-validation);
    the kind with the greatest Spearman correlation is `kind`. `held_out` are figures on
    architectures that had no part in fitting or choosing.
    """

    kind: str
    n_architectures: int
    n_evaluations: int
    n_folds: int
    seed: int
    accuracy_range: Annotated[list[float], Field(min_length=2, max_length=2)]
    candidates: dict[str, AccuracyFigures]
    noise: Noise | None = None
    held_out: AccuracyFigures | None = None

    @property
    def cross_validated(self) -> AccuracyFigures:
        """The figures of the chosen kind on architectures left out in turn."""
        return self.candidates[self.kind]


def accuracy_figures(
    measured: Floats,
    predicted: Floats,
    *,
    coverage: float = 0.9,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> AccuracyFigures:
    """Compare two arrays of shape (n,); intervals are percentiles over resampled architectures.

    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    Raises:
        UsageError: fewer than three architectures, or all predicted or measured alike.
    """
    if len(measured) < 3 or np.ptp(measured) == 0:
        raise UsageError(
            f"{len(measured)} architectures with {len(np.unique(measured))} distinct accuracies "
            "have no order; at least 3 that differ are needed"
        )
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(measured), (n_resamples, len(measured)))

    def estimate(figure: Callable[[Floats, Floats], float]) -> Estimate:
        found = np.array([figure(measured[pick], predicted[pick]) for pick in picks])
        tail = (1 - coverage) / 2
        low, high = np.nanquantile(found, [tail, 1 - tail])
        value = figure(measured, predicted)
        return Estimate(
            value=round(value, 6),
            low=round(float(min(low, value)), 6),
            high=round(float(max(high, value)), 6),
        )

    return AccuracyFigures(
        n_architectures=len(measured),
        coverage=coverage,
        mae=estimate(lambda a, b: float(np.abs(b - a).mean())),
        rmse=estimate(lambda a, b: float(np.sqrt(((b - a) ** 2).mean()))),
        spearman=estimate(spearman),
        kendall=estimate(kendall),
    )


def spearman(measured: Floats, predicted: Floats) -> float:
    """Return the correlation of ranks; 0 where either is constant, which orders nothing."""
    if np.ptp(measured) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(measured), rankdata(predicted))[0, 1])


def kendall(measured: Floats, predicted: Floats) -> float:
    """Return Kendall's tau-b; 0 where either is constant."""
    if np.ptp(measured) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(kendalltau(measured, predicted, method="asymptotic").statistic)


def noise_of(accuracy: Floats, group: npt.NDArray[np.int64]) -> Noise | None:
    """Return the noise that repeated evaluations show, None if there are none.

    Args:
        accuracy: of every evaluation, shape (n,).
        group: which architecture it is of, numbers from 0, shape (n,).
    """
    n = np.bincount(group)
    mean = np.bincount(group, accuracy) / n
    freedom = int((n - 1).sum())
    if freedom == 0:
        return None
    spread = float(((accuracy - mean[group]) ** 2).sum()) / freedom
    return Noise(n_repeated=int((n > 1).sum()), deviation=round(float(np.sqrt(spread)), 8))
