"""What the device says of an exported file: its checks there, and the budget of the very file."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.core.artifact import failed_path
from edgenas.core.errors import StorageError, ValidationError
from edgenas.core.files import move
from edgenas.costs.kinds import KIND_OF
from edgenas.exporters.manifest import Manifest, read_manifest
from edgenas.exporters.validate import Check, refusal, set_aside
from edgenas.profiling.file_checks import check_on_device
from edgenas.profiling.progress import Progress
from edgenas.study.context import Run
from edgenas.study.steps.export import (
    checks_of,
    has_failed,
    model_path,
    read_reference,
    written_targets,
)

BUDGET = "budget_"
"""What the names of budgets' checks begin with."""


def file_checks(run: Run, target: str, runtime: str, progress: Progress) -> list[Check]:
    """Return what the device makes of the file of a target."""
    inputs, logits = read_reference(run)
    return check_on_device(
        run.device,
        runtime,
        run.exporters[target],
        model_path(run, target),
        inputs=inputs,
        reference=logits,
        progress=progress,
    )


def budget_checks(run: Run, runtime: str, manifest: Manifest) -> list[Check]:
    """Return whether a measured file keeps the limits that are asked of it, one check a limit.

    They are asked of the job's own runtime; what was not measured is no check here, but told.
    """
    if runtime != run.job.device.runtime:
        return []
    found: dict[str, tuple[float, tuple[float, ...], str]] = {
        cost.objective: (cost.value, (), cost.unit) for cost in manifest.measured_costs
    }
    latency = manifest.measured_latency
    if latency is not None:
        found["latency_ms"] = (latency.latency_ms, latency.process_ms, "ms")
    checks = []
    for budget in run.job.budgets():
        if budget.name not in KIND_OF or budget.name not in found:
            continue
        value, processes, unit = found[budget.name]
        spread = ""
        if len(processes) > 1:
            spread = f", {min(processes):.4g} to {max(processes):.4g} in {len(processes)} processes"
        checks.append(
            Check(
                name=f"{BUDGET}{budget.name}",
                passed=budget.violation(value) <= 0,
                measured=value,
                tolerance=budget.limit,
                detail=f"{value:.4g} {unit} measured{spread}; asked {budget}",
            )
        )
    return checks


def bring_back(run: Run) -> None:
    """Give files their names again that were set aside for what was measured of them.

    Raises:
        StorageError: one cannot be renamed.
    """
    for target in written_targets(run):
        path = model_path(run, target)
        broken = failed_path(path)
        if has_failed(run, target) or path.exists() or not broken.exists():
            continue
        move(broken, path)


def set_failed_aside(run: Run) -> None:
    """Rename every file that failed a check to ``<name>.failed``: it is no result.

    A broken budget is told by the result itself.

    Raises:
        ValidationError: a file failed something else than a budget on the device.
        StorageError: it cannot be renamed.
    """
    refused = []
    for target in written_targets(run):
        path = model_path(run, target)
        manifest = read_manifest(path)
        if manifest.status == "passed" or has_failed(run, target):
            continue  # who failed where it was written is told by that step
        broken = failed_path(path)
        if path.exists():
            broken = set_aside(path)
        elif not broken.exists():
            raise StorageError(f"{path} and {broken.name} are gone; run `edgenas export` again")
        if others := _failed(manifest):
            refused.append(refusal(path, others, broken))
    if refused:
        raise ValidationError.of(refused)


def _failed(manifest: Manifest) -> Sequence[Check]:
    """Return all checks of a file, budgets aside, if it failed one of these; else nothing."""
    checks = [check for check in checks_of(manifest) if not check.name.startswith(BUDGET)]
    return checks if any(check.passed is False for check in checks) else ()
