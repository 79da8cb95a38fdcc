"""What costs can be of: each kind, its unit, the objective of its name, how it is measured."""

from __future__ import annotations

from typing import Literal, get_args

from edgenas.core.errors import UsageError, choices

Kind = Literal["latency", "energy", "load", "cold_start", "peak_memory", "sustained_p95"]
Unit = Literal["ms", "mJ", "MiB"]
Source = Literal["operators", "footprint", "energy", "endurance"]

KINDS: tuple[Kind, ...] = get_args(Kind)
UNITS: dict[Kind, Unit] = {
    "latency": "ms",
    "energy": "mJ",
    "load": "ms",
    "cold_start": "ms",
    "peak_memory": "MiB",
    "sustained_p95": "ms",
}
SOURCES: dict[Kind, Source] = {
    "latency": "operators",
    "energy": "energy",
    "load": "footprint",
    "cold_start": "footprint",
    "peak_memory": "footprint",
    "sustained_p95": "endurance",
}
"""The measurement that tells a kind; what shares one is measured at once."""
ON_LATENCY: frozenset[Kind] = frozenset({"energy", "cold_start", "sustained_p95"})
"""Kinds whose operators are first thought to cost in proportion to their latencies."""


def column_of(kind: Kind) -> str:
    """Return the name of a cost with its unit: of an objective, and of a table's column."""
    return f"{kind}_{UNITS[kind].lower()}"


KIND_OF: dict[str, Kind] = {column_of(kind): kind for kind in KINDS}
"""Kinds by the objective that they are the costs of."""


def kind_named(name: str) -> Kind:
    """Return the kind called `name`.

    Raises:
        UsageError: there is none.
    """
    for kind in KINDS:
        if kind == name:
            return kind
    raise UsageError(f"there are no costs of the kind {name!r}; {choices(name, KINDS)}")


def profile_command(
    space_options: str, runtime: str, kind: Kind, *, precision: str, more: str = ""
) -> str:
    """Return the command that makes a table; `space_options` ask for its space."""
    option = "" if kind == "latency" else f" --kind {kind}"
    option += "" if precision == "float32" else f" --precision {precision}"
    return f"edgenas profile {space_options} --runtime {runtime}{option}{more}"
