"""Figures of predictors: against formulas, with intervals, beside the noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from edgenas.core.errors import UsageError
from edgenas.evaluators.predictors.report import accuracy_figures, kendall, noise_of, spearman


def test_figures_are_those_of_the_books_and_lie_in_their_intervals() -> None:
    rng = np.random.default_rng(0)
    measured = rng.normal(0.7, 0.02, 80)
    predicted = measured + rng.normal(0, 0.005, 80)
    found = accuracy_figures(measured, predicted)
    away = predicted - measured
    assert found.n_architectures == 80
    assert found.mae.value == pytest.approx(np.abs(away).mean(), abs=1e-6)
    assert found.rmse.value == pytest.approx(np.sqrt((away**2).mean()), abs=1e-6)
    assert found.spearman.value == pytest.approx(spearmanr(measured, predicted)[0], abs=1e-6)
    assert found.kendall.value == pytest.approx(kendalltau(measured, predicted)[0], abs=1e-6)
    for estimate in (found.mae, found.rmse, found.spearman, found.kendall):
        assert estimate.low < estimate.value < estimate.high
    assert accuracy_figures(measured, predicted) == found
    wider = accuracy_figures(measured, predicted, coverage=0.99)
    assert wider.mae.high - wider.mae.low > found.mae.high - found.mae.low


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(30):
        measured = rng.normal(size=60)
        found = accuracy_figures(
            measured, measured + rng.normal(size=60), n_resamples=60, seed=seed
        )
        held += found.mae.low <= np.sqrt(2 / np.pi) <= found.mae.high
    assert 22 <= held <= 30


def test_a_constant_prediction_orders_nothing() -> None:
    measured = np.array([0.1, 0.2, 0.3, 0.4])
    assert spearman(measured, np.full(4, 0.5)) == 0
    assert kendall(measured, np.full(4, 0.5)) == 0
    assert accuracy_figures(measured, np.full(4, 0.5)).spearman.value == 0


@pytest.mark.parametrize("measured", [[0.1, 0.2], [0.5, 0.5, 0.5]], ids=str)
def test_too_little_to_rank_is_refused(measured: list[float]) -> None:
    with pytest.raises(UsageError, match="at least 3 that differ"):
        accuracy_figures(np.array(measured), np.array(measured))


def test_noise_is_the_pooled_deviation_of_repeats() -> None:
    accuracy = np.array([0.5, 0.51, 0.7, 0.8, 0.83, 0.82])
    found = noise_of(accuracy, np.array([0, 0, 1, 2, 2, 2]))
    assert found is not None
    assert found.n_repeated == 2
    squares = 2 * 0.005**2 + ((accuracy[3:] - accuracy[3:].mean()) ** 2).sum()
    assert found.deviation == pytest.approx(np.sqrt(squares / 3), abs=1e-8)
    assert noise_of(accuracy, np.arange(6)) is None
