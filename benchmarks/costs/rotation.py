r"""Tables and the networks that test them, in rotation: everything is spread over the whole time.

A machine that others share has a level that wanders by some per cent from one quarter of an hour
to the next. A table made in five minutes has the level of those minutes. Here every table takes
one process in turn until all are complete, and then every set of networks one pass in turn, as in
`held_out.py`, so that all of them saw the same hours. Writes the tables under `latency_tables/` and
one result each, as `held_out.py` does. Resumes where it was stopped.

    python -m benchmarks.costs.rotation --work runs/rotation \
        mbv3_tiny:onnxruntime:float32 ofa_mbv3_w1.0:litert:int8 ofa_mbv3_w1.0:litert:float32:160

A fourth part is the resolution of the networks that test; the table is the one for all resolutions.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.costs.held_out import RESULTS, Job, Plan, measure, networks, report
from edgenas import spaces
from edgenas.core.files import write_json
from edgenas.core.paths import data_folder
from edgenas.costs.store import table_path
from edgenas.costs.table import passport_path, samples_path
from edgenas.hardware.device import Device, load_device
from edgenas.profiling.profile import profile
from edgenas.profiling.progress import Progress
from edgenas.profiling.workload import ProfileSettings
from edgenas.spaces.fold import macs

TEST_MACS = 1.2e9  # of the visits to a network in a pass, about


class TurnError(Exception):
    """Raised where a process would begin that is not this turn's."""


def one_process() -> Progress:
    """Return a progress report that stops a measurement when its second process begins."""
    begun = 0

    def told(what: str, done: int, total: int) -> None:
        nonlocal begun
        begun += what.startswith("loading") and done == 1
        if begun > 1:
            raise TurnError

    return told


def table_in(work: Path, device: Device, job: Job) -> Path:
    """Return where the table is while it is tested."""
    return table_path(
        work / "tables",
        slug=device.fingerprint.slug,
        runtime=job.runtime,
        precision=job.precision,
        space=job.space,
    )


def tabulate_in_turn(device: Device, jobs: list[Job], work: Path) -> None:
    """Measure the tables that are not there yet, a process of each in turn."""
    left = [job for job in jobs if not table_in(work, device, job).is_file()]
    while left:
        for job in list(left):
            space = spaces.get(job.space)
            began = time.monotonic()
            try:
                profile(
                    device,
                    job.runtime,
                    space,
                    ProfileSettings.for_space(space),
                    work / "tables",
                    precision=job.precision,
                    progress=one_process(),
                )
                left.remove(job)
            except TurnError:
                pass
            print(f"{time.strftime('%T')} {job.name}: {time.monotonic() - began:.0f} s", flush=True)


def install(device: Device, jobs: list[Job], work: Path) -> None:
    """Copy the finished tables to where the tool finds them."""
    for job in jobs:
        path = table_in(work, device, job)
        target = data_folder("latency_tables") / path.relative_to(work / "tables")
        target.parent.mkdir(parents=True, exist_ok=True)
        for file in (path, passport_path(path), samples_path(path)):
            shutil.copy2(file, target.with_name(file.name))


def plan_of(job: Job, n_passes: int) -> Plan:
    """Return how the networks of a job are measured: small ones are visited more often."""
    space = spaces.get(job.space)
    mean_macs = float(macs(space)(space.sample(256, np.random.default_rng(0))).mean())
    return Plan(group=50, passes=n_passes, visits=int(np.clip(TEST_MACS / mean_macs, 6, 20)))


def main() -> None:
    """Make, test, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="+", metavar="SPACE:RUNTIME:PRECISION[:RESOLUTION]")
    parser.add_argument("--work", type=Path, required=True, help="folder of what is unfinished")
    parser.add_argument("--passes", type=int, default=Plan.passes)
    options = parser.parse_args()
    device = load_device("local")
    jobs = []
    for text in options.jobs:
        space, runtime, precision, *resolution = text.split(":")
        jobs.append(Job(space, runtime, precision, int(resolution[0]) if resolution else None))
    tables = list(dict.fromkeys(replace(job, resolution=None) for job in jobs))
    tabulate_in_turn(device, tables, options.work)
    install(device, tables, options.work)
    plans = {job: plan_of(job, options.passes) for job in jobs}
    for turn in range(options.passes):
        for timing in (0, 1):
            for job in jobs:
                path = options.work / "passes" / f"{job.name}-{turn}-{timing}.npy"
                if path.is_file():
                    continue
                began = time.monotonic()
                population = networks(spaces.get(job.space), plans[job].networks, job.resolution)
                found = measure(device, job, population, plans[job], turn=turn, timing=timing)
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, found)
                print(
                    f"{time.strftime('%T')} {path.name}: {time.monotonic() - began:.0f} s",
                    flush=True,
                )
    command = (
        f"python -m benchmarks.costs.rotation {' '.join(options.jobs)} --passes {options.passes}"
    )
    for job in jobs:
        passes = np.array(
            [
                [
                    np.load(options.work / "passes" / f"{job.name}-{turn}-{timing}.npy")
                    for turn in range(options.passes)
                ]
                for timing in (0, 1)
            ]
        )
        write_json(RESULTS / f"{job.name}.json", report(device, job, passes, command))


if __name__ == "__main__":
    main()
