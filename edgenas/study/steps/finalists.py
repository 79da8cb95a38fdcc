"""Step 4: members of the front as files of the job's precision, by what these get right and take.

A search in 8 bits ranks by the accuracy of networks in float32 and by predicted latencies. Here the
best of them are written, run on the validation images and timed; who another one beats then falls
off the front, and the pick is made among those that stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Architecture, population
from edgenas.core.artifact import FORMATS
from edgenas.core.errors import ExportError, InfeasibleError, UsageError
from edgenas.core.evaluation import Evaluation
from edgenas.core.files import scratch_folder, write_json
from edgenas.pareto import non_dominated
from edgenas.profiling.file_checks import reason_not_to_run
from edgenas.profiling.measure import measure_files
from edgenas.profiling.progress import Progress
from edgenas.profiling.retrying import N_RETRIES
from edgenas.profiling.workload import write_model
from edgenas.runtimes import RUNTIMES
from edgenas.runtimes.bench import engine_version
from edgenas.study.chain import Step
from edgenas.study.context import Run
from edgenas.study.picking import Upper, pick, points
from edgenas.study.steps.search import read_front
from edgenas.study.steps.written import (
    file_accuracy,
    inputs_of,
    own_exporter,
    request_of,
    unanswered_reason,
    what_fits,
)

FINALISTS = "finalists/finalists.json"
_N_COMPARED = 64
"""Images for which the network's own logits are kept; its file is judged by labels."""


@dataclass(frozen=True, slots=True)
class Finalist:
    """A member of the front and its file.

    Attributes:
        id: of the architecture.
        accuracy: as the search saw it; None if nothing told it.
        file_accuracy: of the file on the validation images; None where it could not be found.
        latency_ms: predicted.
        measured_ms: of the file.
        beaten_by: the finalist for whose sake it fell off the front, if it did.
        error: why there is no file of it, or why the file does not run on the device.
    """

    id: str
    accuracy: float | None
    file_accuracy: float | None
    latency_ms: float
    measured_ms: float | None
    beaten_by: str | None = None
    error: str | None = None


def read_finalists(run: Run) -> list[Finalist]:
    """Return the finalists of a run, the fastest prediction first; none if it asks for none."""
    return [Finalist(**one) for one in run.read(FINALISTS)["finalists"]]


def reranked(run: Run) -> list[Evaluation]:
    """Return what is picked from: the finalists that stayed, with measured values, or the front."""
    members = costed(run, read_front(run))
    if not run.job.n_finalists:
        return members
    known = {one.id: one for one in read_finalists(run)}
    return [
        replace(member, values=_values(member, known[member.arch.id]))
        for member in members
        if member.arch.id in known and _stays(known[member.arch.id])
    ]


def costed(run: Run, members: Sequence[Evaluation]) -> list[Evaluation]:
    """Return members with all predicted costs, those that the search did not look at too."""
    rows = population([member.arch for member in members], run.space.n_genes)
    models = {**run.cost_models, **run.other_devices}
    folds = {name: model.fold(rows) for name, model in models.items()}
    return [
        replace(member, values={**member.values, **{name: float(folds[name][i]) for name in folds}})
        for i, member in enumerate(members)
    ]


def _stays(finalist: Finalist) -> bool:
    return finalist.beaten_by is None and finalist.error is None


def _values(member: Evaluation, finalist: Finalist) -> dict[str, float]:
    """Return a member's values, those that are known of its file in place of the search's."""
    found = {"accuracy": finalist.file_accuracy, "latency_ms": finalist.measured_ms}
    return {**member.values, **{name: v for name, v in found.items() if v is not None}}


def _chosen(run: Run) -> list[Evaluation]:
    """Return the finalists: half are the pick's first choices, the others spread over the front."""
    front, n = read_front(run), run.job.n_finalists
    if len(front) <= n:
        return front
    costs = run.costs(run.job.budgets())
    chosen: list[Evaluation] = []
    left = costed(run, front)
    while left and len(chosen) < (n + 1) // 2:
        try:
            best = pick(
                left,
                run.job.pick,
                objectives=run.objectives,
                upper=costs.upper,
                least=costs.least,
            )
        except (InfeasibleError, UsageError):
            break  # nothing else keeps the budget, or one was named by its id
        chosen.append(best)
        left.remove(best)
    ids = {member.arch.id for member in chosen}
    others = [member for member in front if member.arch.id not in ids]
    places = np.linspace(0, len(others) - 1, n - len(chosen)).round().astype(int)
    ids |= {others[i].arch.id for i in places}
    return [member for member in front if member.arch.id in ids]


def _inputs(run: Run) -> dict[str, Any]:
    if not run.job.n_finalists:
        return {"n": 0}
    device = run.job.device
    return {
        "n": run.job.n_finalists,
        "finalists": [member.arch.id for member in _chosen(run)],
        "n_validation_images": _n_images(run),
        "data": run.dataset.fingerprint,
        "recipe": own_exporter(run).recipe.model_dump(mode="json"),
        "measure": run.job.measure.model_dump(mode="json"),
        "device": run.device.fingerprint.match_key,
        "version": engine_version(run.device, device.runtime),
        "table": run.model.table.passport.checksum,
    }


def _n_images(run: Run) -> int | None:
    return run.job.finalists.n_validation_images or run.job.search.n_validation_images


def _make(run: Run, progress: Progress) -> Sequence[Path]:
    members = _chosen(run) if run.job.n_finalists else []
    found: list[Finalist] = []
    if members:
        with scratch_folder() as folder:
            found = _measured(run, members, folder, progress)
        _refuse_none(found, run.job.device.precision)
    entries = [asdict(one) for one in _judged(run, members, found)]
    write_json(run.folder / FINALISTS, {"finalists": entries})
    return [run.folder / FINALISTS]


def _refuse_none(finalists: Sequence[Finalist], precision: str) -> None:
    """Refuse finalists of which there is nothing to pick from; the step is then not done.

    Raises:
        ExportError: none could be written and run.
    """
    if all(one.error is not None for one in finalists):
        errors = "; ".join(f"{one.id}: {one.error}" for one in finalists)
        raise ExportError(f"no finalist could be written and run in {precision}: {errors}")


def _measured(
    run: Run, members: Sequence[Evaluation], folder: Path, progress: Progress
) -> list[Finalist]:
    """Return the finalists with what their files get right and take."""
    predicted = run.model.fold(population([one.arch for one in members], run.space.n_genes))
    found: list[Finalist] = []
    paths: dict[str, Path] = {}
    for i, member in enumerate(members):
        progress("finalists: writing and running files", i, len(members))
        name = member.arch.id
        path = folder / f"{name}{_suffix(run)}"
        accuracy, error = None, None
        try:
            accuracy = _write(run, member, path)
            error = _device_fault(run, path)
        except ExportError as refused:
            error = str(refused)
        if error is None:
            paths[name] = path
        known = member.values.get("accuracy")
        found.append(Finalist(name, known, accuracy, float(predicted[i]), None, error=error))
    progress("finalists: writing and running files", len(members), len(members))
    times = measure_files(
        run.device,
        run.job.device.runtime,
        paths,
        run.job.measure.plan(),
        precision=run.job.device.precision,
        n_retries=N_RETRIES,
        progress=progress,
    )
    return [
        replace(one, measured_ms=times[one.id].latency_ms) if one.id in times else one
        for one in found
    ]


def _device_fault(run: Run, path: Path) -> str | None:
    """Return why a file does not run on the device; it takes no other finalist with it."""
    own = run.job.device
    reason = reason_not_to_run(run.device, own.runtime, path, precision=own.precision)
    return None if reason is None else f"it does not run on {run.device.id}: {reason}"


def _suffix(run: Run) -> str:
    """Return that of the files: where weights are random, they are those of tables."""
    if run.shares_weights:
        return own_exporter(run).suffix
    return FORMATS.get(RUNTIMES.get(run.job.device.runtime).format)


def _write(run: Run, member: Evaluation, path: Path) -> float | None:
    """Write a member's file and return what it gets right.

    Without weights that candidates share there are none to write: the file is then one of random
    weights, which takes as long, and its accuracy is not known. Nor is it without labels, or where
    such files do not run on this machine.

    Raises:
        ExportError: it cannot be written, or does not run.
    """
    exporter = own_exporter(run)
    if not run.shares_weights:
        own, network = run.job.device, run.space.network(member.arch.row)
        write_model(path.with_suffix(""), network, own.runtime, own.precision)
        return None
    from edgenas.oneshot.calibration import calibrate, calibration_of
    from edgenas.oneshot.supernet import extract

    module = extract(run.supernet, run.space, member.arch.row)
    calibrate(module, calibration_of(run.dataset))
    validation = run.dataset.validation
    order = np.random.default_rng(0).permutation(len(validation))  # those of the search
    part = what_fits(module, validation.take(np.sort(order[: _n_images(run)])))
    inputs = inputs_of(run, module, part)
    exporter.export(request_of(run, module, inputs[:_N_COMPARED]), path)
    if not run.dataset.is_labelled or unanswered_reason(exporter):
        return None
    return file_accuracy(exporter, path, inputs, part.labels.astype(np.int64))


def _judged(
    run: Run, members: Sequence[Evaluation], finalists: Sequence[Finalist]
) -> list[Finalist]:
    """Return the finalists, each that another one beats with the name of that one."""
    sound = [
        (one, replace(member, values=_values(member, one)))
        for member, one in zip(members, finalists, strict=True)
        if one.error is None
    ]
    values = points([member for _, member in sound], run.objectives)
    stays = non_dominated(values)
    beaten: dict[str, str] = {}
    for i, (one, _) in enumerate(sound):
        if not stays[i]:
            better = np.flatnonzero(stays & (values <= values[i]).all(axis=1))
            beaten[one.id] = sound[better[0]][0].id
    return [replace(one, beaten_by=beaten.get(one.id)) for one in finalists]


def _summary(run: Run) -> str:
    found = read_finalists(run)
    if not found:
        return "none asked for"
    text = f"{len(found)} files in {run.job.device.precision} measured"
    fell = sum(one.beaten_by is not None for one in found)
    text += f", {fell} fell off the front" if fell else ", all stay on the front"
    lost = [_lost(one) for one in found if one.accuracy is not None]
    known = [value for value in lost if value is not None]
    if known:
        text += (
            f"; they lose {np.median(known):.2%} of the images (median), at most {max(known):.2%}"
        )
    failed = sum(one.error is not None for one in found)
    return text + (f"; {failed} could not be written and run" if failed else "")


def _lost(one: Finalist) -> float | None:
    """Return what a file gets less right than the search saw."""
    if one.accuracy is None or one.file_accuracy is None:
        return None
    return one.accuracy - one.file_accuracy


def upper_of(run: Run, upper: Upper) -> Upper:
    """Return the upper ends of `upper`, never less than what was measured of a finalist's file."""
    if not run.job.n_finalists:
        return upper
    measured: Mapping[str, float] = {
        one.id: one.measured_ms for one in read_finalists(run) if one.measured_ms is not None
    }

    def ends(name: str, confidence: float, archs: Sequence[Architecture]) -> npt.ArrayLike:
        found = np.asarray(upper(name, confidence, archs), dtype=np.float64)
        if name != "latency_ms":
            return found
        return np.maximum(found, [measured.get(arch.id, 0.0) for arch in archs])

    return ends


FINALISTS_STEP = Step(
    name="finalists",
    needs=("train", "search"),
    version=1,
    inputs=_inputs,
    make=_make,
    summary=_summary,
)
