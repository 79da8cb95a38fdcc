"""Figures as people read them."""

from __future__ import annotations

import math


def small(value: float) -> str:
    """Return a number with three decimals, below 0.1 with three significant digits.

    Networks of a few hundredths of a millisecond differ in what three decimals leave out.
    """
    size = abs(value)
    if not 0 < size < 0.1:
        return f"{value:.3f}"
    return f"{value:.{2 - math.floor(math.log10(size))}f}"
