"""What a runtime really runs: the operators that are left after its own optimisation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from edgenas.core.ops import Shape


@dataclass(frozen=True, slots=True, order=True)
class RunOperator:
    """One compute operator as the runtime runs it; shapes are channels first, without the batch.

    `activation` is what the kernel applies on the way out; `layout` is the layout of the data
    that the kernel works on, ``nchwc`` where it is blocked.
    """

    kind: str
    in_shape: Shape
    out_shape: Shape
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: str = ""
    layout: str = ""
    n_macs: int = 0


@dataclass(frozen=True, slots=True)
class Execution:
    """All that runs: compute operators, and moves of data that compute nothing, by name.

    `outside` are operators that the accelerated path (the delegate) did not take.
    """

    compute: tuple[RunOperator, ...]
    moves: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def n_macs(self) -> int:
        """Multiply-accumulates of all compute operators."""
        return sum(operator.n_macs for operator in self.compute)


def joined(parts: Iterable[Execution]) -> Execution:
    """Return the executions of several models as one."""
    parts = tuple(parts)
    return Execution(
        compute=tuple(operator for part in parts for operator in part.compute),
        moves=tuple(move for part in parts for move in part.moves),
        outside=tuple(name for part in parts for name in part.outside),
    )


def differences(left: Execution, right: Execution) -> list[str]:
    """Return how the compute operators of two executions differ, as multisets; empty if not.

    Moves are not compared: a network shares the changes of layout that each piece pays alone.
    """
    counts = Counter(left.compute), Counter(right.compute)
    lines = [f"only in the first, {n} times: {op}" for op, n in (counts[0] - counts[1]).items()]
    lines += [f"only in the second, {n} times: {op}" for op, n in (counts[1] - counts[0]).items()]
    return sorted(lines)
