"""A bundle's model file on a device: its answers, and its latency against budget and proof."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.artifact import FORMATS
from edgenas.core.errors import AgentError, RefusedError
from edgenas.core.measurement import MeasurementPlan
from edgenas.core.objective import Constraint
from edgenas.exporters import Exporter
from edgenas.exporters.bundle import Finding
from edgenas.exporters.bundle.integrity import Contents
from edgenas.exporters.bundle.recorded import as_logits
from edgenas.exporters.manifest import Manifest
from edgenas.exporters.validate import compare
from edgenas.hardware.device import Device
from edgenas.profiling.measure import measure_files
from edgenas.profiling.progress import Progress
from edgenas.profiling.retrying import N_RETRIES
from edgenas.runtimes import RUNTIMES, open_bench
from edgenas.runtimes.agent_bench import AgentBench
from edgenas.runtimes.base import PRECISIONS, runtimes_on
from edgenas.study.verify_file import REMEDY, findings_of

BUDGET = "budget"
_KEY, _LATENCY = "model", "latency_ms"


def prove_on_device(  # noqa: PLR0913
    device: Device,
    exporter: Exporter,
    path: Path,
    contents: Contents,
    budgets: Sequence[str],
    *,
    plan: MeasurementPlan,
    progress: Progress,
) -> tuple[list[Finding], float | None]:
    """Return what the file answers on a device and how long it takes there, in ms.

    Budget, predicted interval and earlier measurement hold for the device of the manifest; of
    another one the time is told.

    Raises:
        DeviceError: the device or its engine failed.
    """
    manifest = contents.manifest
    runtime = _runtime(device, manifest, path)
    if runtime is None:
        text = f"no runtime of {device.id} runs {exporter.name} files; run check/check.py there"
        return [Finding("device", None, "run and timed on the device", text)], None
    # What a bench calls a precision is what its engine computes in.
    precision = manifest.precision if manifest.precision in PRECISIONS else "float32"
    with device.claim():
        findings = _answers(device, runtime, precision, exporter, path, contents)
        if any(finding.passed is False for finding in findings):
            return findings, None
        measured = measure_files(
            device,
            runtime,
            {_KEY: path},
            plan,
            precision=precision,
            n_retries=N_RETRIES,
            progress=progress,
        )[_KEY]
    where = f"{runtime} {device.engine_versions.get(runtime) or ''}".strip()
    slug = device.fingerprint.slug
    told = f"{measured.latency_ms:.4f} ms, median {measured.percentile_ms(50):.4f} ms; {where}"
    findings.append(Finding("latency", None, "timed as a run times it", f"{told} on {slug}"))
    other = _otherness(manifest, runtime, slug)
    return [*findings, *_judged(manifest, measured.latency_ms, budgets, other)], measured.latency_ms


def _runtime(device: Device, manifest: Manifest, path: Path) -> str | None:
    """Return the runtime that timed the file before, or the first on the device that can."""
    there = runtimes_on(device.description)
    wanted = FORMATS.get(path.suffix)
    fitting = [name for name in there if RUNTIMES.get(name).format == wanted]
    measured = manifest.measured_latency
    if measured is not None and measured.runtime in fitting:
        return measured.runtime
    return fitting[0] if fitting else None


def _answers(  # noqa: PLR0913
    device: Device,
    runtime: str,
    precision: str,
    exporter: Exporter,
    path: Path,
    contents: Contents,
) -> list[Finding]:
    """Compare what the device's own engine answers to the recorded inputs."""
    with open_bench(device, runtime, precision=precision) as bench:
        try:
            info = bench.load(_KEY, path)
        except RefusedError as error:
            text = f"{runtime} {bench.info.engine_version} does not: {error}"
            return [Finding("device.opens", False, f"opened by {device.id}", text, REMEDY)]
        source, result = info.inputs[0], info.outputs[0]
        rows: list[npt.NDArray[Any]] = []
        try:
            for batch, n in _batches(contents.inputs, source.shape[0]):
                found = bench.infer(_KEY, {source.name: batch})
                rows.append(found[result.name][:n])
        except AgentError as error:
            if not bench.alive:
                raise
            # Programs such as benchmark_model return no outputs at all.
            passed = False if isinstance(bench, AgentBench) else None
            remedy = REMEDY if passed is False else ""
            return [Finding("device.values", passed, "the logits", f"none: {error}", remedy)]
    logits = as_logits(np.concatenate(rows), contents.how)
    return findings_of(compare(exporter.recipe, contents.logits, logits), where="device.")


def _batches(
    inputs: npt.NDArray[np.generic], size: int
) -> list[tuple[npt.NDArray[np.generic], int]]:
    """Return inputs as many at once as the file takes, and how many of each batch are real."""
    found = []
    for start in range(0, len(inputs), size):
        some = inputs[start : start + size]
        rest = np.zeros((size - len(some), *inputs.shape[1:]), inputs.dtype)
        found.append((np.concatenate([some, rest]), len(some)))
    return found


def _otherness(manifest: Manifest, runtime: str, slug: str) -> str | None:
    """Return in what device or engine is another one than the manifest's, None if in nothing."""
    known = manifest.measured_latency or manifest.predicted_latency
    if known is None:
        return "the manifest names no device"
    if known.device != slug:
        return f"another device than {known.device}"
    return None if known.runtime == runtime else f"another engine than {known.runtime}"


def _judged(
    manifest: Manifest, latency_ms: float, budgets: Sequence[str], other: str | None
) -> list[Finding]:
    aside = "" if other is None else f"; told only: {other}"
    findings = [_budget(latency_ms, budgets, aside)]
    predicted, measured = manifest.predicted_latency, manifest.measured_latency
    if predicted is not None and predicted.low_ms is not None and predicted.high_ms is not None:
        low, high = predicted.low_ms, predicted.high_ms
        inside = low <= latency_ms <= high
        asked = f"[{low:.4f}, {high:.4f}] ms predicted at {predicted.confidence:.0%}"
        text = f"{latency_ms:.4f} ms, {'inside' if inside else 'outside'}"
        if not inside and not aside:
            text += f"; one in {1 / (1 - predicted.confidence):.0f} is"
        findings.append(
            Finding("interval", True if inside and not aside else None, asked, text + aside)
        )
    if measured is not None:
        change = latency_ms / measured.latency_ms - 1
        asked = f"{measured.latency_ms:.4f} ms with {measured.runtime} {measured.runtime_version}"
        text = f"{latency_ms:.4f} ms, {change:+.1%}{aside}"
        findings.append(Finding("earlier", None, asked, text))
    return findings


def _budget(latency_ms: float, budgets: Sequence[str], aside: str) -> Finding:
    asked = [one for one in map(Constraint.parse, budgets) if one.name == _LATENCY]
    text = ", ".join(map(str, asked))
    if not asked:
        return Finding(BUDGET, None, "no latency budget was asked of this file", "nothing to keep")
    kept = all(one.violation(latency_ms) <= 0 for one in asked)
    found = f"{latency_ms:.4f} ms, {'kept' if kept else 'BROKEN'}{aside}"
    if aside:
        return Finding(BUDGET, None, text, found)
    remedy = (
        "see with 'edgenas doctor' whether the device is disturbed and verify again; else pick a "
        "faster network: edgenas pick RUN --pick 'latency_ms<=...'"
    )
    return Finding(BUDGET, kept, text, found, "" if kept else remedy)
