"""What the command line calls and `edgenas` offers to Python: one function a verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgenas import spaces
from edgenas.core.architecture import Architecture, population
from edgenas.core.artifact import Artifact
from edgenas.core.errors import SpaceError, TableError, UsageError
from edgenas.core.measurement import Measurement, MeasurementPlan, Prediction
from edgenas.costs.model import LatencyModel
from edgenas.costs.store import table_path, user_tables
from edgenas.costs.table import CostTable, passport_path
from edgenas.hardware.device import Device, load_device
from edgenas.profiling.measure import measure_files
from edgenas.profiling.profile import profile as make_table
from edgenas.profiling.progress import Progress, silent
from edgenas.profiling.workload import ProfileSettings
from edgenas.runtimes import RUNTIMES
from edgenas.spaces.base import SearchSpace, command_options
from edgenas.study.chain import OnStep, run_steps, unheard, up_to
from edgenas.study.context import Run
from edgenas.study.job import Job, load_job
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps import STEPS
from edgenas.study.steps.pick import PICK, predicted_latency
from edgenas.study.steps.profile import existing_table
from edgenas.study.steps.proof import PROOF, budget_kept
from edgenas.study.steps.report import PAGE
from edgenas.study.steps.search import FRONT

LAST_STEP = STEPS[-1].name


@dataclass(frozen=True, slots=True)
class CompileResult:
    """What a run has so far; None and empty for steps that it did not go through.

    Attributes:
        folder: the run folder.
        job: as it was run.
        front: one dict a member: id, objective values, other costs, genes, config.
        pick: the picked member: id, genes, config, values, predictions by runtime.
        proof: budget, prediction and measurement of every exported file (``proof.json``).
        files: exported model files.
        report: the HTML page.
    """

    folder: Path
    job: Job
    front: tuple[dict[str, Any], ...] = ()
    pick: dict[str, Any] | None = None
    proof: dict[str, Any] | None = None
    files: tuple[Path, ...] = ()
    report: Path | None = None

    @property
    def budget_kept(self) -> bool | None:
        """Whether the exported file keeps the budget; None without a budget or a proof."""
        return None if self.proof is None else budget_kept(self.proof)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "folder": str(self.folder),
            "job": self.job.name,
            "front": list(self.front),
            "pick": self.pick,
            "proof": self.proof,
            "budget_kept": self.budget_kept,
            "files": [str(path) for path in self.files],
            "report": None if self.report is None else str(self.report),
        }


def compile_job(
    job: Job | Path | str,
    out: Path | str,
    *,
    until: str = LAST_STEP,
    progress: Progress = silent,
    on_step: OnStep = unheard,
) -> CompileResult:
    """Run a job in the folder `out`, from profiling to the report.

    What is done and unchanged is skipped; what was cut off goes on where it was.

    Args:
        job: a job, or the path of a job file.
        out: the run folder; made if it is not there.
        until: the last step to do.
        progress: told how far long work is.
        on_step: told when a step begins and ends.

    Raises:
        InfeasibleError: nothing keeps the budget; the message has the least value.
        StorageError: another process works in `out`, it is no run, or cannot be written.
        EdgenasError: any other trouble; see `edgenas.core.errors`.
    """
    wanted = job if isinstance(job, Job) else load_job(Path(job))
    folder = RunFolder(Path(out))
    steps = up_to(STEPS, until)
    run = Run(folder, wanted)
    run.check_names()
    with folder.claim():
        folder.write_job(wanted)
        run_steps(run, steps, progress=progress, on_step=on_step)
        return _result(run, [step.name for step in steps])


def search(
    job: Job | Path | str,
    out: Path | str,
    *,
    progress: Progress = silent,
    on_step: OnStep = unheard,
) -> CompileResult:
    """Run a job up to its front (see `compile_job`)."""
    return compile_job(job, out, until="search", progress=progress, on_step=on_step)


def pick(
    run: Path | str,
    how: str | None = None,
    *,
    progress: Progress = silent,
    on_step: OnStep = unheard,
) -> CompileResult:
    """Pick from the front of the run in the folder `run`.

    Args:
        run: a run folder.
        how: ``knee``, constraints such as ``latency_ms <= 2 @ 90%``, or an id; None keeps the
            job's own.
        progress: told how far long work is.
        on_step: told when a step begins and ends.

    Raises:
        InfeasibleError: no member keeps the constraints; the message has the least value.
        UsageError: `how` picks nothing.
    """
    return _continue(run, how, until="pick", progress=progress, on_step=on_step)


def export(
    run: Path | str,
    how: str | None = None,
    *,
    progress: Progress = silent,
    on_step: OnStep = unheard,
) -> CompileResult:
    """Fine-tune the pick, write its files, check and time them (arguments as `pick`)."""
    return _continue(run, how, until="measure", progress=progress, on_step=on_step)


def report(
    run: Path | str, *, progress: Progress = silent, on_step: OnStep = unheard
) -> CompileResult:
    """Write the report of a run, doing what it lacks (arguments as `pick`)."""
    return _continue(run, None, until="report", progress=progress, on_step=on_step)


def _continue(
    run: Path | str, how: str | None, *, until: str, progress: Progress, on_step: OnStep
) -> CompileResult:
    job = RunFolder(Path(run)).job()
    if how is not None:
        job = job.changed(pick=how)
    return compile_job(job, run, until=until, progress=progress, on_step=on_step)


def _result(run: Run, steps: Sequence[str]) -> CompileResult:
    measured = "measure" in steps
    proof = run.read(PROOF) if measured else None
    return CompileResult(
        folder=run.folder.path,
        job=run.job,
        front=tuple(run.read(FRONT)["front"]) if "search" in steps else (),
        pick=_pick(run) if "pick" in steps else None,
        proof=proof,
        files=tuple(run.folder / entry["file"] for entry in proof["files"]) if proof else (),
        report=run.folder / PAGE if "report" in steps else None,
    )


def _pick(run: Run) -> dict[str, Any]:
    content: dict[str, Any] = run.read(PICK)
    predicted = {name: predicted_latency(run, name) for name in run.runtimes}
    return {**content, "predicted": predicted}


# -- costs ---------------------------------------------------------------------------------


def profile(  # noqa: PLR0913
    space: SearchSpace | str,
    *,
    runtime: str = "onnxruntime",
    device: Device | Path | str = "local",
    precision: str = "float32",
    settings: ProfileSettings | None = None,
    out: Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> CostTable:
    """Return the latency table of a space on a device, measured if there is none.

    Args:
        space: a space or the name of one.
        runtime: which engine.
        device: a device, its id, or its description's path.
        precision: of weights and activations.
        settings: how thoroughly to measure; default `ProfileSettings.for_space`.
        out: folder of tables to measure into, whatever tables there are; default: the user's own,
            where tables are found again.
        force: measure anew, and forget what an unfinished earlier run measured.
        progress: told how far it is.

    Raises:
        DeviceError: the device or the engine failed; what was measured is kept.
        StorageError: an unfinished run with other settings is in the way, or the disk is full.
    """
    wanted = spaces.get(space) if isinstance(space, str) else space
    on = device if isinstance(device, Device) else load_device(device)
    _check_runtime(runtime, precision)
    if out is None and not force:
        table = existing_table(on, runtime, wanted, precision=precision)
        if table is not None:
            return table
    root = out if out is not None else user_tables()
    path = table_path(
        root, slug=on.fingerprint.slug, runtime=runtime, precision=precision, space=wanted.name
    )
    if force:
        path.with_name(f"{wanted.name}.journal.jsonl").unlink(missing_ok=True)
    return make_table(
        on,
        runtime,
        wanted,
        settings or ProfileSettings.for_space(wanted),
        root,
        precision=precision,
        progress=progress,
    )


def predict(  # noqa: PLR0913
    space: SearchSpace | str,
    archs: Sequence[Architecture] | np.ndarray,
    *,
    runtime: str = "onnxruntime",
    device: Device | Path | str = "local",
    precision: str = "float32",
    table: CostTable | Path | None = None,
    coverage: float = 0.9,
) -> list[Prediction]:
    """Return the predicted latency of architectures, each with interval and coverage.

    Args:
        space: a space or the name of one.
        archs: architectures, or genes of shape (n, n_genes).
        runtime: which engine.
        device: a device, its id, or its description's path.
        precision: of weights and activations.
        table: a table to use; by default the installed one of this device.
        coverage: probability with which the intervals hold.

    Raises:
        TableError: there is no table; the message has the command that makes it.
        TableMismatchError: the table is of something else.
        SpaceError: genes that the space does not have.
    """
    wanted = spaces.get(space) if isinstance(space, str) else space
    on = device if isinstance(device, Device) else load_device(device)
    _check_runtime(runtime, precision)
    if table is None:
        table = _installed(on, runtime, wanted, precision)
    else:
        table = CostTable.load(table) if isinstance(table, Path) else table
        table.check_serves(
            wanted, match_key=on.fingerprint.match_key, runtime=runtime, precision=precision
        )
    if not 0 < coverage < 1:
        raise UsageError(f"a coverage lies between 0 and 1, not {coverage}")
    rows = archs if isinstance(archs, np.ndarray) else _rows(wanted, archs)
    wanted.check(rows)
    model = LatencyModel(wanted, table, coverage=coverage)
    return model.predictions(wanted.canonical(rows.astype(np.int8)))


def measure(
    model: Path | str,
    *,
    device: Device | Path | str = "local",
    runtime: str | None = None,
    plan: MeasurementPlan | None = None,
    progress: Progress = silent,
) -> Measurement:
    """Time a model file on a device.

    Args:
        model: an ONNX or TFLite file.
        device: a device, its id, or its description's path.
        runtime: which engine; by default the one for the file's suffix.
        plan: how often to time it.
        progress: told how far it is.

    Raises:
        UsageError: no runtime runs such files.
        DeviceError: the device or the engine failed.
    """
    artifact = Artifact.of(Path(model))
    fitting = [name for name in RUNTIMES if RUNTIMES.get(name).format == artifact.format]
    chosen = runtime or (fitting[0] if fitting else "")
    if runtime is not None:
        RUNTIMES.get(runtime)
    if chosen not in fitting:
        raise UsageError(
            f"{artifact.path} is a file for {artifact.format}; runtimes that run it here: "
            f"{', '.join(fitting) or 'none'}"
        )
    on = device if isinstance(device, Device) else load_device(device)
    with on.claim():
        found = measure_files(
            on, chosen, {"model": artifact.path}, plan or MeasurementPlan(), progress=progress
        )
    return found["model"]


def _check_runtime(runtime: str, precision: str) -> None:
    known = RUNTIMES.get(runtime)
    if precision not in known.precisions:
        raise UsageError(
            f"{runtime} has no precision {precision!r}; allowed: {', '.join(known.precisions)}"
        )


def _installed(device: Device, runtime: str, space: SearchSpace, precision: str) -> CostTable:
    table = existing_table(device, runtime, space, precision=precision)
    if table is None:
        slug = device.fingerprint.slug
        path = table_path(
            user_tables(), slug=slug, runtime=runtime, precision=precision, space=space.name
        )
        found = "one for another version is there" if passport_path(path).is_file() else "none"
        raise TableError(
            f"there is no latency table of {space.name} for {slug}, {runtime} {precision} as they "
            f"are now ({found}); make it with 'edgenas profile "
            f"{command_options(space.name, space.parameters)} --runtime {runtime}'"
        )
    return table


def _rows(space: SearchSpace, archs: Sequence[Architecture]) -> np.ndarray:
    foreign = sorted({arch.space for arch in archs} - {space.name})
    if foreign:
        raise SpaceError(f"architectures of {', '.join(foreign)} given to {space.name}")
    return population(list(archs), space.n_genes)
