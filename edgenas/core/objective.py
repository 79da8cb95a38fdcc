"""Objectives and constraints on them, and how a user writes a constraint."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

from edgenas.core.errors import UsageError, choices

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, slots=True)
class Objective:
    """A quantity of an architecture, its unit, and which way is better.

    `bound` is the worst value worth considering (the reference of the hypervolume) if there is one.
    """

    name: str
    unit: str
    direction: Direction
    bound: float | None = None

    def minimised(self, value: float) -> float:
        """Return `value` turned so that less is better."""
        return value if self.direction == "minimize" else -value


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("accuracy", "fraction", "maximize", 0.0),
        Objective("latency_ms", "ms", "minimize"),
        Objective("energy_mj", "mJ", "minimize"),
        Objective("load_ms", "ms", "minimize"),
        Objective("cold_start_ms", "ms", "minimize"),
        Objective("peak_memory_mib", "MiB", "minimize"),
        Objective("sustained_p95_ms", "ms", "minimize"),
        Objective("n_macs", "MACs", "minimize"),
        Objective("n_params", "parameters", "minimize"),
        Objective("peak_activation_kib", "KiB", "minimize"),
        Objective("weights_kib", "KiB", "minimize"),
    )
}
"""Objectives that edgenas knows, by name."""

OF_DEVICES = (
    "latency_ms",
    "energy_mj",
    "load_ms",
    "cold_start_ms",
    "peak_memory_mib",
    "sustained_p95_ms",
)
"""Those that differ from device to device."""

_LABEL = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_CONSTRAINT = re.compile(
    rf"\s*(?P<name>[a-z_0-9]+(?:\.{_LABEL})?)\s*(?P<sign><=|>=)\s*(?P<limit>[0-9.eE+-]+)"
    r"\s*(?:@\s*(?P<confidence>[0-9.]+)\s*(?P<percent>%?))?\s*"
)


def objective(name: str) -> Objective:
    """Return the objective called `name`.

    ``latency_ms.pixel8`` is the latency on another device, under the label ``pixel8``.

    Raises:
        UsageError: there is none.
    """
    base, dot, label = name.partition(".")
    if base not in OBJECTIVES:
        raise UsageError(f"unknown objective {name!r}; {choices(base, OBJECTIVES)}")
    if not dot:
        return OBJECTIVES[base]
    if base not in OF_DEVICES:
        raise UsageError(
            f"objective {name!r}: {base} is the same on every device; write it without "
            f"{dot + label!r}"
        )
    if not is_label(label):
        raise UsageError(f"objective {name!r}: {label!r} is no label; {LABELS}")
    return replace(OBJECTIVES[base], name=name)


LABELS = "a label is made of letters, digits, '-' and '_', and begins with a letter or digit"


def is_label(text: str) -> bool:
    """Return whether another device may be called so."""
    return re.fullmatch(_LABEL, text, re.ASCII) is not None


@dataclass(frozen=True, slots=True)
class Constraint:
    """`name` must be at most (at least, for maximised ones) `limit`.

    With a `confidence` in (0, 1) the upper end of the prediction's interval of that one-sided
    confidence must keep the limit, not the predicted value.
    """

    name: str
    limit: float
    confidence: float | None = None

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read e.g. ``latency_ms <= 20 @ 90%`` or ``accuracy>=0.9``.

        Raises:
            UsageError: the text is not a constraint, or its sign fights the objective.
        """
        match = _CONSTRAINT.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            limit = float(match["limit"])
            if not isfinite(limit):
                raise ValueError
            confidence = float(match["confidence"]) if match["confidence"] else None
        except ValueError:
            raise UsageError(
                f"not a constraint: {text!r}; write e.g. 'latency_ms <= 2', "
                "'latency_ms <= 2 @ 90%' or 'accuracy >= 0.9'"
            ) from None
        if confidence is not None and match["percent"]:
            confidence /= 100
        wanted = objective(match["name"])
        if (match["sign"] == "<=") != (wanted.direction == "minimize"):
            right = "<=" if wanted.direction == "minimize" else ">="
            raise UsageError(f"{wanted.name} is to {wanted.direction}: write {right} in {text!r}")
        if confidence is not None and not 0.5 <= confidence < 1:
            raise UsageError(
                f"a confidence lies in [50%, 100%), not {match['confidence']} ({text})"
            )
        return cls(wanted.name, limit, confidence)

    def violation(self, value: float) -> float:
        """Return by how much `value` breaks the limit; at most 0 where it is kept."""
        wanted = objective(self.name)
        return wanted.minimised(value) - wanted.minimised(self.limit)

    def __str__(self) -> str:
        sign = "<=" if objective(self.name).direction == "minimize" else ">="
        text = f"{self.name} {sign} {self.limit:.12g}"
        return text if self.confidence is None else f"{text} @ {100 * self.confidence:.12g}%"
