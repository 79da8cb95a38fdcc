"""The proof: budget, prediction and measurement of every exported file, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgenas.core.architecture import Architecture
from edgenas.core.artifact import failed_path
from edgenas.core.files import sha256_of
from edgenas.core.objective import Constraint
from edgenas.costs.kinds import KIND_OF
from edgenas.exporters.manifest import Manifest, read_manifest
from edgenas.study.context import INTERVAL_COVERAGE, Run
from edgenas.study.steps.export import (
    EXPORT,
    has_failed,
    model_path,
    unwritten,
    written_targets,
)
from edgenas.study.steps.finetune import FINETUNING
from edgenas.study.steps.pick import PICK, picked
from edgenas.study.steps.search import read_front

PROOF = "proof.json"
SCHEMA_VERSION = 1


def make_proof(run: Run) -> dict[str, Any]:
    """Return the proof as JSON values; manifests and timings must be there."""
    timings = {name: run.read(f"measured/{name}.json") for name in run.runtimes}
    pick, export = run.read(PICK), run.read(EXPORT)
    finetuned = run.read(FINETUNING)
    files = [_file(run, target, timings) for target in written_targets(run)]
    return {
        "schema_version": SCHEMA_VERSION,
        "job": run.job.name,
        "created": max(content["created"] for content in timings.values()),
        "device": run.device.fingerprint.slug,
        "runtime": run.job.device.runtime,
        "precision": run.job.device.precision,
        "interval_coverage": INTERVAL_COVERAGE,
        "budgets": [str(budget) for budget in run.job.budgets()],
        "caveats": {name: list(texts) for name, texts in run.caveats.items()},
        "architecture": {key: pick[key] for key in ("id", "space", "genes", "config")},
        "validation_accuracy": finetuned["validation_accuracy"],
        "test_accuracy": export["test_accuracy"],
        "n_test": export["n_test"],
        "limits": _limits(run, picked(run), {**pick["values"], **_tested(run, export, files)}),
        "files": files,
        "unwritten": unwritten(run),
        "front": _front(run, timings),
    }


def _tested(
    run: Run, export: Mapping[str, Any], files: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Return the accuracy on the test part, which says more than the search's, if it is known.

    Of a precision other than the network's own it is the file's, which is what is deployed.
    """
    found = export["test_accuracy"]
    if run.job.device.precision != "float32":
        own = [one["test_accuracy"] for one in files if one["runtime"] == run.job.device.runtime]
        found = next((value for value in own if value is not None), found)
    return {} if found is None else {"accuracy": found}


def budget_kept(proof: Mapping[str, Any]) -> bool | None:
    """Return whether the budget was kept; None if there is none or nothing was measured.

    Measured budgets are asked of the job's own runtime; the other limits of the network.
    """
    found = [
        entry["budget_kept"]
        for entry in proof["files"]
        if entry["runtime"] == proof["runtime"] and entry["budget_kept"] is not None
    ]
    found += [entry["kept"] for entry in proof["limits"]]
    return all(found) if found else None


def _measured_budgets(run: Run) -> list[Constraint]:
    """Return the budgets that files are measured for."""
    return [budget for budget in run.job.budgets() if budget.name in KIND_OF]


def _limits(run: Run, arch: Architecture, values: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the budgets on what is not measured, and what the result has of them.

    What another device takes is predicted by its table, and ``predicted`` says so. Where such a
    limit has a confidence, ``value`` is the upper end of the prediction.
    """
    found = []
    for budget in run.job.budgets():
        if budget.name in KIND_OF:
            continue
        value, other = values[budget.name], run.other_devices.get(budget.name)
        if other is not None:
            value = float(other.upper(arch.row[None], budget.confidence)[0])
        found.append(
            {
                "budget": str(budget),
                "value": value,
                "kept": budget.violation(value) <= 0,
                "predicted": other is not None,
            }
        )
    return found


def _file(run: Run, target: str, timings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    path, runtime = model_path(run, target), run.runtime_of(target)
    manifest = read_manifest(path)
    here = failed_path(path) if has_failed(run, target) else path
    predicted = manifest.predicted_latency
    measured = None
    values = {cost.objective: cost.value for cost in manifest.measured_costs}
    if runtime is not None and manifest.measured_latency is not None:
        timing = timings[runtime]["timings"][path.name]
        measured = {key: value for key, value in timing.items() if key != "samples_ms"}
        values["latency_ms"] = measured["latency_ms"]
    budgets = [budget for budget in _measured_budgets(run) if budget.name in values]
    kept = [budget.violation(values[budget.name]) <= 0 for budget in budgets]
    return {
        "target": target,
        "file": path.name,
        "status": manifest.status,
        "sha256": sha256_of(here),
        "n_bytes": here.stat().st_size,
        "runtime": runtime,
        "predicted": None if predicted is None else predicted.model_dump(mode="json"),
        "measured": measured,
        "costs": _costs(manifest, budgets),
        "budget_kept": all(kept) if kept else None,
        "test_accuracy": _test_accuracy(manifest),
        "checks": [check.model_dump(mode="json") for check in manifest.checks],
        "options": manifest.options,
        "not_run": manifest.not_run,
    }


def _test_accuracy(manifest: Manifest) -> float | None:
    """Return the accuracy of the very file on the test part, if it was found here."""
    return next((check.value for check in manifest.checks if check.name == "accuracy"), None)


def _costs(manifest: Manifest, budgets: Sequence[Constraint]) -> dict[str, dict[str, Any]]:
    """Return what was predicted and measured of a file beside its latency, by objective."""
    predicted = {cost.objective: cost.model_dump(mode="json") for cost in manifest.predicted_costs}
    measured = {cost.objective: cost.model_dump(mode="json") for cost in manifest.measured_costs}
    found = {}
    for name in dict.fromkeys((*predicted, *measured)):
        own = [budget for budget in budgets if budget.name == name]
        kept = [budget.violation(measured[name]["value"]) <= 0 for budget in own]
        found[name] = {
            "predicted": predicted.get(name),
            "measured": measured.get(name),
            "budget_kept": all(kept) if kept else None,
        }
    return found


def _front(run: Run, timings: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return prediction and measurement of the front members that were timed again."""
    archs = {member.arch.id: member.arch for member in read_front(run)}
    rows = []
    for runtime, content in timings.items():
        for name, timing in content["timings"].items():
            if name not in archs:
                continue
            prediction = run.models[runtime].predictions(archs[name].row[None])[0]
            rows.append(
                {
                    "id": name,
                    "runtime": runtime,
                    "predicted_ms": prediction.value,
                    "low_ms": prediction.low,
                    "high_ms": prediction.high,
                    "measured_ms": timing["latency_ms"],
                }
            )
    return rows
