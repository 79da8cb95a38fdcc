"""What the checks of a table see and say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from edgenas.costs.passport import Passport
from edgenas.costs.rows import Row
from edgenas.spaces.base import SearchSpace

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or worth knowing: how bad, which check, what, and what to do."""

    severity: Severity
    check: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A table as the checks see it; `rows` are those that could be read.

    `space` is None if it cannot be made again from the passport's parameters.
    """

    path: Path
    passport: Passport
    rows: dict[str, Row]
    space: SearchSpace | None
    now: datetime

    @property
    def again(self) -> str:
        """The command that measures the table anew."""
        return self.passport.command(" --force")


Check = Callable[[Subject], Iterator[Finding]]
