"""Step 11: what is known of the run, gathered into report.json and drawn as report.html."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.core.errors import StorageError
from edgenas.exporters.manifest import tool_versions
from edgenas.profiling.progress import Progress
from edgenas.spaces.fold import macs
from edgenas.study.chain import Step
from edgenas.study.context import INTERVAL_COVERAGE, Run
from edgenas.study.other_devices import copy_path
from edgenas.study.report import (
    BlockCost,
    DataSummary,
    EvaluatedPoint,
    ExportCheck,
    ExportedFile,
    FileCost,
    Finalist,
    FrontMember,
    Learned,
    LearnedDistribution,
    LearnedEpoch,
    ProgressPoint,
    Remeasured,
    ReportData,
    StepTime,
    TableRecord,
    write_report,
    write_report_data,
)
from edgenas.study.steps import differentiable
from edgenas.study.steps.accuracy_sentences import accuracy_sentences
from edgenas.study.steps.bundle import BUNDLES
from edgenas.study.steps.candidates import decisive_candidates
from edgenas.study.steps.differentiable import LEARNED
from edgenas.study.steps.finalists import read_finalists
from edgenas.study.steps.finetune import FINETUNING
from edgenas.study.steps.pick import picked
from edgenas.study.steps.proof import PROOF, budget_kept
from edgenas.study.steps.quantise import QUANTISE, QUANTISED
from edgenas.study.steps.search import EVALUATIONS, read_front
from edgenas.study.steps.train import TIMING, TRAINING
from edgenas.study.table_names import TableName

DATA, PAGE = "report.json", "report.html"
_BEFORE = (
    "profile",
    "train",
    "search",
    "finalists",
    "pick",
    "finetune",
    "quantise",
    "export",
    "measure",
    "bundle",
)
_SLOW_SHARE = 0.5


def _inputs(run: Run) -> dict[str, Any]:
    return {
        "name": run.job.name,
        "report": run.job.report.model_dump(mode="json"),
        "constraints": list(run.job.constraints),
    }


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    del progress
    data = gather(run)
    write_report_data(data, run.folder / DATA)
    write_report(data, run.folder / PAGE)
    return [run.folder / DATA, run.folder / PAGE]


def gather(run: Run) -> ReportData:
    """Return all that the report shows; every earlier step is done."""
    proof = run.read(PROOF)
    fingerprint = run.device.fingerprint
    return ReportData(
        name=run.job.report.title or run.job.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        space=run.space.name,
        device=f"{fingerprint.cpu_name or fingerprint.arch} ({fingerprint.slug})",
        runtime=run.job.device.runtime,
        confidence=INTERVAL_COVERAGE,
        objectives=run.job.objectives,
        constraints=tuple(str(budget) for budget in run.job.budgets()),
        pick_rule=run.job.pick,
        front=_front(run, proof),
        evaluations=_evaluations(run),
        progress=_progress(run),
        predicted_accuracy=run.predictor is not None,
        predictor=accuracy_sentences(run),
        learned=_learned(run),
        precision=run.job.device.precision,
        finalists=tuple(Finalist(**asdict(one)) for one in read_finalists(run)),
        quantised=_quantised(run),
        remeasured=tuple(Remeasured(**entry) for entry in proof["front"]),
        blocks=_blocks(run),
        exports=_exports(proof),
        tables=_tables(run),
        data=_data(run),
        training=_training(run),
        steps=_steps(run),
        versions=tool_versions(
            [name for exporter in run.exporters.values() for name in exporter.distributions]
        ),
        warnings=tuple(_warnings(run, proof)),
    )


def _tables(run: Run) -> tuple[TableRecord, ...]:
    """Return every table of the run, those of other devices last."""
    named = {name: TableName.parse(name) for name in run.all_models}
    paths = {name: run.table_path(one.runtime, one.kind) for name, one in named.items()}
    paths |= {name: copy_path(run.folder, name.partition(".")[2]) for name in run.other_devices}
    return tuple(
        TableRecord(
            path=f"tables/{paths[name].name}",
            passport=model.table.passport,
            caveats=model.caveats,
        )
        for name, model in {**run.all_models, **run.other_devices}.items()
    )


def _front(run: Run, proof: dict[str, Any]) -> tuple[FrontMember, ...]:
    pick = picked(run).id
    measured = {
        entry["id"]: entry["measured_ms"]
        for entry in proof["front"]
        if entry["runtime"] == run.job.device.runtime
    }
    members = []
    for evaluation in read_front(run):
        prediction = run.model.predictions(evaluation.arch.row[None])[0]
        values = evaluation.values
        members.append(
            FrontMember(
                id=evaluation.arch.id,
                accuracy=values["accuracy"],
                latency_ms=prediction.value,
                low_ms=prediction.low,
                high_ms=prediction.high,
                coverage=prediction.coverage,
                n_macs=round(values["n_macs"]),
                n_params=round(values["n_params"]),
                peak_activation_kib=values["peak_activation_kib"],
                costs={
                    name: float(model.fold(evaluation.arch.row[None])[0])
                    for name, model in {**run.cost_models, **run.other_devices}.items()
                    if name != "latency_ms"
                },
                config=run.space.describe(evaluation.arch.row),
                measured_ms=measured.get(evaluation.arch.id),
                picked=evaluation.arch.id == pick,
            )
        )
    return tuple(members)


def _evaluations(run: Run) -> tuple[EvaluatedPoint, ...]:
    return tuple(
        EvaluatedPoint(
            id=record["id"],
            status=record["status"],
            accuracy=record["values"].get("accuracy"),
            latency_ms=record["values"].get("latency_ms"),
        )
        for record in run.read(EVALUATIONS)["evaluations"]
    )


def _progress(run: Run) -> tuple[ProgressPoint, ...]:
    content = run.read(EVALUATIONS)
    limits = [b for b in run.job.budgets() if b.name == "latency_ms" and not b.confidence]
    best: float | None = None
    points = []
    for i, record in enumerate(content["evaluations"]):
        values = record["values"]
        if record["status"] == "complete" and all(
            limit.violation(values["latency_ms"]) <= 0 for limit in limits
        ):
            best = max(best or 0.0, values["accuracy"])
        volume = content["hypervolume"][i]
        points.append(ProgressPoint(n_evaluations=i + 1, hypervolume=volume, best_accuracy=best))
    return tuple(points)


def _learned(run: Run) -> Learned | None:
    """Return the course of a differentiable search."""
    if run.job.search.differentiable is None:
        return None
    content = run.read(LEARNED)
    budgets = [one["budgets"] for one in content["distributions"]]
    keys = ("limits", "expected", "settled", "entropy", "drift")
    ends = [{key: one[key] for key in keys} for one in content["distributions"]]
    shown = ("epoch", "distribution", "is_warmup", "entropy", "weightless", "temperature", "costs")
    epochs = []
    for one in content["progress"]:
        own = budgets[one["distribution"]]
        ratios = [one["costs"][name] / limit for name, limit in own.items()]
        told = {key: one[key] for key in shown}
        epochs.append(LearnedEpoch(**told, ratio=max(ratios, default=None)))
    return Learned(
        method=content["method"],
        distributions=tuple(
            LearnedDistribution(**{**end, "limits": tuple(end["limits"])}) for end in ends
        ),
        epochs=tuple(epochs),
    )


def _quantised(run: Run) -> str:
    """Return what became of the pick in 8 bits; nothing where that was not asked."""
    if run.read(QUANTISED)["reason"] is not None:
        return ""
    text = QUANTISE.summary(run)
    return f"{text[0].upper()}{text[1:]}."


def _blocks(run: Run) -> tuple[BlockCost, ...]:
    row = picked(run).row
    counted = macs(run.space).by_factor(row[None])[0]
    n_macs = {
        factor.name: round(float(count))
        for factor, count in zip(run.space.factors, counted, strict=True)
    }
    return tuple(
        BlockCost(name=name, runtime=runtime, latency_ms=value, n_macs=n_macs.get(name))
        for runtime, model in run.models.items()
        for name, value in model.by_part(row)
    )


def _exports(proof: dict[str, Any]) -> tuple[ExportedFile, ...]:
    files = []
    for entry in proof["files"]:
        predicted, measured = entry["predicted"] or {}, entry["measured"] or {}
        files.append(
            ExportedFile(
                target=entry["target"],
                file=entry["file"],
                sha256=entry["sha256"],
                n_bytes=entry["n_bytes"],
                runtime=entry["runtime"],
                latency_ms=predicted.get("latency_ms"),
                low_ms=predicted.get("low_ms"),
                high_ms=predicted.get("high_ms"),
                measured_ms=measured.get("latency_ms"),
                process_ms=tuple(measured.get("process_ms", ())),
                costs=_costs(entry["costs"]),
                budget_kept=entry["budget_kept"],
                checks=tuple(
                    ExportCheck(name=c["name"], passed=c["passed"], detail=c["detail"])
                    for c in entry["checks"]
                ),
                test_accuracy=entry["test_accuracy"],
                n_test=proof["n_test"],
                not_run=entry["not_run"],
                failed=entry["status"] == "failed",
            )
        )
    files += [ExportedFile(target=name, error=why) for name, why in proof["unwritten"].items()]
    return tuple(files)


def _costs(entries: dict[str, dict[str, Any]]) -> tuple[FileCost, ...]:
    found = []
    for name, entry in entries.items():
        predicted, measured = entry["predicted"] or {}, entry["measured"] or {}
        found.append(
            FileCost(
                objective=name,
                unit=(predicted or measured)["unit"],
                predicted=predicted.get("value"),
                low=predicted.get("low"),
                high=predicted.get("high"),
                measured=measured.get("value"),
                modelled="modelled" in (predicted.get("provenance"), measured.get("provenance")),
                budget_kept=entry["budget_kept"],
            )
        )
    return tuple(found)


def _data(run: Run) -> DataSummary:
    dataset = run.dataset
    return DataSummary(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        image_shape=dataset.image_shape,
        n_classes=dataset.n_classes,
        n_train=len(dataset.train),
        n_validation=len(dataset.validation),
        n_test=dataset.n_test,
    )


def _training(run: Run) -> dict[str, dict[str, Any]]:
    finetuned = run.read(FINETUNING)
    if run.job.search.candidates is not None:
        about = decisive_candidates(run)
        candidates = {**about.pop("training"), **about}
        found = {"candidates": _plain(candidates), "the pick": _finetuning(finetuned)}
        return {**_supernet(run), **found} if run.job.trains_supernet else found
    if not run.shares_weights:
        return {"the pick": _finetuning(finetuned)}
    return {**_supernet(run), "fine-tuning": _finetuning(finetuned)}


def _supernet(run: Run) -> dict[str, dict[str, Any]]:
    """Return how the supernet was trained, or where its weights are from."""
    training = run.read(TRAINING)
    if "weights" in training:
        return {"imported weights": training["weights"]}
    supernet = {**training["settings"], "seed": training["seed"]}
    supernet["phases"] = "; ".join(f"{p['name']}: {p['epochs']} epochs" for p in training["phases"])
    try:
        supernet["median_step_s"] = round(run.read(TIMING)["median_step_s"], 4)
    except StorageError:
        supernet["median_step_s"] = None
    return {"supernet": supernet}


def _finetuning(finetuned: dict[str, Any]) -> dict[str, Any]:
    return {**_plain(finetuned["settings"]), "seed": finetuned["seed"]}


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a training in one phase, as a reader wants them."""
    return {name: value for name, value in settings.items() if name != "phases"}


def _steps(run: Run) -> tuple[StepTime, ...]:
    records = [run.folder.record(name) for name in _BEFORE]
    return tuple(
        StepTime(name=record.step, duration_s=record.took_s) for record in records if record
    )


def _warnings(run: Run, proof: dict[str, Any]) -> list[str]:
    found = []
    if budget_kept(proof) is False:
        found.append("A limit of the budget was not kept; see the proof.")
    refused = run.read(BUNDLES)["refused"]
    found += [f"There is no bundle for {target}: {reason}." for target, reason in refused.items()]
    every = {**run.all_models, **run.other_devices}
    for name, model in every.items():
        found += [f"The table for {name}: {caveat}." for caveat in model.caveats]
        drift = model.table.passport.drift
        if drift is not None and drift.slow_share > _SLOW_SHARE:
            found.append(
                f"While the table for {name} was made, the device was in a slow state for "
                f"{drift.slow_share:.0%} of the anchor's visits; intervals are wider for it."
            )
    pick = picked(run)
    for name, model in every.items():
        if model.predictions(pick.row[None])[0].coverage == "extrapolated":
            found.append(f"The pick lies outside what the table for {name} was calibrated on.")
    if run.job.search.differentiable is not None:
        found += differentiable.warnings(run)
    found += _outside(proof)
    known = [e for e in proof["front"] if e["low_ms"] is not None]
    outside = [e for e in known if not e["low_ms"] <= e["measured_ms"] <= e["high_ms"]]
    allowed = (1 - INTERVAL_COVERAGE) * len(known)
    if len(outside) > allowed + 2 * np.sqrt(allowed + 1):
        found.append(
            f"{len(outside)} of {len(known)} networks were measured outside their "
            f"{INTERVAL_COVERAGE:.0%} interval: the machine differs from when the table was made; "
            "profile it again."
        )
    return found


def _outside(proof: dict[str, Any]) -> list[str]:
    """Return which costs of the files, beside latency, lie outside what was predicted."""
    found = []
    for entry in proof["files"]:
        for name, cost in entry["costs"].items():
            predicted, measured = cost["predicted"], cost["measured"]
            if not predicted or not measured or predicted["low"] is None:
                continue
            if not predicted["low"] <= measured["value"] <= predicted["high"]:
                found.append(
                    f"{name} of {entry['file']} was measured as {measured['value']:.4g} "
                    f"{measured['unit']}, outside its interval of {predicted['low']:.4g} to "
                    f"{predicted['high']:.4g}: the device was disturbed, or is not as it was when "
                    "the table was made."
                )
    return found


def _summary(run: Run) -> str:
    return str(run.folder / PAGE)


REPORT = Step(
    name="report",
    needs=_BEFORE,
    version=2,
    inputs=_inputs,
    make=_make,
    summary=_summary,
)
