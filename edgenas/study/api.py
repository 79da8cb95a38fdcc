"""What the command line calls and `edgenas` offers to Python: one function a verb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgenas.core.errors import UsageError, choices
from edgenas.core.precision import PRECISIONS
from edgenas.profiling.progress import Progress, silent
from edgenas.profiling.workload import MISSING_NETWORKS
from edgenas.study.chain import OnStep, run_steps, unheard, up_to
from edgenas.study.context import Run
from edgenas.study.costs import measure, predict, profile, profile_costs
from edgenas.study.job import Job, absolute_tables, load_job
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps import STEPS
from edgenas.study.steps.bundle import BUNDLES
from edgenas.study.steps.export import BUNDLE_FOLDER
from edgenas.study.steps.finalists import FINALISTS
from edgenas.study.steps.pick import PICK, predicted_costs, predicted_latency
from edgenas.study.steps.proof import PROOF, budget_kept
from edgenas.study.steps.report import PAGE
from edgenas.study.steps.search import FRONT
from edgenas.study.verify import verify

__all__ = [
    "LAST_STEP",
    "MISSING_NETWORKS",
    "CompileResult",
    "compile_job",
    "export",
    "measure",
    "pick",
    "predict",
    "profile",
    "profile_costs",
    "report",
    "search",
    "verify",
    "with_precision",
    "with_tables",
]

LAST_STEP = STEPS[-1].name


@dataclass(frozen=True, slots=True)
class CompileResult:
    """What a run has so far; None and empty for steps that it did not go through.

    Attributes:
        folder: the run folder.
        job: as it was run.
        front: one dict a member: id, objective values, other costs, genes, config.
        finalists: one dict a member of the front that was judged by its file before the pick: id,
            accuracy and latency_ms of the search, file_accuracy, measured_ms, beaten_by, error.
        pick: the picked member: id, genes, config, values, predictions of latency by runtime, and
            of other costs by objective.
        caveats: what the tables are of something else in, or were not measured; sentences.
        mismatch: by table, in what it is of something else than the job's device.
        proof: budget, prediction and measurement of every exported file (``proof.json``).
        files: exported model files; those that failed a check are called ``<name>.failed``.
        bundles: a folder for each file that passed its checks and keeps its budget.
        unbundled: why there is none, by target of the other files.
        report: the HTML page.
    """

    folder: Path
    job: Job
    front: tuple[dict[str, Any], ...] = ()
    finalists: tuple[dict[str, Any], ...] = ()
    pick: dict[str, Any] | None = None
    caveats: tuple[str, ...] = ()
    proof: dict[str, Any] | None = None
    files: tuple[Path, ...] = ()
    bundles: tuple[Path, ...] = ()
    unbundled: Mapping[str, str] = field(default_factory=dict)
    report: Path | None = None
    mismatch: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

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
            "finalists": list(self.finalists),
            "pick": self.pick,
            "caveats": list(self.caveats),
            "mismatch": {name: list(texts) for name, texts in self.mismatch.items()},
            "proof": self.proof,
            "budget_kept": self.budget_kept,
            "files": [str(path) for path in self.files],
            "bundles": [str(path) for path in self.bundles],
            "unbundled": dict(self.unbundled),
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


def with_precision(job: Job | Path | str, precision: str | None) -> Job:
    """Return a job whose tables and files are of `precision`; of None the job as it is.

    Raises:
        UsageError: there is no such precision.
    """
    given = job if isinstance(job, Job) else load_job(Path(job))
    if precision is None:
        return given
    if precision not in PRECISIONS:
        raise UsageError(f"no precision {precision!r}; {choices(precision, PRECISIONS)}")
    section = given.device.model_dump(mode="python")
    return given.changed(device={**section, "precision": precision})


def with_tables(
    job: Job | Path | str, tables: Mapping[str, str], accept: Sequence[str] = ()
) -> Job:
    """Return a job that uses these tables instead of the device's own.

    Args:
        job: a job, or the path of a job file.
        tables: by runtime ("" is the job's own), or by runtime and kind of costs, as in
            ``onnxruntime.energy``: a path, or a name that `edgenas tables list` has.
        accept: in which aspects they may be of something else; every result says so.

    Raises:
        UsageError: `accept` names no aspect.
    """
    given = job if isinstance(job, Job) else load_job(Path(job))
    if not tables and not accept:
        return given
    section = given.device.model_dump(mode="python")
    named = {runtime or given.device.runtime: str(path) for runtime, path in tables.items()}
    section["tables"] = {**section["tables"], **absolute_tables(named)}
    section["accept_mismatch"] = tuple(dict.fromkeys((*section["accept_mismatch"], *accept)))
    return given.changed(device=section)


def search(
    job: Job | Path | str,
    out: Path | str,
    *,
    progress: Progress = silent,
    on_step: OnStep = unheard,
) -> CompileResult:
    """Run a job up to its front (see `compile_job`)."""
    return compile_job(job, out, until="search", progress=progress, on_step=on_step)


def pick(  # noqa: PLR0913
    run: Path | str,
    how: str | None = None,
    *,
    tables: Mapping[str, str] | None = None,
    accept: Sequence[str] = (),
    progress: Progress = silent,
    on_step: OnStep = unheard,
) -> CompileResult:
    """Pick from the front of the run in the folder `run`.

    Args:
        run: a run folder.
        how: ``knee``, constraints such as ``latency_ms <= 2 @ 90%``, or an id; None keeps the
            job's own.
        tables: other tables to use, by runtime (see `with_tables`); None keeps the job's own.
        accept: in which aspects they may be of something else.
        progress: told how far long work is.
        on_step: told when a step begins and ends.

    Raises:
        InfeasibleError: no member keeps the constraints; the message has the least value.
        UsageError: `how` picks nothing.
    """
    job = with_tables(RunFolder(Path(run)).job(), tables or {}, accept)
    if how is not None:
        job = job.changed(pick=how)
    return compile_job(job, run, until="pick", progress=progress, on_step=on_step)


def export(
    run: Path | str,
    how: str | None = None,
    *,
    progress: Progress = silent,
    on_step: OnStep = unheard,
) -> CompileResult:
    """Fine-tune the pick, write its files, check, time and bundle them (arguments as `pick`)."""
    return _continue(run, how, until="bundle", progress=progress, on_step=on_step)


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
    bundles = run.read(BUNDLES) if "bundle" in steps else {"made": (), "refused": {}}
    return CompileResult(
        folder=run.folder.path,
        job=run.job,
        front=tuple(run.read(FRONT)["front"]) if "search" in steps else (),
        finalists=tuple(run.read(FINALISTS)["finalists"]) if "finalists" in steps else (),
        pick=_pick(run) if "pick" in steps else None,
        caveats=_caveats(run),
        mismatch={name: model.mismatch for name, model in run.all_models.items() if model.mismatch},
        proof=proof,
        files=_files(run, proof) if proof else (),
        bundles=tuple(run.folder / BUNDLE_FOLDER / target for target in bundles["made"]),
        unbundled=bundles["refused"],
        report=run.folder / PAGE if "report" in steps else None,
    )


def _files(run: Run, proof: Mapping[str, Any]) -> tuple[Path, ...]:
    return tuple(
        run.folder / (entry["file"] + (".failed" if entry["status"] == "failed" else ""))
        for entry in proof["files"]
    )


def _caveats(run: Run) -> tuple[str, ...]:
    return tuple(
        f"table for {name}: {text}" for name, texts in run.caveats.items() for text in texts
    )


def _pick(run: Run) -> dict[str, Any]:
    content: dict[str, Any] = run.read(PICK)
    predicted = {name: predicted_latency(run, name) for name in run.runtimes}
    return {**content, "predicted": predicted, "predicted_costs": predicted_costs(run)}
