"""A bundle's model file, opened here in a process of its own and held against what is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgenas.core.errors import ExportError
from edgenas.exporters import Exporter
from edgenas.exporters.bundle import Finding
from edgenas.exporters.bundle.integrity import Contents
from edgenas.exporters.bundle.recorded import as_images
from edgenas.exporters.trial import Trial, try_file
from edgenas.exporters.validate import Check, delegate_check, top1_check, values_check

_RECORDED = "recorded"
REMEDY = "do not deploy it; run 'edgenas doctor', then export again: edgenas export RUN"


def prove_here(exporter: Exporter, path: Path, contents: Contents) -> list[Finding]:
    """Return what the file declares and answers here; it is not this machine's to be timed."""
    reason = exporter.unavailable_to_run_reason()
    if reason is not None:
        return [Finding("opens", None, "opened and run on this machine", f"not tried: {reason}")]
    images = {_RECORDED: as_images(contents.inputs, contents.how.input)}
    limit_s = exporter.recipe.timeout_s
    try:
        trial = try_file(exporter, path, images, timeout_s=limit_s)
    except ExportError as error:
        return [Finding("opens", False, f"opened and run within {limit_s:g} s", str(error), REMEDY)]
    found = trial.logits[_RECORDED]
    checks = [
        values_check(exporter.recipe, contents.logits, found),
        top1_check(exporter.recipe, contents.logits, found),
        delegate_check(exporter.recipe, trial.outside),
    ]
    opened = Finding("opens", True, "opened and run", "in a process of its own")
    return [opened, *_interface(contents, trial), *findings_of(checks)]


def findings_of(checks: Sequence[Check]) -> list[Finding]:
    """Return an exporter's checks as findings."""
    return [
        Finding(
            check.name,
            check.passed,
            "as the recipe asks" if check.tolerance is None else f"recipe: {check.tolerance:g}",
            check.detail,
            REMEDY if check.passed is False else "",
        )
        for check in checks
    ]


def _interface(contents: Contents, trial: Trial) -> list[Finding]:
    source, result, found = contents.manifest.input, contents.manifest.output, trial.signature
    pairs = {
        "names": ((source.name, result.name), (found.input_name, found.output_name)),
        "shapes": ((source.shape, result.shape), (found.input_shape, found.output_shape)),
    }
    return [
        Finding(name, wanted == got, _arrow(wanted), _arrow(got), "" if wanted == got else REMEDY)
        for name, (wanted, got) in pairs.items()
    ]


def _arrow(pair: tuple[object, object]) -> str:
    return f"{pair[0]} -> {pair[1]}"
