"""Makes a latency table: times what the workload lists, resumes where it was cut off, fits."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgenas.core.files import Journal
from edgenas.costs.known import NOTHING_KNOWN, Known
from edgenas.costs.store import table_path
from edgenas.costs.table import CostTable, journal_path
from edgenas.hardware.device import Device
from edgenas.hardware.noise import read_state
from edgenas.hardware.throttling import ThrottlingWatch, read_thermal
from edgenas.profiling.progress import Progress, silent
from edgenas.profiling.recorder import Recorder
from edgenas.profiling.retrying import with_retries
from edgenas.profiling.schedule import schedule
from edgenas.profiling.tabulate import engine_settings, tabulate, write_samples
from edgenas.profiling.workload import ANCHOR, ProfileSettings, Workload, write_model
from edgenas.runtimes.bench import Bench, engine_version, open_bench
from edgenas.spaces.base import SearchSpace

_MEMORY_SHARE = 0.5  # of what is free, for engines that are open at the same time
_REST_S = 5.0  # between two looks at a device that rests
_CHUNK_S = 0.3  # work between two appends to the journal
_TIMEOUT_S = 120.0


def profile(  # noqa: PLR0913
    device: Device,
    runtime: str,
    space: SearchSpace,
    settings: ProfileSettings,
    root: Path,
    *,
    precision: str = "float32",
    known: Known = NOTHING_KNOWN,
    force: bool = False,
    n_retries: int = 0,
    progress: Progress = silent,
) -> CostTable:
    """Measure `space` on `device` and write its table under `root`.

    Operators in `known` keep the times that they have there; the networks calibrate them too.
    Every finished visit is in the journal beside the table before the next begins; a run that was
    killed continues from there when it is called again with the same arguments; with `force` any
    other unfinished run is forgotten (`JournalRecorder.forced`). A measuring process or a
    connection that is lost is started anew, up to `n_retries` times in a row.

    Returns:
        The table, written with its passport and its samples.

    Raises:
        OtherDeviceError: another device answers where this one was; nothing of it is kept.
        DeviceError: the device or the engine failed; what was measured is kept.
        StorageError: the journal belongs to other settings, or the disk is full.
    """
    workload = Workload.of(space, settings, known)
    with device.claim():
        fingerprint = device.fingerprint
        path = table_path(
            root, slug=fingerprint.slug, runtime=runtime, precision=precision, space=space.name
        )
        journal = Journal(journal_path(path))
        identity = _identity(device, runtime, workload, settings, precision)
        if force:
            recorder = Recorder.forced(journal, identity, engine_version(device, runtime))
        else:
            recorder = Recorder(journal, identity)
        try:
            _measure(device, runtime, workload, settings, recorder, progress, n_retries=n_retries)
        finally:
            journal.close()
        table = tabulate(workload, recorder, device, fingerprint, settings)
        write_samples(path, recorder)
        table.save(path)
        table.source = str(path)
        journal.path.unlink()
    return table


def _measure(  # noqa: PLR0913
    device: Device,
    runtime: str,
    workload: Workload,
    settings: ProfileSettings,
    recorder: Recorder,
    progress: Progress,
    *,
    n_retries: int,
) -> None:
    """Make every visit of the plan that is not in the journal yet.

    A process that is lost is started anew, up to `n_retries` times in a row without a new visit.
    """
    limit = _MEMORY_SHARE * free_bytes(device)
    plan = _plan(workload, settings, recorder.pools(workload, settings, limit))
    total = sum(len(order) for order in plan)
    what = f"profiling {workload.space.name} on {runtime}"
    progress(what, len(recorder.visits), total)
    first = 0
    for process, order in enumerate(plan):
        numbered = list(enumerate(order, start=first))

        def attempt(
            numbered: list[tuple[int, str]] = numbered,
            begin_s: float = settings.spread_s * process / max(1, len(plan) - 1),
            rest: str = f"resting before process {process + 1}",
        ) -> None:
            left = [(k, key) for k, key in numbered if k not in recorder.visits]
            if len(left) == len(numbered):
                _rest(device, recorder, begin_s, rest, progress)
            if left:
                for _ in _session(device, runtime, workload, left, settings, recorder, progress):
                    progress(what, len(recorder.visits), total)

        with_retries(device, attempt, lambda: len(recorder.visits), n_retries=n_retries)
        first += len(order)


def _rest(
    device: Device, recorder: Recorder, until_s: float, what: str, progress: Progress
) -> None:
    """Wait until the measurement has lasted for `until_s`, and see that the device is still held.

    Raises:
        DeviceError: it is not.
    """
    began_s = recorder.now_s()
    while (now_s := recorder.now_s()) < until_s:
        progress(what, round(now_s - began_s), round(until_s - began_s))
        time.sleep(min(_REST_S, until_s - now_s))
        device.check()


def _session(  # noqa: PLR0913
    device: Device,
    runtime: str,
    workload: Workload,
    left: list[tuple[int, str]],
    settings: ProfileSettings,
    recorder: Recorder,
    progress: Progress,
) -> Iterator[None]:
    """Make visits in one measuring process; yield after each chunk that is in the journal."""
    precision = recorder.identity["precision"]
    with open_bench(device, runtime, precision=precision, timeout_s=_TIMEOUT_S) as bench:
        recorder.engine(bench)
        watch = ThrottlingWatch(device.connector, device.description.throttling)
        for waited in watch.pauses:  # before the first visit, if the device was hot
            recorder.pause(waited)
        if not recorder.states:
            recorder.state(watch.reference)
        _load(bench, workload, {key for _, key in left}, runtime, precision, progress)
        for visits in _visit(bench, left, settings):
            device.check()
            recorder.add(visits)
            pause = watch.look()
            if pause is not None:
                recorder.pause(pause)
            yield
        recorder.state(read_thermal(device.connector))


def free_bytes(device: Device) -> float:
    """Return how much memory is free on a device; 1 GiB where it does not tell."""
    free_kib = read_state(device.connector).free_kib
    return 1024.0 * (free_kib if free_kib is not None else 1 << 20)


def _identity(
    device: Device, runtime: str, workload: Workload, settings: ProfileSettings, precision: str
) -> dict[str, Any]:
    space = workload.space
    options = json.dumps(engine_settings(device, runtime), sort_keys=True)
    return {
        "space": space.name,
        "space fingerprint": space.fingerprint,
        "networks": hashlib.sha256(workload.networks.tobytes()).hexdigest()[:12],
        "device": device.fingerprint.match_key,
        "runtime": runtime,
        "runtime options": hashlib.sha256(options.encode()).hexdigest()[:12],
        "precision": precision,
        "settings": settings.as_dict(),
        "known operators": workload.known.digest,
    }


def _plan(workload: Workload, settings: ProfileSettings, pools: list[list[str]]) -> list[list[str]]:
    """Return one order of visits for every process that measures."""
    plan = []
    share = -(-settings.n_operator_visits // len(pools))
    for session in range(1, settings.processes(len(pools)) + 1):
        visits = dict.fromkeys(workload.session_keys(settings, session), settings.n_network_visits)
        if session <= len(pools):
            visits |= dict.fromkeys(pools[session - 1], settings.n_network_visits)
            visits |= dict.fromkeys(workload.timed_op_keys, share)
        seed = settings.seed + session - 1
        plan.append(schedule(visits, anchor=ANCHOR, anchor_every=settings.anchor_every, seed=seed))
    return plan


def _load(  # noqa: PLR0913
    bench: Bench,
    workload: Workload,
    keys: set[str],
    runtime: str,
    precision: str,
    progress: Progress,
) -> None:
    """Write, load and delete one model after the other: disks need not hold them all."""
    named = {key.partition("@")[0]: key for key in keys}
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
        done = 0
        for key, graph in workload.graphs():
            if key in named:
                # A name of its own: an engine may have the file before mapped into its memory.
                path = write_model(Path(folder) / str(done), graph, runtime, precision)
                bench.load(named[key], path)
                path.unlink()
                done += 1
                progress(f"loading into {runtime}", done, len(keys))


def _visit(
    bench: Bench, left: list[tuple[int, str]], settings: ProfileSettings
) -> Iterator[list[dict[str, Any]]]:
    """Visit in order, in chunks of about `_CHUNK_S`; yield the records of every chunk."""
    size, start, opened = 4, 0, time.monotonic()
    while start < len(left):
        chunk = left[start : start + size]
        began = time.monotonic()
        visits = bench.visit(
            [key for _, key in chunk],
            n_runs=settings.n_runs,
            n_warmup=settings.n_warmup,
            timeout_s=_TIMEOUT_S,
        )
        yield [
            {
                "k": k,
                "key": key,
                "at_s": visit.at_s,
                "ms": [round(ms, 6) for ms in visit.samples_ms],
            }
            for (k, key), visit in zip(chunk, visits, strict=True)
        ]
        start += len(chunk)
        spent = max(time.monotonic() - began, 1e-6)
        ahead = settings.least_session_s * start / len(left) - (time.monotonic() - opened)
        if ahead > 0 and start < len(left):
            time.sleep(ahead)
        size = max(1, min(64, int(size * _CHUNK_S / spent) or 1))
