"""Times model files and architectures on a device, in the same way as tables are made."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.measurement import Measurement, MeasurementPlan
from edgenas.hardware.device import Device
from edgenas.profiling.progress import Progress, silent
from edgenas.profiling.retrying import with_retries
from edgenas.profiling.schedule import schedule
from edgenas.profiling.workload import write_model
from edgenas.runtimes.bench import open_bench
from edgenas.spaces.base import SearchSpace

_CHUNK = 16  # visits between two looks at the clock


def measure_files(  # noqa: PLR0913
    device: Device,
    runtime: str,
    paths: Mapping[str, Path],
    plan: MeasurementPlan,
    *,
    precision: str = "float32",
    n_retries: int = 0,
    progress: Progress = silent,
) -> dict[str, Measurement]:
    """Time the model files `paths` (by a key of the caller's) and return a measurement each.

    All are of one `precision`, and so is what computes them.
    The visits of all files are mixed in random order, in each of the plan's processes anew. A
    measuring process or a connection that is lost is started anew, up to `n_retries` times in a
    row; finished visits count.

    Raises:
        OtherDeviceError: another device answers where this one was.
        DeviceError: the device or the engine failed; nothing is returned for any file.
    """
    keys = list(paths)
    shares = plan.visits_of_processes()
    orders = _orders(keys, shares, plan.seed)
    run = _Run(device, runtime, paths, plan, orders, precision, progress)
    with_retries(device, run.attempt, lambda: run.n_done, n_retries=n_retries)
    return {key: Measurement(key, np.array(run.samples[key]), tuple(shares)) for key in keys}


def _orders(keys: list[str], shares: list[int], seed: int) -> list[list[str]]:
    """Return the visits of each process, in random order."""
    orders = []
    for process, n_visits in enumerate(shares):
        visits = dict.fromkeys(keys, n_visits)
        order = schedule(visits, anchor="", anchor_every=10**9, seed=seed + 1_000_003 * process)
        orders.append([key for key in order if key])
    return orders


class _Run:
    """A measurement of files that goes on where it was cut off."""

    def __init__(  # noqa: PLR0913
        self,
        device: Device,
        runtime: str,
        paths: Mapping[str, Path],
        plan: MeasurementPlan,
        orders: list[list[str]],
        precision: str,
        progress: Progress,
    ) -> None:
        self.device, self.runtime, self.paths, self.plan = device, runtime, paths, plan
        self.orders, self.precision, self.progress = orders, precision, progress
        self.n_visits = sum(map(len, orders))
        self.samples: dict[str, list[list[float]]] = {key: [] for key in paths}
        self.n_done = 0
        self._began: float | None = None

    def attempt(self) -> None:
        """Make the visits that are left, each process's share in one of its own."""
        before = 0
        for order in self.orders:
            left = order[max(self.n_done - before, 0) :]
            before += len(order)
            if left:
                self._in_one_process(left)

    def _in_one_process(self, left: list[str]) -> None:
        plan = self.plan
        with open_bench(
            self.device, self.runtime, precision=self.precision, timeout_s=plan.timeout_s
        ) as bench:
            for key in self.paths:
                if key in left:
                    bench.load(key, self.paths[key])
            if self._began is None:
                self._began = time.monotonic()
            for start in range(0, len(left), _CHUNK):
                chunk = left[start : start + _CHUNK]
                visits = bench.visit(
                    chunk,
                    n_runs=plan.n_runs,
                    n_warmup=plan.n_warmup,
                    timeout_s=plan.timeout_s * len(chunk),
                )
                self.device.check()
                for visit in visits:
                    self.samples[visit.key].append(list(visit.samples_ms))
                self.n_done += len(chunk)
                self.progress(f"timing on {self.runtime}", self.n_done, self.n_visits)
                self._keep_pace(self._began)

    def _keep_pace(self, began: float) -> None:
        """Wait where the visits are ahead of the time over which they are to be spread."""
        share = self.n_done / self.n_visits
        ahead = self.plan.spread_s * share - (time.monotonic() - began)
        if ahead > 0 and share < 1:
            time.sleep(ahead)


def measure_networks(  # noqa: PLR0913
    device: Device,
    runtime: str,
    space: SearchSpace,
    population: Genes,
    plan: MeasurementPlan,
    *,
    precision: str = "float32",
    n_retries: int = 0,
    progress: Progress = silent,
) -> list[Measurement]:
    """Time whole networks with random weights; one measurement a row of `population`.

    Raises:
        DeviceError: as `measure_files`.
    """
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
        paths: dict[str, Path] = {}
        for i, row in enumerate(population):
            network = space.network(row)
            paths[str(i)] = write_model(Path(folder) / str(i), network, runtime, precision)
        measured = measure_files(
            device,
            runtime,
            paths,
            plan,
            precision=precision,
            n_retries=n_retries,
            progress=progress,
        )
    return [measured[str(i)] for i in range(len(population))]
