"""What the networks take in a typical measuring process, from what each process measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import UsageError
from edgenas.costs.drift import Autocorrelation, separate
from edgenas.costs.repeated import Repeated
from edgenas.profiling.workload import ANCHOR, ProfileSettings, Workload

Floats = npt.NDArray[np.float64]
_N_VISITS = 20  # of each network are looked at for drift: as many tell its course
_N_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Sessions:
    """Network times by the process that measured them.

    `rows`: the networks that every process timed; `shared_ms`: their times, shape (n_sessions,
    n_rows); `own`: the other networks, by the process that each was timed in alone.
    """

    rows: list[int]
    shared_ms: Floats
    own: list[tuple[list[int], Floats]]

    @property
    def levels(self) -> Floats:
        """How much slower than the typical process each was, shape (n_sessions,), of median 1."""
        return Repeated(self.shared_ms).levels

    def network_ms(self, n_networks: int) -> Floats:
        """Return every network's time in a typical process, shape (n_networks,)."""
        levels = self.levels
        times = np.empty(n_networks)
        times[self.rows] = Repeated(self.shared_ms).typical
        for (rows, latency_ms), level in zip(self.own, levels, strict=False):
            times[rows] = latency_ms / level
        return times

    def errors(self, predicted_ms: Floats) -> Floats:
        """Return what single processes measured against a prediction, their levels taken out.

        A network that every process timed counts no more than one that a single process timed.

        Args:
            predicted_ms: of every network, shape (n_networks,).

        Returns:
            (measured - predicted) / predicted, shape (n_sessions * n_networks,).
        """
        levels, n_sessions = self.levels, len(self.shared_ms)
        shared = self.shared_ms / levels[:, None] / predicted_ms[self.rows]
        alone = zip(self.own, levels, strict=False)
        own = [ms / level / predicted_ms[rows] for (rows, ms), level in alone]
        once = np.concatenate(own) if own else np.empty(0)
        return np.concatenate([shared.ravel(), np.repeat(once, n_sessions)]) - 1


@dataclass(frozen=True, slots=True)
class Steadied:
    """The sessions with each process's drift fitted and removed.

    `before` and `after`: how the visits' residuals remember themselves, the median process.
    """

    sessions: Sessions
    before: Autocorrelation
    after: Autocorrelation


def least_runs(
    workload: Workload,
    pools: list[list[str]],
    latency_ms: Mapping[str, float],
    settings: ProfileSettings,
) -> Sessions:
    """Return the sessions with the least run of each network as its time."""
    keys = _keys(workload, pools, settings)
    n_shared = len(workload.session_rows(settings))
    times = [np.array([latency_ms[key] for key in of_process]) for of_process in keys]
    place = {key: i for i, key in enumerate(workload.network_keys)}
    own = [
        ([place[key] for key in pool], ms[n_shared:])
        for pool, ms in zip(pools, times, strict=False)
    ]
    shared = np.array([ms[:n_shared] for ms in times])
    return Sessions(workload.session_rows(settings), shared, own)


def without_drift(
    workload: Workload,
    pools: list[list[str]],
    visits: Mapping[int, dict[str, Any]],
    settings: ProfileSettings,
) -> Steadied | None:
    """Return the sessions with drift removed; None if a process has too few visits to tell.

    In each process the machine's level and the networks' times are fitted together
    (`edgenas.costs.drift.separate`). The level that is left free is set so that the times agree
    in the median with the least runs of the same visits.
    """
    keys = _keys(workload, pools, settings)
    latency_ms: dict[str, float] = {}
    memories = []
    for of_process, seen in zip(keys, _by_process(visits, keys), strict=True):
        names = [name for _, name, _ in seen]
        visit_ms = np.array([ms for _, _, ms in seen])
        try:
            found = separate(
                np.array([at_s for at_s, _, _ in seen]), names, visit_ms, n_rounds=_N_ROUNDS
            )
        except UsageError:
            return None
        least = dict.fromkeys(found.artefact_ms, np.inf)
        for name, ms in zip(names, visit_ms, strict=True):
            least[name] = min(least[name], ms)
        scale = np.median([least[key] / found.artefact_ms[key] for key in of_process])
        latency_ms |= {key: float(scale * found.artefact_ms[key]) for key in of_process}
        memories.append((found.before, found.after))
    return Steadied(
        least_runs(workload, pools, latency_ms, settings),
        _typical([before for before, _ in memories]),
        _typical([after for _, after in memories]),
    )


def _keys(workload: Workload, pools: list[list[str]], settings: ProfileSettings) -> list[list[str]]:
    """Return the keys of each process's networks: those of all first, then its own."""
    n_processes = settings.processes(len(pools))
    return [
        workload.session_keys(settings, session) + (pools[session - 1 : session] or [[]])[0]
        for session in range(1, n_processes + 1)
    ]


def _by_process(
    visits: Mapping[int, dict[str, Any]], keys: list[list[str]]
) -> list[list[tuple[float, str, float]]]:
    """Return (moment, key, least run) of the networks' and the anchor's visits by process."""
    of_key = {key: process for process, some in enumerate(keys) for key in some}
    found: list[list[tuple[float, str, float]]] = [[] for _ in keys]
    counts: dict[tuple[int, str], int] = {}
    process, before = 0, ""
    for k in sorted(visits):
        key = visits[k]["key"]
        if key == ANCHOR == before:  # one process ends with it and the next begins with it
            process += 1
        before = key
        process = of_key.get(key, process)
        wanted = key == ANCHOR or key in of_key
        seen = counts.get((process, key), 0)
        if wanted and (key == ANCHOR or seen < _N_VISITS):
            counts[process, key] = seen + 1
            found[process].append((visits[k]["at_s"], key, min(visits[k]["ms"])))
    return [sorted(some, key=lambda visit: visit[0]) for some in found]


def _typical(memories: list[Autocorrelation]) -> Autocorrelation:
    return Autocorrelation(
        float(np.median([one.lag_1 for one in memories])),
        float(np.median([one.durbin_watson for one in memories])),
    )
