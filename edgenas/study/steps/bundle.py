"""Step 10: a folder for each sound file, with all that it takes to use and prove it elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgenas.core.files import write_json
from edgenas.exporters.bundle import BundleRequest, make_bundle
from edgenas.exporters.bundle.card import Accuracy
from edgenas.exporters.manifest import read_manifest
from edgenas.profiling.progress import Progress
from edgenas.study.chain import Step
from edgenas.study.context import Run
from edgenas.study.steps.device_checks import BUDGET as BUDGET_CHECK
from edgenas.study.steps.export import BUNDLE_FOLDER as FOLDER
from edgenas.study.steps.export import model_path, read_reference
from edgenas.study.steps.proof import PROOF

BUNDLES = f"{FOLDER}/bundles.json"


def bundle_path(run: Run, target: str) -> Path:
    """Return where the bundle of a target lies."""
    return run.folder / f"{FOLDER}/{target}"


def refusal(entry: Mapping[str, Any], proof: Mapping[str, Any]) -> str | None:
    """Return why a file of the proof gets no bundle, None if it gets one."""
    failed = [check["name"] for check in entry["checks"] if check["passed"] is False]
    others = [name for name in failed if not name.startswith(BUDGET_CHECK)]
    if others:
        return f"its checks failed: {', '.join(others)}"
    if failed or (_is_asked(entry, proof) and entry["budget_kept"] is False):
        return "it breaks the budget"
    broken = [limit["budget"] for limit in proof["limits"] if not limit["kept"]]
    return f"the network breaks {', '.join(broken)}" if broken else None


def _is_asked(entry: Mapping[str, Any], proof: Mapping[str, Any]) -> bool:
    """Return whether the measured budgets are asked of a file; of other runtimes they are not."""
    return bool(entry["runtime"] == proof["runtime"])


def _inputs(run: Run) -> dict[str, Any]:
    return {"targets": list(run.exporters)}


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    shutil.rmtree(run.folder / FOLDER, ignore_errors=True)  # of an earlier pick
    proof = run.read(PROOF)
    outputs: list[Path] = []
    made: list[str] = []
    refused = {target: f"there is no file: {why}" for target, why in proof["unwritten"].items()}
    for i, entry in enumerate(proof["files"]):
        progress("making bundles", i, len(proof["files"]))
        target = entry["target"]
        reason = refusal(entry, proof)
        if reason is None and not model_path(run, target).is_file():
            reason = "it failed and was set aside"
        if reason is not None:
            refused[target] = reason
            continue
        request = _request(run, target, proof, is_asked=_is_asked(entry, proof))
        outputs += make_bundle(request, bundle_path(run, target))
        made.append(target)
    write_json(run.folder / BUNDLES, {"made": made, "refused": refused})
    return [*outputs, run.folder / BUNDLES]


def _request(run: Run, target: str, proof: Mapping[str, Any], *, is_asked: bool) -> BundleRequest:
    inputs, logits = read_reference(run)
    model = model_path(run, target)
    limits = [limit["budget"] for limit in proof["limits"]]
    return BundleRequest(
        model=model,
        manifest=read_manifest(model),
        exporter=run.exporters[target],
        inputs=inputs,
        logits=logits,
        accuracy=Accuracy(proof["validation_accuracy"], proof["test_accuracy"], proof["n_test"]),
        budgets=tuple(text for text in proof["budgets"] if is_asked or text in limits),
    )


def _summary(run: Run) -> str:
    content = run.read(BUNDLES)
    parts = [f"{FOLDER}/{target}" for target in content["made"]]
    parts += [f"none for {name}: {reason}" for name, reason in content["refused"].items()]
    return "; ".join(parts)


BUNDLE = Step(
    name="bundle",
    needs=("export", "measure"),
    version=2,
    inputs=_inputs,
    make=_make,
    summary=_summary,
)
