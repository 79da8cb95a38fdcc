"""Candidates that take their process down with them: noticed when the next process meets them.

A system that runs out of memory kills the process at once (on Linux by SIGKILL), so that nothing
can be caught. What is left is a note that was made before, and never taken away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgenas.core.errors import FatalCandidateError
from edgenas.core.files import write_json
from edgenas.hardware.processes import this_host
from edgenas.hardware.signals import ending_by_signals

MAX_DEATHS = 3
"""That many processes may end at the same place before the candidate is blamed."""


@contextmanager
def attempt(path: Path, checkpoint: Path) -> Iterator[None]:
    """Note in the file at `path` that a training goes on, and take the note away when it ends.

    An end by SIGTERM is one of those: a shutdown or a batch system's limit is not the candidate's
    doing. Nor is what happened before the machine was started anew.

    Args:
        path: the note of one candidate.
        checkpoint: what the training writes as it gets on: processes that ended after it was
            last written, and not before, are counted.

    Raises:
        FatalCandidateError: `MAX_DEATHS` processes have ended without a word and without progress.
    """
    written = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    place = {"host": this_host(), "checkpoint": written}
    deaths = _deaths(path, place)
    if deaths >= MAX_DEATHS:
        path.unlink(missing_ok=True)
        raise FatalCandidateError(
            f"{deaths} processes in a row were killed while they trained it and got no further: "
            "by the system, as it was out of memory, or by hand"
        )
    write_json(path, {"place": place, "deaths": deaths + 1})
    try:
        with ending_by_signals():
            yield
    finally:
        path.unlink(missing_ok=True)


def _deaths(path: Path, place: dict[str, object]) -> int:
    """Return how many processes left a note of that place."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return int(note["deaths"]) if note["place"] == place else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0
