"""Pareto arithmetic on plain arrays: shape (n, n_objectives), every column minimised."""

from edgenas.pareto.dominance import (
    constrained_ranks,
    crowding_distances,
    non_dominated,
    ordered,
    ranks,
)
from edgenas.pareto.hypervolume import hypervolume, hypervolume_history
from edgenas.pareto.knee import knee

__all__ = [
    "constrained_ranks",
    "crowding_distances",
    "hypervolume",
    "hypervolume_history",
    "knee",
    "non_dominated",
    "ordered",
    "ranks",
]
