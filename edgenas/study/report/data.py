"""What a report shows: frozen, plain values that survive a JSON file unchanged.

Whatever may be missing is None or empty; the report then says so in its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field

from edgenas.core.errors import SchemaError, UsageError
from edgenas.core.files import write_text
from edgenas.core.measurement import Coverage
from edgenas.core.objective import Constraint
from edgenas.core.schema import StrictModel
from edgenas.costs.passport import Passport

SCHEMA_VERSION: Literal[1] = 1

EvaluationStatus = Literal["complete", "stopped", "infeasible", "failed"]


class FrontMember(StrictModel):
    """An architecture of the Pareto front.

    `low_ms` and `high_ms` are the prediction's interval; `measured_ms` is the network timed again
    on the device with the primary runtime; `accuracy` is that of the validation part; `costs` are
    other predictions, by objective.
    """

    id: str
    accuracy: float = Field(ge=0, le=1)
    latency_ms: float
    low_ms: float | None = None
    high_ms: float | None = None
    coverage: Coverage | None = None
    n_macs: int
    n_params: int
    peak_activation_kib: float
    costs: dict[str, float] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    measured_ms: float | None = None
    picked: bool = False


class EvaluatedPoint(StrictModel):
    """One evaluation of the search; values are None where a constraint or an error ended it."""

    id: str
    status: EvaluationStatus
    accuracy: float | None = None
    latency_ms: float | None = None


class ProgressPoint(StrictModel):
    """The search after `n_evaluations` of them; accuracy is the best that keeps the budget."""

    n_evaluations: int = Field(ge=1)
    hypervolume: float
    best_accuracy: float | None = None


class Remeasured(StrictModel):
    """A front member timed on the device, beside what was predicted for it."""

    id: str
    runtime: str
    predicted_ms: float = Field(gt=0)
    low_ms: float | None = None
    high_ms: float | None = None
    measured_ms: float = Field(gt=0)

    @property
    def inside(self) -> bool | None:
        """Whether the measurement lies in the prediction's interval; None: there is none."""
        if self.low_ms is None or self.high_ms is None:
            return None
        return self.low_ms <= self.measured_ms <= self.high_ms


class BlockCost(StrictModel):
    """What one part of the picked network costs on one runtime, in the network's order."""

    name: str
    runtime: str
    latency_ms: float
    n_macs: int | None = None


class ExportCheck(StrictModel):
    """A check of an exported file; `passed` is None where it could not be made here."""

    name: str
    passed: bool | None
    detail: str = ""


class FileCost(StrictModel):
    """What a file costs beside its latency: predicted with its interval, and measured, in `unit`.

    `modelled` says that a figure was not measured but follows from powers in the device's
    description.
    """

    objective: str
    unit: str
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    measured: float | None = None
    modelled: bool = False
    budget_kept: bool | None = None


class ExportedFile(StrictModel):
    """A line of the proof: one target, its file, and what became of the budget.

    `error` says why there is no file, `failed` that it did not pass all checks; `not_run` maps
    what could not be done here to the reason.
    `latency_ms` with `low_ms` and `high_ms` is the prediction on the target's own runtime;
    `process_ms` is what each measuring process found, the least of which is `measured_ms`.
    """

    target: str
    file: str | None = None
    sha256: str | None = None
    n_bytes: int | None = None
    runtime: str | None = None
    latency_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    measured_ms: float | None = None
    process_ms: tuple[float, ...] = ()
    costs: tuple[FileCost, ...] = ()
    budget_kept: bool | None = None
    checks: tuple[ExportCheck, ...] = ()
    test_accuracy: float | None = Field(default=None, ge=0, le=1)
    n_test: int | None = None
    not_run: dict[str, str] = Field(default_factory=dict)
    error: str | None = None
    failed: bool = False


class TableRecord(StrictModel):
    """A table that predictions came from: where it lies, its passport, its caveats."""

    path: str
    passport: Passport
    caveats: tuple[str, ...] = ()


class DataSummary(StrictModel):
    """The data set and its split."""

    name: str
    fingerprint: str
    image_shape: tuple[int, int, int]
    n_classes: int
    n_train: int
    n_validation: int
    n_test: int


class StepTime(StrictModel):
    """A step of the chain and how long its work took."""

    name: str
    duration_s: float = Field(ge=0)
    note: str = ""


class LearnedEpoch(StrictModel):
    """A distribution of a differentiable search after an epoch.

    `ratio` is the greatest of its expected costs by what is asked for, None where nothing is.
    """

    epoch: int = Field(ge=1)
    distribution: int = Field(ge=0)
    is_warmup: bool
    entropy: float
    weightless: float
    temperature: float
    costs: dict[str, float]
    ratio: float | None = None


class LearnedDistribution(StrictModel):
    """Where a distribution of a differentiable search ended: its limits and expected costs.

    `settled` are the costs of what candidates were drawn from; `drift` says what is wrong with it.
    """

    limits: tuple[str, ...]
    expected: dict[str, float]
    settled: dict[str, float]
    entropy: float
    drift: str | None = None


class Learned(StrictModel):
    """What a differentiable search learned, by which method."""

    method: str
    distributions: tuple[LearnedDistribution, ...]
    epochs: tuple[LearnedEpoch, ...]


class Finalist(StrictModel):
    """A member of the front whose file was made and measured before one was picked.

    `accuracy` is the search's, `file_accuracy` that of the file on the validation images,
    `latency_ms` the prediction; `beaten_by` is the finalist for whose sake it fell off the front.
    """

    id: str
    accuracy: float | None = Field(default=None, ge=0, le=1)
    file_accuracy: float | None = Field(default=None, ge=0, le=1)
    latency_ms: float
    measured_ms: float | None = None
    beaten_by: str | None = None
    error: str | None = None


class ReportData(StrictModel):
    """All that a report shows.

    Attributes:
        name: the job's.
        created: date and time, ISO 8601.
        space: name of the search space.
        device: the device's name for people.
        runtime: the primary runtime, whose latency is the objective.
        confidence: of all intervals, e.g. 0.9.
        objectives: names, the first two being the front's axes.
        constraints: the budget, as texts that `Constraint.parse` reads; empty for none.
        pick_rule: how the pick was chosen, e.g. ``knee``.
        front: the Pareto front; at most one member is picked.
        evaluations: all evaluations, in their order.
        progress: hypervolume and best accuracy over the evaluations.
        predicted_accuracy: whether the search's accuracies are a predictor's, not measured.
        predictor: what is known of the predictor that the search was led by, in a sentence.
        learned: the course of a differentiable search; None of any other.
        precision: of the tables and files.
        finalists: members of the front that were judged by their files before one was picked.
        quantised: what became of the pick in 8 bits, in a sentence.
        remeasured: front members timed on the device, all runtimes.
        blocks: parts of the picked network, all runtimes.
        exports: the proof, one line a target.
        tables: the tables used.
        data: the data set.
        training: settings by section, e.g. ``{"supernet": {"epochs": 40}}``.
        steps: the chain's steps with their times.
        versions: package to version.
        warnings: everything that may make a number wrong.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    created: str
    space: str
    device: str
    runtime: str
    confidence: float = Field(default=0.9, gt=0, lt=1)
    objectives: tuple[str, ...] = ("accuracy", "latency_ms")
    constraints: tuple[str, ...] = ()
    pick_rule: str = ""
    front: tuple[FrontMember, ...]
    evaluations: tuple[EvaluatedPoint, ...] = ()
    progress: tuple[ProgressPoint, ...] = ()
    predicted_accuracy: bool = False
    predictor: str = ""
    learned: Learned | None = None
    precision: str = "float32"
    finalists: tuple[Finalist, ...] = ()
    quantised: str = ""
    remeasured: tuple[Remeasured, ...] = ()
    blocks: tuple[BlockCost, ...] = ()
    exports: tuple[ExportedFile, ...] = ()
    tables: tuple[TableRecord, ...] = ()
    data: DataSummary | None = None
    training: dict[str, dict[str, Any]] = Field(default_factory=dict)
    steps: tuple[StepTime, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @pydantic.field_validator("constraints")
    @classmethod
    def _constraints_parse(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            try:
                Constraint.parse(text)
            except UsageError as error:
                raise ValueError(str(error)) from error
        return texts

    @pydantic.field_validator("front")
    @classmethod
    def _one_pick(cls, front: tuple[FrontMember, ...]) -> tuple[FrontMember, ...]:
        picked = [member.id for member in front if member.picked]
        if len(picked) > 1:
            raise ValueError(f"{len(picked)} members are picked ({', '.join(picked)}); at most one")
        return front

    @property
    def pick(self) -> FrontMember | None:
        """The picked member of the front, if there is one."""
        return next((member for member in self.front if member.picked), None)

    def limit(self, name: str) -> float | None:
        """Return the tightest limit on the objective `name`, if there is one."""
        constraints = [Constraint.parse(text) for text in self.constraints]
        limits = [entry for entry in constraints if entry.name == name]
        if not limits:
            return None
        return max(limits, key=lambda entry: entry.violation(0.0)).limit

    def to_json(self) -> str:
        """Return the data as JSON text."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "report data") -> ReportData:
        """Return the data that `to_json` wrote; `source` names it in errors.

        Raises:
            SchemaError: not JSON, or not report data of this version.
        """
        try:
            return cls.model_validate_json(text, strict=True)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "document"
            raise SchemaError(
                f"{source}: {place}: {first['msg']}; run `edgenas compile` on its job again to "
                "write it anew"
            ) from error


def write_report_data(data: ReportData, path: Path) -> None:
    """Write `data` to the JSON file at `path`, atomically.

    Raises:
        StorageError: the file cannot be written.
    """
    write_text(path, data.to_json())


def read_report_data(path: Path) -> ReportData:
    """Return the report data in the JSON file at `path`.

    Raises:
        SchemaError: the file cannot be read or is no report data of this version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SchemaError(
            f"cannot read {path}: {error.strerror or error}; `edgenas compile` writes it as its "
            "last step"
        ) from error
    return ReportData.from_json(content, source=str(path))
