"""Early stopping by learning curves: what a finished curve would come to, by those before it.

Baker et al. 2018, arXiv:1705.10823: a regression from the first values of a curve to its last, and
a candidate ends when it is improbable that it beats what is there. Theirs has one objective; here
a candidate ends when even a favourable end of its curve would be dominated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm
from sklearn.linear_model import BayesianRidge

from edgenas.core.errors import UsageError
from edgenas.evaluators.stopping.base import Curve, Floats, StoppingRule, at

_LEAST_ERROR = 1e-3
"""No forecast is taken to be better than this fraction, however well a few curves agree."""


class CurveExtrapolation(StoppingRule):
    """Looks after every epoch.

    Args:
        confidence: of the forecast's one-sided upper end, in (0.5, 1).
        n_least: finished candidates before the first forecast; until then all are trained.
    """

    def __init__(self, confidence: float = 0.95, n_least: int = 8) -> None:
        if not 0.5 < confidence < 1 or n_least < 3:
            raise UsageError(
                "confidence lies in (0.5, 1) and n_least is at least 3, got "
                f"{confidence} and {n_least}"
            )
        self.confidence, self.n_least = confidence, n_least

    def looks(self, n_epochs: int) -> tuple[int, ...]:
        """Return every epoch but the last."""
        return tuple(range(1, n_epochs))

    def judge(
        self, known: Sequence[Curve], asked: Sequence[Curve], epoch: int, n_epochs: int
    ) -> list[str | None]:
        """Return whose curve can hardly end well (see `StoppingRule.judge`)."""
        epochs = range(1, epoch + 1)
        finished = [
            curve
            for curve in known
            if n_epochs in curve.accuracies and all(e in curve.accuracies for e in epochs)
        ]
        if len(finished) < self.n_least or not asked:
            return [None] * len(asked)
        upper = self._upper_ends(finished, asked, epoch, n_epochs)
        ends = at(finished, n_epochs)
        verdicts: list[str | None] = []
        for curve, accuracy in zip(asked, upper, strict=True):
            point = np.array([-accuracy, *curve.costs])
            beaten = ((ends <= point).all(axis=1) & (ends < point).any(axis=1)).any()
            verdicts.append(
                f"its accuracy would end below {accuracy:.4f} with {self.confidence:.0%} "
                "confidence, which is dominated"
                if beaten
                else None
            )
        return verdicts

    def _upper_ends(
        self, finished: Sequence[Curve], asked: Sequence[Curve], epoch: int, n_epochs: int
    ) -> Floats:
        """Return the upper ends of the last accuracies, shape (n_asked,)."""
        first, last = _starts(finished, epoch), np.array([c.accuracies[n_epochs] for c in finished])
        means, errors = (
            BayesianRidge().fit(first, last).predict(_starts(asked, epoch), return_std=True)
        )
        errors = np.maximum(errors, _LEAST_ERROR)
        return np.asarray(means + norm.ppf(self.confidence) * errors, dtype=np.float64)


def _starts(curves: Sequence[Curve], epoch: int) -> Floats:
    """Return the accuracies after every epoch until `epoch`, shape (n, epoch)."""
    return np.array([[c.accuracies[e] for e in range(1, epoch + 1)] for c in curves])
