"""Who works on a study: processes that tell each other from dead ones."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from edgenas.hardware.processes import started, this_host

BEAT_S = 30.0
"""How often a process shows that it still evaluates."""
STALE_S = 10 * BEAT_S
"""After so long without a beat an evaluation is taken over, also from another host."""
_PIDS = Path("/proc/self/ns/pid")
_AT_WORK: set[str] = set()
"""Tokens of this process's open studies; what bears another one of its was not closed well."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One open study of one process; `host` also tells containers of one machine apart."""

    host: str
    pid: int
    started: str
    token: str

    @classmethod
    def new(cls) -> Worker:
        """Return a worker of this process, at work until `leave`."""
        own = psutil.Process()
        worker = cls(_host(), own.pid, started(own), uuid.uuid4().hex[:12])
        _AT_WORK.add(worker.token)
        return worker

    @classmethod
    def of(cls, attrs: Mapping[str, Any]) -> Worker:
        """Return the worker that wrote `attrs` (see `attrs`)."""
        return cls(
            str(attrs["host"]), int(attrs["pid"]), str(attrs["started"]), str(attrs["token"])
        )

    def attrs(self) -> dict[str, Any]:
        """Return the worker as JSON values."""
        return asdict(self)

    def leave(self) -> None:
        """Be at work no longer."""
        _AT_WORK.discard(self.token)

    def is_gone(self) -> bool:
        """Whether its process has surely ended; of another host's that cannot be told."""
        if self.host != _host():
            return False
        try:
            process = psutil.Process(self.pid)
            if started(process) != self.started or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.Error:
            return True
        return self.pid == psutil.Process().pid and self.token not in _AT_WORK


@dataclass(slots=True)
class Beats:
    """When each running trial's beat was last seen to change, on this process's own clock.

    Clocks of hosts differ, so nobody's time is compared with another's.
    """

    _seen: dict[int, tuple[int, float]] = field(default_factory=dict)

    def is_stale(self, trial: int, beat: int) -> bool:
        """Note the beat of a trial; whether it has been the same for too long."""
        now = time.monotonic()
        last, since = self._seen.get(trial, (-1, now))
        if last != beat:
            self._seen[trial] = (beat, now)
            return False
        return now - since > STALE_S


def _host() -> str:
    # Numbers of processes mean something inside one namespace only.
    namespace = str(_PIDS.readlink()) if _PIDS.is_symlink() else ""
    return f"{this_host()} {namespace}"
