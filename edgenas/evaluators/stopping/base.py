"""Learning curves of candidates, and the contract of what judges them half-way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """What is known of one candidate.

    Attributes:
        accuracies: on the validation part, a fraction, by the epoch after which it was taken.
        costs: values of the other objectives, minimised, known before any training.
    """

    accuracies: Mapping[int, float]
    costs: tuple[float, ...] = ()

    def point(self, epoch: int) -> tuple[float, ...]:
        """Return the objectives after that epoch, minimised: accuracy first, then the costs."""
        return (-self.accuracies[epoch], *self.costs)


class StoppingRule(ABC):
    """Looks at candidates after some epochs and says which need not be trained to the end."""

    @abstractmethod
    def looks(self, n_epochs: int) -> tuple[int, ...]:
        """Return after which epochs, ascending and less than `n_epochs`, the rule is asked."""

    @abstractmethod
    def judge(
        self, known: Sequence[Curve], asked: Sequence[Curve], epoch: int, n_epochs: int
    ) -> list[str | None]:
        """Return for each of `asked` why its training ends here, None if it goes on.

        Args:
            known: all candidates before, in the order in which they were evaluated, stopped ones
                too.
            asked: candidates that are trained together and stand after `epoch`.
            epoch: one of `looks`.
            n_epochs: epochs of a whole training.
        """


def at(curves: Sequence[Curve], epoch: int) -> Floats:
    """Return the objectives of those curves that reached `epoch`, minimised, shape (n, n_goals)."""
    points = [curve.point(epoch) for curve in curves if epoch in curve.accuracies]
    return np.array(points, dtype=np.float64).reshape(len(points), -1)
