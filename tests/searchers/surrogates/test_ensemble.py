"""The ensemble of perceptrons."""

import numpy as np

from edgenas.searchers.surrogates.ensemble import Ensemble


def truth(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows[:, 0] + np.sin(4 * rows[:, 1]))


def test_learns_and_says_how_wrong_it_is() -> None:
    rng = np.random.default_rng(0)
    known, asked = rng.random((120, 2)), rng.random((200, 2))
    found = Ensemble.fit([known], truth(known), seed=0)([asked])
    away = found.mean - truth(asked)
    assert np.corrcoef(found.mean, truth(asked))[0, 1] > 0.95
    assert 0.3 < np.sqrt(np.mean(away**2)) / found.std.mean() < 2.0


def test_is_less_sure_where_nothing_is_known() -> None:
    rng = np.random.default_rng(0)
    known = rng.random((60, 2))
    model = Ensemble.fit([known], truth(known), seed=0)
    assert model([known + 5.0]).std.mean() > model([known]).std.mean()


def test_one_seed_predicts_the_same() -> None:
    rows = np.random.default_rng(0).random((30, 3))
    one, two = (Ensemble.fit([rows], rows[:, 0], seed=4)([rows]).mean for _ in range(2))
    assert one.tolist() == two.tolist()


def test_few_and_equal_values_are_no_error() -> None:
    rows = np.eye(4)
    np.testing.assert_allclose(
        Ensemble.fit([rows], np.full(4, 0.7), seed=0)([rows]).mean, 0.7, atol=1e-3
    )
