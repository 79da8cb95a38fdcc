"""What became of an architecture that was evaluated; a failure is a value too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgenas.core.architecture import Architecture

Status = Literal["complete", "infeasible", "failed"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Objective values of one architecture.

    `complete`: all values are there and all constraints kept. `infeasible`: a constraint on a cheap
    objective is broken, dear values may be missing; `violation` > 0 says by how much, relative
    to the limit and summed over the constraints. `failed`: `error` says why.
    """

    arch: Architecture
    status: Status
    values: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    violation: float = 0.0
