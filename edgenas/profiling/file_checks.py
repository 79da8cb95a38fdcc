"""What an exported file does on its device: loads, answers, keeps to its kernels and memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import RefusedError
from edgenas.exporters.base import Exporter, Images
from edgenas.exporters.validate import Check, delegate_check, top1_check, values_check
from edgenas.hardware.device import Device
from edgenas.profiling.file_faults import Blaming, Fault, run_or_blame
from edgenas.profiling.footprint import measure_footprints
from edgenas.profiling.progress import Progress, silent
from edgenas.runtimes.base import RUNTIMES
from edgenas.runtimes.bench import Bench, LoadInfo, open_bench

OPENS = "device_opens"
IN_DEVICE = (
    "device_values",
    "device_top1",
    "device_delegate",
    "device_load",
    "device_peak_memory",
)
"""Checks for which the file must have opened, in order."""

_N_PROCESSES = 3
_KEY = "file"


def reason_not_to_run(
    device: Device, runtime: str, path: Path, *, precision: str, timeout_s: float = 60.0
) -> str | None:
    """Return why a file does not open or not run on a device, None if it does both.

    Raises:
        DeviceError: the device cannot be reached or used: nothing is known of the file.
    """

    def once(blaming: Blaming) -> None:
        with open_bench(device, runtime, precision=precision, timeout_s=timeout_s) as bench:
            device.connector.place(path)  # a link that stalls is not the file's fault
            with blaming():
                bench.load(_KEY, path)  # which runs it once, too

    fault = run_or_blame(device, once)
    return None if fault is None else fault.reason


def runs_there(checks: Sequence[Check]) -> bool:
    """Return whether a file opened and ran, by what `check_on_device` says of it."""
    return all(check.passed is not False for check in checks if check.name == OPENS)


def check_on_device(  # noqa: PLR0913
    device: Device,
    runtime: str,
    exporter: Exporter,
    path: Path,
    *,
    inputs: Images,
    reference: npt.NDArray[np.float32],
    timeout_s: float = 60.0,
    progress: Progress = silent,
) -> list[Check]:
    """Return the checks of a file that its own device makes, failed ones included.

    The file runs in the device's measuring process, with the settings that tables are made with.
    Where the process is lost or does not answer, the file is tried again.

    Args:
        device: on which it is to run.
        runtime: that runs it there.
        exporter: of the file.
        path: of the file.
        inputs: normalised images, shape (n, channels, height, width).
        reference: the trained network's logits for them, shape (n, n_classes).
        timeout_s: for the measuring process to come up, and for each answer.
        progress: told how far it is.

    Raises:
        DeviceError: the device cannot be reached or used: nothing is known of the file.
    """
    recipe = exporter.recipe

    def once(blaming: Blaming) -> list[Check]:
        with open_bench(device, runtime, precision=recipe.precision, timeout_s=timeout_s) as bench:
            device.connector.place(path)
            with blaming():
                loaded = bench.load(_KEY, path)
                found = None
                if RUNTIMES.get(runtime).returns_outputs:
                    found = _answers(bench, loaded, exporter, path, inputs, timeout_s)
        footprint = measure_footprints(
            device,
            runtime,
            {_KEY: path},
            precision=recipe.precision,
            n_processes=_N_PROCESSES,
            timeout_s=timeout_s,
            progress=progress,
            loading=blaming,
        )[_KEY]
        peak_kib = footprint.peak_memory_kib
        return [
            Check(OPENS, True, None, None, f"opened and run on {device.id} by {runtime}"),
            *_compared(exporter, runtime, reference, found),
            delegate_check(recipe, loaded.outside, name=IN_DEVICE[2]),
            _at_most(IN_DEVICE[3], footprint.load_ms, recipe.most_load_ms, "ms to load"),
            _not_made(IN_DEVICE[4], "the engine does not tell its memory")
            if peak_kib is None
            else _at_most(IN_DEVICE[4], peak_kib, recipe.most_peak_memory_kib, "KiB at most"),
        ]

    made = run_or_blame(device, once)
    if not isinstance(made, Fault):
        return made
    refused = Check(OPENS, passed=False, measured=None, tolerance=None, detail=made.reason)
    return [refused, *(_not_made(name, "the file does not run there") for name in IN_DEVICE)]


def _compared(
    exporter: Exporter,
    runtime: str,
    reference: npt.NDArray[np.float32],
    found: npt.NDArray[np.float32] | None,
) -> list[Check]:
    if found is None:
        reason = f"{runtime} computes on inputs of its own and returns no outputs"
        return [_not_made(name, reason) for name in IN_DEVICE[:2]]
    # The last images may not fill a batch of a fixed size; they are left out.
    reference = reference[: len(found)]
    return [
        values_check(exporter.recipe, reference, found, name=IN_DEVICE[0]),
        top1_check(exporter.recipe, reference, found, name=IN_DEVICE[1]),
    ]


def _answers(  # noqa: PLR0913
    bench: Bench,
    loaded: LoadInfo,
    exporter: Exporter,
    path: Path,
    inputs: Images,
    timeout_s: float,
) -> npt.NDArray[np.float32]:
    """Return the logits of the file on the device, shape (n, n_classes)."""
    (source,), result = loaded.inputs, loaded.outputs[0]
    size = source.shape[0]
    if len(inputs) < size:
        raise RefusedError(  # asking again changes nothing
            f"{path} takes {size} images at once and {len(inputs)} are given; give as many"
        )
    found = []
    for start in range(0, len(inputs) - size + 1, size):
        given = exporter.encode(path, inputs[start : start + size])
        answer = bench.infer(_KEY, {source.name: np.ascontiguousarray(given)}, timeout_s=timeout_s)
        found.append(exporter.decode(path, answer[result.name]))
    return np.concatenate(found)


def _at_most(name: str, found: float, most: float | None, what: str) -> Check:
    limit = "" if most is None else f", allowed {most:g}"
    passed = most is None or found <= most
    return Check(name, passed, float(found), most, f"{found:.4g} {what}{limit}")


def _not_made(name: str, reason: str) -> Check:
    return Check(name, passed=None, measured=None, tolerance=None, detail=reason)
