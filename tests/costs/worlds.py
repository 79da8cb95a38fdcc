"""Made-up networks whose costs are known, and machines that drift."""

import numpy as np
import numpy.typing as npt

from edgenas.costs.drift import DriftParts

Floats = npt.NDArray[np.float64]


def world(
    seed: int, n: int = 200, *, noise: float = 0.01, drift: float = 0.0
) -> tuple[Floats, Floats, Floats, Floats]:
    """Returns counts, times, moments and true costs of networks with 8 layers of 5 options."""
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.5, 3, 40)
    counts = np.zeros((n, 40))
    for layer in range(8):
        counts[np.arange(n), 5 * layer + rng.integers(0, 5, n)] = 1
    at = np.arange(n, dtype=float)
    level = drift * (np.sin(at / 25) + (at > n / 2))
    times = (2 + counts @ cost) * (1 + level) * (1 + noise * rng.standard_t(5, n))
    return counts, times, at, cost


def wander(parts: DriftParts, n: int, rng: np.random.Generator) -> Floats:
    """Returns the level of a machine at moments 0, 1, ..., n - 1."""
    level = np.zeros(n)
    for std, length in ((parts.fast, parts.fast_length), (parts.slow, parts.slow_length)):
        keep = np.exp(-1 / length)
        state = std * rng.normal()
        for k in range(n):
            level[k] += state
            state = keep * state + std * np.sqrt(1 - keep**2) * rng.normal()
    return level
