"""The contract of everything that gives architectures objective values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from edgenas.core.architecture import Architecture
from edgenas.core.errors import SpaceError
from edgenas.core.evaluation import Evaluation
from edgenas.spaces.base import SearchSpace


class Evaluator(ABC):
    """Objective values of architectures."""

    @abstractmethod
    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """Return one evaluation for each of `archs`, in their order.

        What goes wrong with one architecture is its evaluation, status ``failed``, and stops no
        other. What is wrong with all of them, such as another space, is raised.
        """

    def recall(self, evaluations: Sequence[Evaluation]) -> None:
        """Take in what other processes of the same search have evaluated, in its order.

        For evaluators whose answers depend on what came before; others have no use for it.
        """
        del evaluations


def check_space(archs: Sequence[Architecture], space: SearchSpace) -> None:
    """Refuse architectures that are not of `space`.

    Raises:
        SpaceError: the message has the names of the other spaces.
    """
    foreign = sorted({arch.space for arch in archs} - {space.name})
    if foreign:
        raise SpaceError(f"architectures of {', '.join(foreign)} given to {space.name}")
