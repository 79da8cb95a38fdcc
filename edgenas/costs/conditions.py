"""Under which conditions costs are asked for, and how a table's own may differ from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from edgenas.core.errors import UsageError, choices

ASPECTS = (
    "space",
    "device",
    "runtime",
    "runtime_version",
    "precision",
    "threads",
    "delegate",
    "settings",
)
"""What a table can be of something else in; the names that `accept` takes."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Device, engine and settings that costs are wanted for; None: any.

    `match_key` is the device's, see `edgenas.hardware.fingerprint`; `settings` are the engine's
    that are none of the others, by name: affinity, providers, the accelerator that computes.
    """

    match_key: str
    runtime: str
    precision: str
    runtime_version: str | None = None
    threads: int | None = None
    delegate: str | None = None
    settings: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One aspect in which a table is not what was asked for; `what` is the aspect in words."""

    aspect: str
    what: str
    asked: str
    found: str

    def __str__(self) -> str:
        return f"{self.what} is {self.found}, asked: {self.asked}"


def setting_text(value: object) -> str:
    """Return an engine's setting in words."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def check_aspects(names: Collection[str]) -> frozenset[str]:
    """Return `names` as a set.

    Raises:
        UsageError: one is no aspect.
    """
    for name in names:
        if name not in ASPECTS:
            raise UsageError(f"a table cannot differ in {name!r}; {choices(name, ASPECTS)}")
    return frozenset(names)
