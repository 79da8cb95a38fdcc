"""Ask/tell search algorithms; they know spaces and objectives, no study and no device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from edgenas.core.errors import UsageError, choices
from edgenas.core.registry import Registry
from edgenas.searchers.base import Searcher, SearchProblem
from edgenas.searchers.nsga2 import Nsga2Searcher
from edgenas.searchers.predictor import PredictorSearcher
from edgenas.searchers.random import RandomSearcher

SEARCHERS: Registry[type[Searcher]] = Registry("searcher")
"""Searchers by name."""

for _searcher in (RandomSearcher, Nsga2Searcher, PredictorSearcher):
    SEARCHERS.add(_searcher.name)(_searcher)


def make_searcher(
    name: str, problem: SearchProblem, *, seed: int = 0, settings: Mapping[str, Any] | None = None
) -> Searcher:
    """Return a fresh searcher.

    Args:
        name: registered in `SEARCHERS`.
        problem: what is searched.
        seed: of every random choice.
        settings: fields of the searcher's settings that differ from their defaults.

    Raises:
        RegistryError: no searcher has that name.
        UsageError: it has no such setting, or the setting's value is not allowed.
    """
    kind = SEARCHERS.get(name)
    known = {field.name for field in fields(kind.Settings)}
    for key in settings or {}:
        if key not in known:
            raise UsageError(f"searcher {name} has no setting {key!r}; {choices(key, known)}")
    return kind(problem, seed=seed, settings=kind.Settings(**(settings or {})))


__all__ = [
    "SEARCHERS",
    "Nsga2Searcher",
    "PredictorSearcher",
    "RandomSearcher",
    "SearchProblem",
    "Searcher",
    "make_searcher",
]
