"""How well predicted costs meet measured ones: MAPE, shares within a margin, rank correlation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from edgenas.costs.passport import ErrorReport

Floats = npt.NDArray[np.float64]


def error_report(measured: Floats, predicted: Floats) -> ErrorReport:
    """Compare two arrays of shape (n,), n >= 2; errors are relative to `measured`."""
    relative = (predicted - measured) / measured
    margin = np.abs(relative)
    return ErrorReport(
        n_networks=len(measured),
        mape=round(float(margin.mean()), 6),
        within_5_percent=round(float((margin <= 0.05).mean()), 6),
        within_10_percent=round(float((margin <= 0.10).mean()), 6),
        spearman=round(float(spearmanr(measured, predicted).statistic), 6),
        bias=round(float(relative.mean()), 6),
    )
