"""How long work tells its caller how far it is; the bars are drawn elsewhere."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on; must return quickly."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say that `done` of `total` parts of `what` are finished."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
