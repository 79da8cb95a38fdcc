"""Figures as people read them."""

from __future__ import annotations

import math


def small(value: float) -> str:
    """Return a number with three decimals, below 0.1 with three significant digits.

    Networks of a few hundredths of a millisecond differ in what three decimals leave out.
    """
    if not 0 < abs(value) < 0.1:
        return f"{value:.3f}"
    rounded = float(f"{value:.2e}")  # 0.09996 becomes 0.1, which has fewer decimals
    return f"{rounded:.{2 - math.floor(math.log10(abs(rounded)))}f}"
