"""Step 9: members of the front and every exported file timed on the device; the proof."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.core.digits import small
from edgenas.core.evaluation import Evaluation
from edgenas.core.files import scratch_folder, sha256_of, write_json
from edgenas.core.measurement import Measurement
from edgenas.exporters.manifest import (
    Manifest,
    MeasuredLatency,
    untimed,
    with_checks,
    write_manifest,
)
from edgenas.exporters.validate import Check
from edgenas.profiling.file_checks import runs_there
from edgenas.profiling.measure import measure_files
from edgenas.profiling.progress import Progress
from edgenas.profiling.retrying import N_RETRIES
from edgenas.profiling.tabulate import engine_settings
from edgenas.profiling.workload import write_model
from edgenas.runtimes.bench import engine_version
from edgenas.study.chain import Step
from edgenas.study.context import Run
from edgenas.study.run_folder import digest_of
from edgenas.study.steps.device_checks import (
    bring_back,
    budget_checks,
    file_checks,
    set_failed_aside,
)
from edgenas.study.steps.export import model_path, read_draft, sound_targets, written_targets
from edgenas.study.steps.file_costs import costs_inputs, measure_files_costs, with_costs
from edgenas.study.steps.pick import picked
from edgenas.study.steps.proof import PROOF, make_proof
from edgenas.study.steps.search import read_front


def measured_path(run: Run, runtime: str) -> Path:
    """Return where the timings of one runtime lie."""
    return run.folder / f"measured/{runtime}.json"


def _inputs(run: Run) -> dict[str, Any]:
    return {
        "measure": run.job.measure.model_dump(mode="json"),
        "device": run.device.fingerprint.match_key,
        "runtimes": {name: engine_version(run.device, name) for name in run.runtimes},
        "budgets": [str(budget) for budget in run.job.budgets()],
        **costs_inputs(run),
    }


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    bring_back(run)
    members = _members(run)
    outputs: list[Path] = []
    checks: dict[str, list[Check]] = {}
    for runtime in run.runtimes:
        targets = sound_targets(run, runtime)
        checks |= {target: file_checks(run, target, runtime, progress) for target in targets}
        paths = [model_path(run, target) for target in targets if runs_there(checks[target])]
        files = {path.name: path for path in paths}
        outputs.append(_measure(run, runtime, members, files, progress))
        costs = measure_files_costs(run, runtime, files, progress)
        outputs += [] if costs is None else [costs]
    outputs += [_finish_manifest(run, target, checks) for target in written_targets(run)]
    write_json(run.folder / PROOF, make_proof(run))
    return [*outputs, run.folder / PROOF]


def _members(run: Run) -> list[Evaluation]:
    """Return members of the front, spread over it, the picked one among them."""
    front, n = read_front(run), run.job.measure.n_front_networks
    places = np.unique(np.linspace(0, len(front) - 1, min(n, len(front))).round().astype(int))
    pick = picked(run)
    chosen = [front[i] for i in places]
    if chosen and all(member.arch != pick for member in chosen):
        chosen += [member for member in front if member.arch == pick]
    return chosen


def _measure(
    run: Run,
    runtime: str,
    members: Sequence[Evaluation],
    files: Mapping[str, Path],
    progress: Progress,
) -> Path:
    """Time one runtime's share; timings of the same things with the same plan are kept."""
    section, precision = run.job.measure, run.job.device.precision
    subject = {
        "networks": [member.arch.id for member in members],
        "files": {name: sha256_of(path) for name, path in files.items()},
        "plan": section.model_dump(mode="json"),
        "device": run.device.fingerprint.match_key,
        "runtime": runtime,
        "precision": precision,
        "version": engine_version(run.device, runtime),
        "settings": engine_settings(run.device, runtime),
    }
    path = measured_path(run, runtime)
    if _subject(path) == digest_of(subject):
        return path
    with scratch_folder() as folder:
        paths = dict(files)
        for member in members:
            name, network = member.arch.id, run.space.network(member.arch.row)
            paths[name] = write_model(folder / name, network, runtime, precision)
        measured = measure_files(
            run.device,
            runtime,
            paths,
            section.plan(),
            precision=precision,
            n_retries=N_RETRIES,
            progress=progress,
        )
    write_json(
        path,
        {
            "subject": digest_of(subject),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": run.device.fingerprint.slug,
            "runtime": runtime,
            "version": subject["version"],
            "settings": subject["settings"],
            "timings": {name: _timing(measurement) for name, measurement in measured.items()},
        },
    )
    return path


def _subject(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["subject"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _timing(measurement: Measurement) -> dict[str, Any]:
    return {
        "latency_ms": measurement.latency_ms,
        "min_ms": float(measurement.samples_ms.min()),
        "median_ms": measurement.percentile_ms(50),
        "p90_ms": measurement.percentile_ms(90),
        "p95_ms": measurement.percentile_ms(95),
        "process_ms": list(measurement.process_ms),
        "samples_ms": measurement.samples_ms.round(6).tolist(),
    }


def _finish_manifest(run: Run, target: str, checks: Mapping[str, Sequence[Check]]) -> Path:
    """Put what was measured, and what the device says, into a file's manifest, beside the file."""
    manifest, path = read_draft(run, target), model_path(run, target)
    runtime = run.runtime_of(target)
    if manifest.status == "failed":
        manifest = untimed(manifest, "it failed its checks")
    elif runtime is not None:
        own = checks[target]
        if runs_there(own):
            manifest = _timed(run, manifest, path.name, runtime)
            own = [*own, *budget_checks(run, runtime, manifest)]
        else:
            manifest = untimed(manifest, "it does not run there")
        manifest = with_checks(manifest, own)
    return write_manifest(manifest, path)


def _timed(run: Run, manifest: Manifest, name: str, runtime: str) -> Manifest:
    content = run.read(measured_path(run, runtime).relative_to(run.folder.path).as_posix())
    latency = _measured_latency(content, name)
    not_run = {k: v for k, v in manifest.not_run.items() if k != "measured_latency"}
    manifest = manifest.model_copy(update={"measured_latency": latency, "not_run": not_run})
    return with_costs(run, manifest, name, runtime)


def _measured_latency(content: Mapping[str, Any], name: str) -> MeasuredLatency:
    timing = content["timings"][name]
    return MeasuredLatency(
        device=content["device"],
        runtime=content["runtime"],
        runtime_version=content["version"],
        n_threads=content["settings"]["threads"],
        n_samples=sum(len(visit) for visit in timing["samples_ms"]),
        latency_ms=timing["latency_ms"],
        median_ms=timing["median_ms"],
        p90_ms=timing["p90_ms"],
        process_ms=tuple(timing["process_ms"]),
    )


def _summary(run: Run) -> str:
    proof = run.read(PROOF)
    timed = [entry for entry in proof["files"] if entry["measured"]]
    parts = [f"{entry['file']} {small(entry['measured']['latency_ms'])} ms" for entry in timed]
    networks = {entry["id"] for entry in proof["front"]}
    return (
        f"{', '.join(parts) or 'no file can run here'}; {len(networks)} front members timed again"
    )


MEASURE = Step(
    name="measure",
    needs=("profile", "search", "pick", "export"),
    version=4,
    inputs=_inputs,
    make=_make,
    summary=_summary,
    check=set_failed_aside,
)
