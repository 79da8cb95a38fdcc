"""The Gaussian process over groups of features."""

import numpy as np
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from edgenas.searchers.surrogates.process import (
    GaussianProcess,
    _distances,
    _loss,
    most_probable,
    prior_means,
)


def groups(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.random((n, 3)), rng.normal(size=(n, 2))]


def target(blocks: list[np.ndarray]) -> np.ndarray:
    a, b = blocks
    return np.sin(3 * a[:, 0]) + a[:, 1] * b[:, 0] + 0.3 * b[:, 1]


def test_the_loss_has_the_gradient_of_finite_differences() -> None:
    blocks = groups(25)
    values = target(blocks)
    distances = _distances(blocks, blocks)
    numbers = prior_means(2) + np.random.default_rng(1).normal(size=8) * 0.3
    _, gradient = _loss(numbers, distances, values)
    found = approx_fprime(numbers, lambda x: _loss(x, distances, values)[0], 1e-6)
    np.testing.assert_allclose(gradient, found, rtol=2e-4, atol=2e-4)


def test_predictions_are_scikit_learn_s_for_the_same_covariance() -> None:
    blocks, asked = groups(30), groups(12, seed=9)
    values = target(blocks)
    numbers = prior_means(2)
    v1, v2, l1, l2, v, m1, m2, noise = np.exp(numbers)
    scale = values.std()

    def rbf(rate: float) -> float:
        return float(1 / np.sqrt(2 * rate))

    # Infinite lengths switch the other group's features off.
    off = 1e8
    kernel = (
        ConstantKernel(v1) * RBF([rbf(l1)] * 3 + [off] * 2)
        + ConstantKernel(v2) * RBF([off] * 3 + [rbf(l2)] * 2)
        + ConstantKernel(v) * RBF([rbf(m1)] * 3 + [rbf(m2)] * 2)
    )
    theirs = GaussianProcessRegressor(kernel, alpha=noise + 1e-6, optimizer=None)
    theirs.fit(np.hstack(blocks), (values - values.mean()) / scale)
    mean, std = theirs.predict(np.hstack(asked), return_std=True)
    ours = GaussianProcess.fit(blocks, values, numbers)(asked)
    np.testing.assert_allclose(ours.mean, values.mean() + scale * mean, atol=1e-6)
    np.testing.assert_allclose(ours.std, scale * np.sqrt(std**2 + noise), atol=1e-6)


def test_fitted_numbers_predict_better_and_know_how_well() -> None:
    blocks, asked = groups(80), groups(200, seed=5)
    rng = np.random.default_rng(2)
    values, truth = target(blocks) + 0.05 * rng.normal(size=80), target(asked)

    def error(numbers: np.ndarray) -> float:
        found = GaussianProcess.fit(blocks, values, numbers)(asked)
        return float(np.mean((found.mean - truth) ** 2))

    fitted = most_probable(blocks, values)
    assert error(fitted) < 0.5 * error(prior_means(2))
    found = GaussianProcess.fit(blocks, values, fitted)(asked)
    noisy = truth + 0.05 * rng.normal(size=200)
    inside = np.abs(noisy - found.mean) < 1.645 * found.std
    assert 0.8 < inside.mean() <= 1.0


def test_equal_values_are_expected_everywhere() -> None:
    blocks = groups(6)
    found = GaussianProcess.fit(blocks, np.full(6, 0.7), prior_means(2))(groups(3, seed=1))
    np.testing.assert_allclose(found.mean, 0.7)
