"""A bundle proven again: what it holds, what its file answers here and on a device, how fast."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pydantic

from edgenas.core.errors import InfeasibleError, RegistryError, ValidationError
from edgenas.core.measurement import MeasurementPlan
from edgenas.exporters import EXPORTERS, Exporter
from edgenas.exporters.bundle import BundleIndex, Finding, check_files, read_index
from edgenas.exporters.bundle.integrity import Contents, check_documents
from edgenas.hardware.device import load_device
from edgenas.profiling.progress import Progress, silent
from edgenas.study.job import MeasureSection
from edgenas.study.verify_device import BUDGET, prove_on_device
from edgenas.study.verify_file import prove_here

PLAN = MeasureSection().plan()
"""How the file is timed: as a run times it unless its job says otherwise."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of it.

    Attributes:
        bundle: the folder.
        index: what the bundle says it is.
        findings: in the order in which they were made; after a failed one what rests on it is
            left out, and a finding says so.
        latency_ms: of the file on the device, None where it was not timed.
    """

    bundle: Path
    index: BundleIndex
    findings: tuple[Finding, ...]
    latency_ms: float | None

    @property
    def was_run(self) -> bool:
        """Whether the file answered here, or was timed on the device: else only it was read."""
        opened = any(finding.name == "opens" and finding.passed for finding in self.findings)
        return opened or self.latency_ms is not None

    @property
    def exit_code(self) -> int:
        """0, or what the command line ends with: a failed check before a broken budget."""
        failed = {finding.name for finding in self.findings if finding.passed is False}
        if not failed:
            return 0
        return InfeasibleError.exit_code if failed == {BUDGET} else ValidationError.exit_code

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "bundle": str(self.bundle),
            "model": self.index.model,
            "target": self.index.target,
            "precision": self.index.precision,
            "budgets": list(self.index.budgets),
            "verified": self.exit_code == 0 and self.was_run,
            "was_run": self.was_run,
            "exit_code": self.exit_code,
            "latency_ms": self.latency_ms,
            "findings": [asdict(finding) for finding in self.findings],
        }


def verify(
    bundle: Path | str,
    *,
    device: str = "local",
    plan: MeasurementPlan = PLAN,
    progress: Progress = silent,
) -> Verification:
    """Prove a bundle again: its files, its documents, its model's answers, its latency.

    Args:
        bundle: its folder.
        device: where the file is run and timed: an id, or the path of a description.
        plan: how it is timed.
        progress: told how far that is.

    Raises:
        StorageError: there is no bundle in the folder.
        SchemaError: its index is damaged, of another version, or names files outside of it.
        DeviceError: the device cannot be reached or used.
    """
    folder = Path(bundle)
    index = read_index(folder)
    findings = check_files(folder, index)
    if _has_failed(findings):
        return _left_out(folder, index, findings, "the bundle is not what was made")
    contents, found = check_documents(folder, index)
    findings += found
    if contents is None:
        return _left_out(folder, index, findings, "its documents do not agree")
    exporter = _exporter(contents, findings)
    if exporter is None:
        return _left_out(folder, index, findings, "its recipe cannot be read")
    path = folder / index.model
    findings += prove_here(exporter, path, contents)
    if _has_failed(findings):
        return _left_out(folder, index, findings, "the file is not the trained network")
    with load_device(device) as claimed:
        found, latency_ms = prove_on_device(
            claimed, exporter, path, contents, index.budgets, plan=plan, progress=progress
        )
    return Verification(folder, index, (*findings, *found), latency_ms)


def _has_failed(findings: list[Finding]) -> bool:
    return any(finding.passed is False for finding in findings)


def _left_out(
    folder: Path, index: BundleIndex, findings: list[Finding], reason: str
) -> Verification:
    rest = Finding("rest", None, "run and timed", f"left out: {reason}")
    return Verification(folder, index, (*findings, rest), None)


def _exporter(contents: Contents, findings: list[Finding]) -> Exporter | None:
    """Return the exporter of the file with the recipe that its manifest holds."""
    manifest = contents.manifest
    asked = f"a recipe for {manifest.target}-{manifest.precision}"
    try:
        kind = EXPORTERS.get(manifest.target)
        values = {"schema_version": 1, "target": manifest.target, **manifest.options}
        recipe = kind.recipe_model.model_validate(values, strict=False)
    except RegistryError as error:
        remedy = "install the plug-in that brings this exporter"
        findings.append(Finding("recipe", False, asked, str(error), remedy))
        return None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "options"
        text = f"manifest.json: options: {place}: {first['msg']}"
        remedy = "verify it with the version of edgenas that made it, or make it anew"
        findings.append(Finding("recipe", False, asked, text, remedy))
        return None
    sound = (recipe.target, recipe.precision) == (manifest.target, manifest.precision)
    remedy = "" if sound else "make the bundle anew: edgenas export RUN"
    found = f"one for {recipe.target}-{recipe.precision}"
    findings.append(Finding("recipe", sound, asked, found, remedy))
    return kind(recipe) if sound else None
