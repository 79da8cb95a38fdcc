"""Step 8: the picked network as model files, each held against it; the test part is opened here."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.artifact import failed_path, formats_by_suffix
from edgenas.core.errors import ExportError, StorageError, ValidationError
from edgenas.core.files import move, write_bytes, write_json
from edgenas.exporters import Exporter, ExportRequest
from edgenas.exporters.base import Images
from edgenas.exporters.manifest import (
    Manifest,
    PredictedCost,
    PredictedLatency,
    Source,
    make_manifest,
    manifest_path,
    untimed,
    write_manifest,
)
from edgenas.exporters.validate import Check, refusal, run_checks
from edgenas.profiling.progress import Progress
from edgenas.runtimes.bench import engine_version
from edgenas.study.chain import Step
from edgenas.study.context import Run
from edgenas.study.steps.pick import picked, predicted_costs, predicted_latency
from edgenas.study.steps.quantise import load_model
from edgenas.study.steps.written import inputs_of, request_of, what_fits

_FOLDER = "export"
EXPORT = f"{_FOLDER}/export.json"
BUNDLE_FOLDER = "bundle"
"""In which there is a folder for each file that is a result."""
REFERENCE = f"{_FOLDER}/reference.npz"
"""``inputs``, normalised, shape (n, channels, height, width), and the network's ``logits``."""
N_REFERENCE = 64
"""Validation images on which file and network are compared value by value."""


def model_path(run: Run, target: str) -> Path:
    """Return where the file of a target lies."""
    return run.folder / f"model{run.exporters[target].suffix}"


def draft_path(run: Run, target: str) -> Path:
    """Return where the manifest waits for its measurement."""
    return run.folder / f"{_FOLDER}/{target}.json"


def read_draft(run: Run, target: str) -> Manifest:
    """Return the manifest of a target's file, without a measured latency."""
    return Manifest.model_validate(run.read(f"{_FOLDER}/{target}.json"), strict=False)


def written_targets(run: Run) -> list[str]:
    """Return the targets that there are files of, sound or not."""
    return list(run.read(EXPORT)["targets"])


def unwritten(run: Run) -> dict[str, str]:
    """Return why there is no file, by target."""
    return dict(run.read(EXPORT)["unwritten"])


def has_failed(run: Run, target: str) -> bool:
    """Return whether a target's file failed its checks where it was written: no result."""
    return read_draft(run, target).status == "failed"


def sound_targets(run: Run, runtime: str) -> list[str]:
    """Return the targets whose files a runtime is to time; those that failed are left out."""
    return [
        target
        for target in written_targets(run)
        if run.runtime_of(target) == runtime and not has_failed(run, target)
    ]


def _inputs(run: Run) -> dict[str, Any]:
    return {
        "data": run.dataset.fingerprint,
        "targets": {
            target: exporter.recipe.model_dump(mode="json")
            for target, exporter in run.exporters.items()
        },
        "budgets": [str(budget) for budget in run.job.budgets()],
        "name": run.job.name,
        **_places(run),
    }


def _places(run: Run) -> dict[str, Any]:
    """Return which devices build files, and with what: another one's file is another file."""
    found = {
        target: {
            "device": run.device.fingerprint.match_key,
            "runtime": exporter.place.runtime,
            "version": engine_version(run.device, exporter.place.runtime),
        }
        for target, exporter in run.exporters.items()
        if exporter.place is not None
    }
    return {"places": found} if found else {}


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    _clear(run)
    request, test_accuracy = _request(run)
    (run.folder / _FOLDER).mkdir(parents=True, exist_ok=True)
    outputs: list[Path] = []
    refused: dict[str, str] = {}
    for i, (target, exporter) in enumerate(run.exporters.items()):
        progress("writing and checking files", i, len(run.exporters))
        try:
            outputs += _export(run, target, exporter, request)
        except ExportError as error:
            refused[target] = str(error)
    if not outputs:
        raise ExportError("\n".join(f"{target}: {why}" for target, why in refused.items()))
    progress("writing and checking files", len(run.exporters), len(run.exporters))
    content = {
        "test_accuracy": test_accuracy,
        "n_test": run.dataset.n_test,
        "targets": [target for target in run.exporters if target not in refused],
        "unwritten": refused,
    }
    write_json(run.folder / EXPORT, content)
    write_bytes(run.folder / REFERENCE, _reference(request))
    return [*outputs, run.folder / EXPORT, run.folder / REFERENCE]


def read_reference(run: Run) -> tuple[Images, npt.NDArray[np.float32]]:
    """Return the images on which files are compared with the network, and its logits for them."""
    try:
        with np.load(run.folder / REFERENCE) as content:
            return content["inputs"], content["logits"]
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"cannot read {run.folder / REFERENCE}: {error}; run `edgenas export` again"
        ) from error


def _reference(request: ExportRequest) -> bytes:
    content = BytesIO()
    np.savez(content, inputs=request.reference_inputs, logits=request.reference_logits)
    return content.getvalue()


def _clear(run: Run) -> None:
    """Remove the files of an earlier pick: nobody shall find two networks under one name."""
    shutil.rmtree(run.folder / _FOLDER, ignore_errors=True)
    shutil.rmtree(run.folder / BUNDLE_FOLDER, ignore_errors=True)
    for suffix in formats_by_suffix():
        path = run.folder / f"model{suffix}"
        for old in (path, manifest_path(path), failed_path(path)):
            old.unlink(missing_ok=True)


def _request(run: Run) -> tuple[ExportRequest, float | None]:
    """Return what the exporters are given, and the accuracy on the whole test part.

    Without labels there is no accuracy, and classes are numbers.
    """
    from edgenas.oneshot.evaluate import accuracy

    dataset, module = run.dataset, load_model(run)
    n_reference = min(N_REFERENCE, len(dataset.validation))
    inputs = inputs_of(run, module, dataset.validation.take(np.arange(n_reference)))
    # A pick that was trained on in 8 bits has no batch norms; what is written is the same graph.
    graph = run.space.network(picked(run).row)
    request = replace(request_of(run, module, inputs), graph=graph)
    if not dataset.is_labelled:
        return request, None
    test = dataset.open_test()
    shown = what_fits(module, test)
    on_shown = accuracy(module, dataset, shown)
    request = replace(
        request,
        test_images=inputs_of(run, module, shown),
        test_labels=shown.labels.astype(np.int64),
        test_accuracy=on_shown,
    )
    whole = on_shown if len(shown) == len(test) else accuracy(module, dataset, test)
    return request, whole


def _export(run: Run, target: str, exporter: Exporter, request: ExportRequest) -> list[Path]:
    """Write, check and describe one file; return what was written.

    A file that fails is set aside, its manifest says why, and the other targets get theirs. Until
    then the file lies in the step's own folder: what has a result's name has its manifest, too.

    Raises:
        ExportError: the target cannot have this network.
        StorageError: the file cannot be moved to its place.
    """
    path = model_path(run, target)
    request = exporter.with_calibration(request)
    artifact = exporter.export(request, run.folder / _FOLDER / path.name)
    checks = run_checks(exporter, request, artifact)
    runtime = run.runtime_of(target)
    not_run = {}
    if runtime is None:
        reason = exporter.unavailable_to_run_reason() or "no runtime here times such files"
        not_run = {"predicted_latency": f"no latency table: {reason}", "measured_latency": reason}
    manifest = make_manifest(
        exporter,
        request,
        artifact,
        checks=checks,
        source=_source(run),
        **_framing(run),
        predicted_latency=None if runtime is None else _predicted(run, runtime),
        predicted_costs=_predicted_costs(run, runtime),
        not_run=not_run,
    )
    draft = draft_path(run, target)
    write_json(draft, manifest.model_dump(mode="json"))
    later = untimed(manifest, "the run has not got there yet")
    write_manifest(manifest if runtime is None else later, path)
    place = path if manifest.status == "passed" else failed_path(path)
    move(artifact.path, place)
    return [place, draft]


def refuse_failed(run: Run) -> None:
    """Refuse the files that failed where they were written, and the lack of those that were not.

    Raises:
        ValidationError: there are such files; the message has all of them.
    """
    refused = [
        ValidationError(f"{target}: there is no file: {reason}", failed=("export",))
        for target, reason in unwritten(run).items()
    ]
    for target in written_targets(run):
        manifest, path = read_draft(run, target), model_path(run, target)
        if manifest.status == "failed":
            refused.append(refusal(path, checks_of(manifest), failed_path(path)))
    if refused:
        raise ValidationError.of(refused)


def checks_of(manifest: Manifest) -> list[Check]:
    """Return the checks of a manifest that were made."""
    return [Check(**entry.model_dump()) for entry in manifest.checks]


def _framing(run: Run) -> dict[str, Any]:
    """Return how the data set's images become inputs, as `make_manifest` takes it."""
    share = run.dataset.validation.crop_share
    return {"stored": run.dataset.image_shape[1:] if share is None else None, "crop_share": share}


def _source(run: Run) -> Source:
    arch = picked(run)
    return Source(
        run=run.job.name,
        architecture_id=arch.id,
        space=run.space.name,
        genes=arch.genes,
        config=run.space.describe(arch.row),
        data=f"{run.dataset.name} {run.dataset.fingerprint}",
        budget=tuple(str(budget) for budget in run.job.budgets()),
    )


def _predicted(run: Run, runtime: str) -> PredictedLatency:
    predicted = predicted_latency(run, runtime)
    return PredictedLatency(device=run.device.fingerprint.slug, runtime=runtime, **predicted)


def _predicted_costs(run: Run, runtime: str | None) -> list[PredictedCost]:
    """Return the other costs, of which there are tables for the job's own runtime only.

    Those of other devices are told with the device and runtime of their tables.
    """
    if runtime != run.job.device.runtime:
        return []
    slug = run.device.fingerprint.slug
    places = {
        name: (model.table.passport.device.slug, model.table.passport.runtime.name)
        for name, model in run.other_devices.items()
    }
    found = []
    for name, predicted in predicted_costs(run).items():
        device, engine = places.get(name, (slug, runtime))
        found.append(PredictedCost(objective=name, device=device, runtime=engine, **predicted))
    return found


def _summary(run: Run) -> str:
    content = run.read(EXPORT)
    told = [_told(run, target) for target in content["targets"]]
    names = ", ".join([*told, *(f"no file for {target}" for target in content["unwritten"])])
    found = content["test_accuracy"]
    if found is None:
        return f"{names}; the accuracy is not known: the images have no labels"
    return f"{names}; accuracy on {content['n_test']} test images {found:.2%}"


def _told(run: Run, target: str) -> str:
    name = model_path(run, target).name
    failed = [check.name for check in read_draft(run, target).checks if not check.passed]
    return f"{name} failed {', '.join(failed)}" if failed else name


EXPORT_STEP = Step(
    name="export",
    needs=("profile", "finetune", "quantise"),
    version=3,
    inputs=_inputs,
    make=_make,
    summary=_summary,
    check=refuse_failed,
)
