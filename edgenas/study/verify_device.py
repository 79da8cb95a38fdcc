"""A bundle's model file on a device: its answers, and its latency against budget and proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgenas.core.measurement import MeasurementPlan
from edgenas.core.objective import Constraint
from edgenas.exporters import Exporter
from edgenas.exporters.bundle import Finding
from edgenas.exporters.bundle.integrity import Contents
from edgenas.exporters.bundle.recorded import as_images
from edgenas.exporters.manifest import Manifest
from edgenas.hardware.device import Device
from edgenas.profiling.file_checks import check_on_device
from edgenas.profiling.measure import measure_files
from edgenas.profiling.progress import Progress
from edgenas.profiling.retrying import N_RETRIES
from edgenas.runtimes import RUNTIMES
from edgenas.runtimes.base import runtimes_on
from edgenas.study.verify_file import findings_of

BUDGET = "budget"
_EVERYWHERE = ("device_opens", "device_values", "device_top1")
"""Checks that a file passes on any device; kernels, load time and memory are a device's own."""
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
    runtime = _runtime(device, manifest)
    if runtime is None:
        text = f"no runtime of {device.id} runs {exporter.name} files; run check/check.py there"
        return [Finding("device", None, "run and timed on the device", text)], None
    slug = device.fingerprint.slug
    other = _otherness(manifest, runtime, slug)
    with device.claim():
        findings = _answers(device, runtime, exporter, path, contents)
        if other is not None:
            findings = [_told(one, other) for one in findings]
        if any(finding.passed is False for finding in findings):
            return findings, None
        measured = measure_files(
            device,
            runtime,
            {_KEY: path},
            plan,
            precision=exporter.recipe.precision,
            n_retries=N_RETRIES,
            progress=progress,
        )[_KEY]
    where = f"{runtime} {device.engine_versions.get(runtime) or ''}".strip()
    told = f"{measured.latency_ms:.4f} ms, median {measured.percentile_ms(50):.4f} ms; {where}"
    findings.append(Finding("latency", None, "timed as a run times it", f"{told} on {slug}"))
    return [*findings, *_judged(manifest, measured.latency_ms, budgets, other)], measured.latency_ms


def _runtime(device: Device, manifest: Manifest) -> str | None:
    """Return the runtime that timed the file before, or the first on the device that can."""
    there = runtimes_on(device.description)
    fitting = [name for name in there if RUNTIMES.get(name).runs(manifest.target)]
    measured = manifest.measured_latency
    if measured is not None and measured.runtime in fitting:
        return measured.runtime
    return fitting[0] if fitting else None


def _answers(
    device: Device, runtime: str, exporter: Exporter, path: Path, contents: Contents
) -> list[Finding]:
    """Return what the device's own engine makes of the file, compared as a run does it."""
    if not RUNTIMES.get(runtime).returns_outputs:
        # Programs such as benchmark_model compute on inputs of their own.
        text = f"{runtime} on {device.id} returns no outputs; run check/check.py there"
        return [Finding("device_values", None, "the logits of the device's engine", text)]
    checks = check_on_device(
        device,
        runtime,
        exporter,
        path,
        inputs=as_images(contents.inputs, contents.how.input),
        reference=contents.logits,
    )
    return findings_of(checks)


def _told(finding: Finding, other: str) -> Finding:
    """Return a finding of another device, told where its limit was set for the first one."""
    if finding.passed is not False or finding.name in _EVERYWHERE:
        return finding
    return replace(finding, passed=None, found=f"{finding.found}; told only: {other}", remedy="")


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
            text += f", as {1 - predicted.confidence:.0%} of them are"
        findings.append(
            Finding("interval", True if inside and not aside else None, asked, text + aside)
        )
    if measured is not None and measured.latency_ms > 0:
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
