"""What was seen of one value of a network, and the range that each method reads off it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.lowering.quantisation import Scale

Floats = npt.NDArray[np.float64]
Range = tuple[float, float]

_SHARES = np.linspace(1.0, 0.2, 33)  # of the whole range, for ``mse``
_N_BINS = 4096  # for ``mse``: three in each step of the narrowest range, and more in the others


@dataclass(frozen=True, slots=True)
class Seen:
    """One value on all images: its least and greatest, and samples of it, sorted, shape (n,)."""

    least: float
    greatest: float
    samples: npt.NDArray[np.float32]


def _min_max(one: Seen) -> Range:
    return one.least, one.greatest


def _percentile(one: Seen, percent: float) -> Range:
    """Return what lies between so many percent from below and from above."""
    return _at(one.samples, 1 - percent / 100), _at(one.samples, percent / 100)


def _at(samples: npt.NDArray[np.float32], share: float) -> float:
    """Return the quantile of sorted samples, between two of them by their distance."""
    place = share * (len(samples) - 1)
    below = int(place)
    low, high = samples[below], samples[min(below + 1, len(samples) - 1)]
    return float(low + (place - below) * (float(high) - float(low)))


def _mse(one: Seen) -> Range:
    """Return the part of the whole range whose codes are nearest to the samples, squared."""
    means, counts = _histogram(one.samples)
    spans = [(float(share * one.least), float(share * one.greatest)) for share in _SHARES]
    return min(spans, key=lambda span: _error(means, counts, span))


def _histogram(samples: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Return mean and number of the sorted samples in each bin of one width that holds any."""
    inner = np.linspace(samples[0], samples[-1], _N_BINS + 1, dtype=np.float32)[1:-1]
    ends = np.concatenate([[0], np.searchsorted(samples, inner, side="right"), [len(samples)]])
    sums = np.concatenate([[0.0], np.cumsum(samples, dtype=np.float64)])[ends]
    counts = np.diff(ends)
    held = counts > 0
    return np.diff(sums)[held] / counts[held], counts[held].astype(np.float64)


def _error(means: Floats, counts: Floats, span: Range) -> float:
    """Return the sum of squared distances of values, so often each, from their codes."""
    scale = Scale.of(span, signed=False)
    values = (scale.encode(means) - scale.zero_point) * scale.step
    return float(np.square(values - means) @ counts)


METHODS: Mapping[str, Callable[[Seen], Range]] = {
    "min_max": _min_max,
    "mse": _mse,
    "percentile_99.99": lambda one: _percentile(one, 99.99),
    "percentile_99.9": lambda one: _percentile(one, 99.9),
}
"""By name, what makes a range of what was seen of a value."""
