"""What a run calls its tables: the runtime, and the kind where that is not latency."""

from __future__ import annotations

from dataclasses import dataclass

from edgenas.costs.kinds import Kind, kind_named


@dataclass(frozen=True, slots=True)
class TableName:
    """A table of a run; as text ``onnxruntime``, or ``onnxruntime.energy`` for another kind."""

    runtime: str
    kind: Kind = "latency"

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Return the table that `str` wrote.

        Raises:
            UsageError: there is no such kind.
        """
        runtime, dot, kind = text.partition(".")
        return cls(runtime, kind_named(kind) if dot else "latency")

    def __str__(self) -> str:
        return self.runtime if self.kind == "latency" else f"{self.runtime}.{self.kind}"
