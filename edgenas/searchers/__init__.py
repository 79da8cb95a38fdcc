"""Ask/tell search algorithms; they know spaces and objectives, no study and no device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from edgenas.core.errors import UsageError, choices
from edgenas.core.registry import Registry
from edgenas.searchers.base import Searcher, SearchProblem
from edgenas.searchers.dpp_net import DppNetSearcher
from edgenas.searchers.lemonade import LemonadeSearcher
from edgenas.searchers.local_search import LocalSearchSearcher
from edgenas.searchers.mnasnet import MnasNetSearcher
from edgenas.searchers.monas import MonasSearcher
from edgenas.searchers.netadapt import NetAdaptSearcher
from edgenas.searchers.nsga2 import Nsga2Searcher, NsgaNetSearcher
from edgenas.searchers.pnas import PnasSearcher
from edgenas.searchers.predictor import PredictorSearcher
from edgenas.searchers.probabilities import ProbabilitiesSearcher
from edgenas.searchers.random import RandomSearcher
from edgenas.searchers.regularized_evolution import RegularizedEvolutionSearcher
from edgenas.searchers.surrogate import SurrogateSearcher

SEARCHERS: Registry[type[Searcher]] = Registry("searcher")
"""Searchers by name."""

_ALL: tuple[type[Searcher], ...] = (
    RandomSearcher,
    LocalSearchSearcher,
    RegularizedEvolutionSearcher,
    Nsga2Searcher,
    NsgaNetSearcher,
    LemonadeSearcher,
    NetAdaptSearcher,
    MonasSearcher,
    MnasNetSearcher,
    PnasSearcher,
    DppNetSearcher,
    PredictorSearcher,
    SurrogateSearcher,
    ProbabilitiesSearcher,
)
for _searcher in _ALL:
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
    "DppNetSearcher",
    "LemonadeSearcher",
    "LocalSearchSearcher",
    "MnasNetSearcher",
    "MonasSearcher",
    "NetAdaptSearcher",
    "Nsga2Searcher",
    "NsgaNetSearcher",
    "PnasSearcher",
    "PredictorSearcher",
    "ProbabilitiesSearcher",
    "RandomSearcher",
    "RegularizedEvolutionSearcher",
    "SearchProblem",
    "Searcher",
    "SurrogateSearcher",
    "make_searcher",
]
