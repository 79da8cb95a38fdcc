"""What the exported files cost beside their latency: measured as the tables of those costs are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgenas.core.errors import DeviceError, UsageError
from edgenas.core.files import sha256_of, write_json
from edgenas.costs.kinds import UNITS, Kind, column_of
from edgenas.exporters.manifest import Manifest, MeasuredCost
from edgenas.profiling.progress import Progress
from edgenas.profiling.retrying import N_RETRIES
from edgenas.profiling.tabulate import engine_settings
from edgenas.profiling.whole_networks import measure_costs
from edgenas.runtimes.bench import engine_version
from edgenas.study.context import Run
from edgenas.study.run_folder import digest_of


def other_kinds(run: Run) -> tuple[Kind, ...]:
    """Return the kinds of costs, beside latency, that objectives and limits name."""
    return tuple(kind for kind in run.kinds if kind != "latency")


def costs_inputs(run: Run) -> dict[str, Any]:
    """Return what decides on the measurement; nothing where only latency counts."""
    kinds = other_kinds(run)
    if not kinds:
        return {}
    power = run.device.description.power
    return {
        "costs": {
            "kinds": list(kinds),
            "networks": run.job.profile.networks.model_dump(mode="json"),
            "power": None if power is None else power.model_dump(mode="json"),
        }
    }


def costs_path(run: Run, runtime: str) -> Path:
    """Return where the costs of the files of one runtime lie."""
    return run.folder / f"measured/{runtime}-costs.json"


def measure_files_costs(
    run: Run, runtime: str, files: Mapping[str, Path], progress: Progress
) -> Path | None:
    """Measure files, by name, on one runtime; None where there is nothing to measure.

    The budget is asked of the job's own runtime: what cannot be measured there is an error, and
    elsewhere a reason that is told.
    """
    kinds = other_kinds(run)
    if not kinds or not files:
        return None
    subject = {
        **costs_inputs(run),
        "files": {name: sha256_of(path) for name, path in files.items()},
        "device": run.device.fingerprint.match_key,
        "runtime": runtime,
        "version": engine_version(run.device, runtime),
        "settings": engine_settings(run.device, runtime),
    }
    path, digest = costs_path(run, runtime), digest_of(subject)
    if _finished(path, digest):
        return path
    not_run = None
    measured: dict[str, dict[str, Any]] = {}
    try:
        found = measure_costs(
            run.device,
            runtime,
            files,
            kinds,
            settings=run.job.profile.networks.to_settings(),
            precision=run.job.device.precision,
            n_retries=N_RETRIES,
            progress=progress,
        )
        measured = {
            name: {column_of(kind): _entry(kind, asdict(cost)) for kind, cost in costs.items()}
            for name, costs in found.items()
        }
    except (DeviceError, UsageError) as error:
        if runtime == run.job.device.runtime:
            raise
        not_run = str(error)
    write_json(
        path,
        {
            "subject": digest,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": run.device.fingerprint.slug,
            "runtime": runtime,
            "version": subject["version"],
            "costs": measured,
            "not_run": not_run,
        },
    )
    return path


def with_costs(run: Run, manifest: Manifest, name: str, runtime: str) -> Manifest:
    """Return a file's manifest with what was measured of it."""
    if not other_kinds(run):
        return manifest
    content = run.read(f"measured/{runtime}-costs.json")
    costs = tuple(
        MeasuredCost(objective=objective, device=content["device"], runtime=runtime, **entry)
        for objective, entry in content["costs"].get(name, {}).items()
    )
    not_run = manifest.not_run
    if content["not_run"] is not None:
        not_run = {**not_run, "measured_costs": content["not_run"]}
    return manifest.model_copy(update={"measured_costs": costs, "not_run": not_run})


def _entry(kind: Kind, cost: Mapping[str, Any]) -> dict[str, Any]:
    return {"unit": UNITS[kind], **cost}


def _finished(path: Path, digest: str) -> bool:
    """Return whether the same things were measured there, with nothing left out."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return bool(content["subject"] == digest and content["not_run"] is None)
    except (OSError, ValueError, KeyError, TypeError):
        return False
