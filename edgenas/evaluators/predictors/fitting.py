"""Fits predictors to evaluated subnets: the kind is chosen by what it ranks well unseen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import DataError, UsageError
from edgenas.evaluators.predictors.features import Features, Floats
from edgenas.evaluators.predictors.fitted import FittedPredictor
from edgenas.evaluators.predictors.kinds import KINDS, kind_named
from edgenas.evaluators.predictors.regression import Regression
from edgenas.evaluators.predictors.report import (
    N_RESAMPLES,
    AccuracyFigures,
    PredictorReport,
    accuracy_figures,
    noise_of,
)
from edgenas.spaces.base import SearchSpace

logger = logging.getLogger(__name__)

LEAST_ARCHITECTURES = 20

Progress = Callable[[str, int, int], None]


def fit_predictor(  # noqa: PLR0913
    space: SearchSpace,
    population: Genes,
    accuracy: npt.ArrayLike,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    n_folds: int = 5,
    seed: int = 0,
    held_out: tuple[Genes, npt.ArrayLike] | None = None,
    progress: Progress | None = None,
) -> FittedPredictor:
    """Fit a predictor to the accuracies of some architectures.

    Every kind predicts the architectures left out in turn; the one that ranks them best
    (Spearman, the earlier kind if equal) is fitted to all. Evaluations of the same architecture
    are averaged and never parted between fit and check.

    Args:
        space: of the architectures.
        population: evaluated architectures, shape (n, n_genes).
        accuracy: their accuracies, fractions, shape (n,).
        kinds: names in `KINDS` to choose from.
        n_folds: how many parts are left out in turn.
        seed: decides the parts, and whatever is random in a fit.
        held_out: more architectures with their accuracies, for the report alone; those that
            are in `population` are left out of it.
        progress: told (what, done, total) as kinds are cross-validated.

    Raises:
        SpaceError: genes that are not of the space.
        DataError: too few architectures, or accuracies that are no fractions.
        UsageError: an unknown kind, or fewer than two folds.
    """
    check_kinds(kinds, n_folds)
    rows, target, group = distinct(space, population, accuracy)
    if len(rows) < LEAST_ARCHITECTURES or np.ptp(target) == 0:
        raise DataError(
            f"{len(rows)} distinct architectures with {len(np.unique(target))} distinct accuracies "
            f"were given, at least {LEAST_ARCHITECTURES} that differ are needed; evaluate more"
        )
    folds = np.random.default_rng(seed).permutation(len(rows)) % n_folds
    unseen, figures = {}, {}
    for done, name in enumerate(kinds):
        if progress is not None:
            progress("cross-validating kinds", done, len(kinds))
        unseen[name] = cross_validated(space, rows, target, folds, kind=name, seed=seed)
        figures[name] = accuracy_figures(target, unseen[name], seed=seed)
        logger.info("%s: Spearman %.4f unseen", name, figures[name].spearman.value)
    best = max(kinds, key=lambda name: figures[name].spearman.value)
    values = np.asarray(accuracy, dtype=np.float64)
    report = PredictorReport(
        kind=best,
        n_architectures=len(rows),
        n_evaluations=len(values),
        n_folds=n_folds,
        seed=seed,
        accuracy_range=[float(target.min()), float(target.max())],
        candidates=figures,
        noise=noise_of(values, group),
    )
    fitted = fit_kind(space, rows, target, kind=best, seed=seed)
    predictor = FittedPredictor(
        *fitted[:2],
        level=fitted[2],
        spread=fitted[3],
        errors=np.sort(target - unseen[best]),
        report=report,
    )
    if held_out is not None:
        told = held_out_figures(predictor, *held_out, seen=rows)
        predictor.report = report.model_copy(update={"held_out": told})
    return predictor


def fit_kind(
    space: SearchSpace, rows: Genes, target: Floats, *, kind: str, seed: int
) -> tuple[Features, Regression, float, float]:
    """Return (features, regression, level, spread) of one kind, fitted to all of `rows`."""
    features = Features.scaled_to(space, rows)
    level, spread = float(target.mean()), float(target.std()) or 1.0
    scaled = (target - level) / spread
    return (
        features,
        kind_named(kind).fit(features, features(rows), scaled, seed=seed),
        level,
        spread,
    )


def cross_validated(  # noqa: PLR0913
    space: SearchSpace,
    rows: Genes,
    target: Floats,
    folds: npt.NDArray[np.int64],
    *,
    kind: str,
    seed: int,
) -> Floats:
    """Return every architecture's prediction by a fit that did not see its fold, shape (n,)."""
    unseen = np.empty(len(rows))
    for fold in np.unique(folds):
        out = folds == fold
        features, regression, level, spread = fit_kind(
            space, rows[~out], target[~out], kind=kind, seed=seed
        )
        unseen[out] = regression(features(rows[out])) * spread + level
    return unseen


def held_out_figures(
    predictor: FittedPredictor, population: Genes, accuracy: npt.ArrayLike, *, seen: Genes
) -> AccuracyFigures:
    """Return figures on architectures of `population` that are not in `seen`.

    Raises:
        DataError: accuracies that are no fractions.
        UsageError: fewer than three of them were not seen.
    """
    rows, target, _ = distinct(predictor.space, population, accuracy)
    known = {row.tobytes() for row in seen}
    new = np.array([row.tobytes() not in known for row in rows], dtype=bool)
    return accuracy_figures(target[new], predictor(rows[new]), n_resamples=N_RESAMPLES)


def distinct(
    space: SearchSpace, population: Genes, accuracy: npt.ArrayLike
) -> tuple[Genes, Floats, npt.NDArray[np.int64]]:
    """Return distinct architectures, their mean accuracies, and which one each row is.

    Raises:
        SpaceError: genes that are not of the space.
        DataError: not one fraction for each of them.
    """
    space.check(population)
    values = np.asarray(accuracy, dtype=np.float64)
    if values.shape != (len(population),):
        raise DataError(
            f"{len(population)} architectures have accuracies of shape {values.shape}, "
            f"allowed: ({len(population)},)"
        )
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise DataError(
            f"the accuracy of architecture {wrong[0]} is {values[wrong[0]]}, allowed: 0 to 1 "
            "(a fraction; divide percents by 100)"
        )
    if len(values) == 0:
        return population, values, np.zeros(0, dtype=np.int64)
    rows, group = np.unique(space.canonical(population), axis=0, return_inverse=True)
    group = group.reshape(-1).astype(np.int64)
    return rows, np.bincount(group, values) / np.bincount(group), group


def check_kinds(kinds: Sequence[str], n_folds: int) -> None:
    """Refuse unknown kinds and fewer than two folds.

    Raises:
        UsageError: as said.
    """
    for name in kinds:
        kind_named(name)
    if not kinds or n_folds < 2:
        raise UsageError(
            f"{len(kinds)} kinds and {n_folds} folds; allowed: 1 kind, 2 folds or more"
        )
