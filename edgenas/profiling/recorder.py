"""The journals of tables: a head that says what one is of, then a line for each measurement."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from typing import Any, Self

from edgenas.core.errors import StorageError
from edgenas.core.files import Journal
from edgenas.hardware.throttling import Pause, ThermalState
from edgenas.profiling.workload import ProfileSettings, Workload
from edgenas.runtimes.base import Bench


class JournalRecorder(ABC):
    """Reads what a journal holds and appends to it; nothing is in memory that is not on the disk.

    Attributes:
        head: the identity of the measurement, the engine, what a subclass decides once.
        visits: finished visits by their number in the plan.
        pauses: times that the device was found throttled.
        states: what its sensors showed at the first and at the last look.
        duration_s: measuring time up to the last record, without what passed between two calls.
    """

    def __init__(self, journal: Journal, identity: dict[str, Any]) -> None:
        self.journal, self.identity = journal, identity
        self.visits: dict[int, dict[str, Any]] = {}
        self.pauses: list[dict[str, Any]] = []
        self.states: list[dict[str, Any]] = []
        self.duration_s = 0.0
        self._began = time.monotonic()
        records = journal.read()
        if not records:
            self.head: dict[str, Any] = {"identity": identity, "engine": None}
            return
        self.head = {"engine": None, **records[0]}
        found = self.head.get("identity")
        if found != identity:
            known = found if isinstance(found, dict) else {}
            wrong = [key for key in identity if known.get(key) != identity[key]]
            raise StorageError(
                f"{journal.path} was begun with another {', '.join(wrong)}; finish it with the "
                "arguments that it was begun with, or start anew with 'edgenas profile --force'"
            )
        try:
            for record in records[1:]:
                self._take(record)
            times_s = [float(record["at_s"]) for record in records[1:]]
            if not all(math.isfinite(at_s) and at_s >= 0 for at_s in times_s):
                raise ValueError("a record has no time")
            self.duration_s = max(times_s, default=0.0)
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"{journal.path} holds a record that is none of a measurement ({error!r}); start "
                "anew with 'edgenas profile --force'"
            ) from error
        self._began -= self.duration_s

    @classmethod
    def forced(
        cls, journal: Journal, identity: dict[str, Any], version: str | None, **more: Any
    ) -> Self:
        """Return a recorder that begins anew, or goes on with what was begun anew like this.

        So the same command goes on after it was cut off. Any other journal that is there is
        deleted: one of other arguments or another engine, one that is broken, and one that was
        begun where no table was there.

        Args:
            journal: see the class.
            identity: see the class.
            version: the engine's; None: it is not known.
            more: what a subclass takes.
        """
        try:
            found = cls(journal, identity, **more)
        except StorageError:
            pass
        else:
            if found.head.get("forced") and version in (None, found.head["engine"]["version"]):
                return found
        journal.path.unlink(missing_ok=True)
        found = cls(journal, identity, **more)
        found.head["forced"] = True
        return found

    def engine(self, bench: Bench) -> None:
        """Note the engine; a journal holds the samples of one engine version only.

        Raises:
            StorageError: the engine was updated since the journal was begun.
        """
        engine = {"version": bench.info.engine_version, "affinity": list(bench.info.affinity)}
        if self.head["engine"] is None:
            self.head["engine"] = engine
            self._began = time.monotonic()
            self.journal.append(self.head)
        elif self.head["engine"]["version"] != engine["version"]:
            raise StorageError(
                f"{self.journal.path} was begun with engine {self.head['engine']['version']}, "
                f"now it is {engine['version']}; start anew with 'edgenas profile --force'"
            )

    def pause(self, pause: Pause) -> None:
        """Append that the device was found throttled and waited for."""
        self._append({"pause": {"reason": "; ".join(pause.reasons), "duration_s": pause.waited_s}})

    def state(self, state: ThermalState) -> None:
        """Append what the device's sensors show."""
        clocks = {
            f"cpu{clock.cpus}": round(clock.current_khz / 1000, 3)
            for clock in state.clocks
            if clock.current_khz
        }
        governors = sorted({clock.governor for clock in state.clocks if clock.governor})
        self._append(
            {
                "state": {
                    "temperatures_c": dict(state.temperatures_c),
                    "clocks_mhz": clocks,
                    "governor": ", ".join(governors) or None,
                }
            }
        )

    def _append(self, *records: dict[str, Any]) -> None:
        now_s = max(self.now_s(), self.duration_s)
        self._write(*({**record, "at_s": now_s} for record in records))

    def now_s(self) -> float:
        """Return the measuring time up to now, seconds."""
        return round(time.monotonic() - self._began, 3)

    def _write(self, *records: dict[str, Any]) -> None:
        self.journal.append(*records)
        for record in records:
            self._take(record)
        self.duration_s = records[-1]["at_s"]

    def _take(self, record: dict[str, Any]) -> None:
        if "pause" in record:
            self.pauses.append({**record["pause"], "at_s": record["at_s"]})
        elif "state" in record:
            self.states.append(record["state"])
        else:
            self.check(record)
            self.visits[int(record["k"])] = {**record, "key": str(record["key"])}

    @abstractmethod
    def check(self, visit: dict[str, Any]) -> None:
        """Refuse what is no visit.

        Raises:
            KeyError, TypeError, ValueError: something is missing or cannot be.
        """


class Recorder(JournalRecorder):
    """Records timed runs; its head has the pools too."""

    def pools(
        self, workload: Workload, settings: ProfileSettings, limit_bytes: float
    ) -> list[list[str]]:
        """Return the pools, decided once: memory differs when a run is resumed."""
        if self.head.get("pools") is None:
            self.head["pools"] = workload.pools(settings, limit_bytes)
        pools: list[list[str]] = self.head["pools"]
        return pools

    def add(self, visits: list[dict[str, Any]]) -> None:
        """Append finished visits durably.

        Their `at_s`, since the start of the process, becomes the time since the start of all.
        """
        now_s = self.now_s()
        last_s = visits[-1]["at_s"]
        for visit in visits:
            visit["at_s"] = round(max(now_s - (last_s - visit["at_s"]), self.duration_s), 3)
        self._write(*visits)

    def check(self, visit: dict[str, Any]) -> None:
        """Refuse a visit without times, or with times that cannot be."""
        times = [float(ms) for ms in visit["ms"]]
        if not times or not all(math.isfinite(ms) and ms > 0 for ms in times):
            raise ValueError(f"visit {visit['k']} took {times} ms")
