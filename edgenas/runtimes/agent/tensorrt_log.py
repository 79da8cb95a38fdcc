"""What TensorRT says: kept for messages, and passed on to the error stream."""

from __future__ import annotations

import sys
from typing import Any

from edgenas.runtimes.agent.frames import RefusalError

_MOST_LINES = 12
"""Of a message; the first errors are the telling ones."""
_MADE: dict[str, Any] = {}  # TensorRT takes one logger a process, whatever it is given later


def log_of(trt: Any) -> Any:
    """Return the logger of this process for the package `trt`; `lines` is what it was told."""
    name = str(getattr(trt, "__name__", id(trt)))
    if name not in _MADE:
        _MADE[name] = _made(trt)
    return _MADE[name]


def refusal(kind: str, what: str, log: Any, more: list[str] | None = None) -> RefusalError:
    """Return the error of a step that failed, with what TensorRT said meanwhile."""
    lines = list(dict.fromkeys([*(more or []), *log.lines]))[:_MOST_LINES]
    return RefusalError(kind, "\n  ".join([f"{what}:", *(lines or ["it logged no reason"])]))


def _made(trt: Any) -> Any:
    severities = trt.ILogger

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # which the bindings ask for by name
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            kept = (severities.INTERNAL_ERROR, severities.ERROR, severities.WARNING)
            if severity in kept:
                self.lines.append(message)
                print(f"[TRT] {message}", file=sys.stderr, flush=True)  # noqa: T201

    return Log()
