"""What became of an architecture that was evaluated; a failure is a value too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgenas.core.architecture import Architecture

Status = Literal["complete", "stopped", "infeasible", "failed"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Objective values of one architecture.

    `complete`: all values are there and all constraints kept. `stopped`: all values are there, but
    the dear ones are of an evaluation that was broken off as not worth its end, `error` says
    where and why; searchers learn from them, no front holds them. `infeasible`: a constraint on a
    cheap objective is broken, dear values may be missing; `violation` > 0 says by how much,
    relative to the limit and summed over the constraints. `failed`: `error` says why.
    """

    arch: Architecture
    status: Status
    values: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    violation: float = 0.0

    @property
    def has_values(self) -> bool:
        """Whether every objective has a value that a searcher can learn from."""
        return self.status in ("complete", "stopped")
