"""Measures what a model costs before and beside its runs: loading, the first run, memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from edgenas.hardware.device import Device
from edgenas.profiling.progress import Progress, silent
from edgenas.runtimes.base import LoadInfo
from edgenas.runtimes.bench import open_bench

_N_PROCESSES = 5


@dataclass(frozen=True, slots=True)
class Footprint:
    """One model file, loaded in several processes that had loaded nothing before.

    `load_ms` and `first_ms` (None if not told) are the least of the processes, as a latency is the
    least run: whatever disturbs makes them longer. `build_ms` is what the engine took to compile
    the file on the device, once for all who keep the result. `peak_memory_kib` is the
    most that loading and the first run added in any of them, None if the engine does not tell.
    """

    load_ms: float
    build_ms: float
    first_ms: float | None
    peak_memory_kib: int | None

    @property
    def cold_start_ms(self) -> float | None:
        """The time from opening the file to the first result."""
        return None if self.first_ms is None else self.load_ms + self.first_ms


def measure_footprints(  # noqa: PLR0913
    device: Device,
    runtime: str,
    paths: Mapping[str, Path],
    *,
    precision: str = "float32",
    n_processes: int = _N_PROCESSES,
    timeout_s: float = 60.0,
    seed: int = 0,
    progress: Progress = silent,
    loading: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> dict[str, Footprint]:
    """Return the footprint of each model file of a precision, by the caller's keys.

    Each file is loaded in `n_processes` processes of its own, in random order. The files are in
    the device's cache from the second time on. `timeout_s` is for starting a process; loading may
    take as long as the runtime allows, and is done inside of `loading`.

    Raises:
        DeviceError: the device or the engine failed; nothing is returned for any file.
    """
    order = np.random.default_rng(seed).permutation(sorted([*paths] * n_processes))
    loads: dict[str, list[LoadInfo]] = {key: [] for key in paths}
    with device.claim():
        for done, key in enumerate(map(str, order)):
            progress(f"loading on {runtime}", done, len(order))
            with (
                open_bench(device, runtime, precision=precision, timeout_s=timeout_s) as bench,
                loading(),
            ):
                loads[key].append(bench.load(key, paths[key]))
    progress(f"loading on {runtime}", len(order), len(order))
    return {key: _footprint(loads[key]) for key in paths}


def _footprint(loads: list[LoadInfo]) -> Footprint:
    firsts = [load.first_ms for load in loads if load.first_ms is not None]
    peaks = [load.peak_memory_kib for load in loads if load.peak_memory_kib is not None]
    return Footprint(
        load_ms=min(load.load_ms for load in loads),
        build_ms=median(load.build_ms for load in loads),
        first_ms=min(firsts) if len(firsts) == len(loads) else None,
        peak_memory_kib=max(peaks) if len(peaks) == len(loads) else None,
    )
