"""The job file: data, device, budget and settings of one run, strict YAML."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from edgenas.core.errors import DataError, EdgenasError, UsageError
from edgenas.core.measurement import MeasurementPlan
from edgenas.core.objective import Constraint
from edgenas.core.precision import Precision
from edgenas.core.schema import StrictModel, dump_yaml, load_yaml
from edgenas.oneshot.data.settings import DataSettings
from edgenas.oneshot.description import load_description
from edgenas.profiling.whole_networks import NetworkSettings
from edgenas.profiling.workload import MISSING_NETWORKS, ProfileSettings
from edgenas.spaces.base import SearchSpace
from edgenas.study.job_differentiable import DifferentiableSection
from edgenas.study.job_texts import (
    AspectName,
    ConstraintText,
    DeviceLabel,
    ObjectiveName,
    PickText,
)
from edgenas.study.job_training import CandidatesSection, PickFinetuneSection, TrainingSection
from edgenas.study.storage_names import StorageName

M = TypeVar("M", bound=StrictModel)

DEFAULT = "nsga2"
"""The searcher of jobs that name none."""

VISIT_TIMEOUT_S = 60.0

N_FINALISTS = 8
"""Of jobs in another precision than float32 that say nothing."""

PROBABILITIES = "probabilities"
"""The searcher that proposes what a differentiable search has learned."""


class DataSection(StrictModel):
    """Which images, how they are split and read (see `edgenas.oneshot.data.DataSettings`)."""

    source: str
    seed: int = Field(default=0, ge=0)
    validation_fraction: float = Field(default=0.15, gt=0, lt=1)
    test_fraction: float = Field(default=0.15, gt=0, lt=1)
    image_size_px: int | None = Field(default=None, ge=8)
    image_channels: Literal[1, 3] | None = None
    horizontal_flip: bool | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    calibration: str | None = None
    n_calibration_images: int | None = Field(default=None, ge=2)
    skip_broken: bool = False
    in_memory: bool | None = None
    memory_limit_gib: float = Field(default=2.0, gt=0)
    workers: int | None = Field(default=None, ge=0)
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] | None = None
    brightness: float | None = Field(default=None, ge=0, le=1)
    saturation: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        try:
            DataSettings(**self.model_dump(exclude={"source"}))
        except DataError as error:
            raise ValueError(str(error)) from error
        return self


class DeviceSection(StrictModel):
    """Where the network will run; this runtime's latency is the objective.

    `tables` names the tables to use instead of the device's own, by runtime: a path, or
    ``<device>/<runtime>-<precision>/<space>``; for another kind of costs by both,
    ``onnxruntime.energy``. In the aspects of `accept_mismatch` they may be of something else, and
    then every result says so.
    """

    id: str = "local"
    runtime: str = "onnxruntime"
    precision: Precision = "float32"
    tables: dict[str, str] = Field(default_factory=dict)
    accept_mismatch: tuple[AspectName, ...] = ()
    also: dict[DeviceLabel, str] = Field(default_factory=dict)
    """Tables of other devices (or runtimes) by a label; what they predict can be an objective or a
    limit, ``latency_ms.LABEL``, and is not measured."""


class SpaceSection(StrictModel):
    """A search space by name, and changes of its settings."""

    preset: str = "mbv3_tiny"
    settings: dict[str, Any] = Field(default_factory=dict)
    """Input channels and classes come from the data unless they stand here."""


class NetworksSection(StrictModel):
    """How costs that only whole networks show are measured.

    See `edgenas.profiling.whole_networks.NetworkSettings`; the exported files are measured in the
    same way.
    """

    n_networks: int | None = Field(default=None, ge=20)
    n_sessions: int | None = Field(default=None, ge=1)
    n_processes: int | None = Field(default=None, ge=1)
    run_s: float | None = Field(default=None, gt=0)
    idle_s: float | None = Field(default=None, gt=0)
    load_s: float | None = Field(default=None, gt=0)
    seed: int | None = Field(default=None, ge=0)

    def to_settings(self) -> NetworkSettings:
        """Return the settings, what is not given by default."""
        return NetworkSettings(**self.model_dump(exclude_none=True))


class ProfileSection(StrictModel):
    """How thoroughly to profile (see `edgenas.profiling.workload.ProfileSettings`).

    What is not given follows from the size of the space's networks. `tables` says which tables may
    be used instead: ``any``, or only the user's ``own`` and never one that came with edgenas.
    With `missing` only operators that none of them has are timed alone, and fewer networks.
    `networks` is about the tables of other kinds than latency.
    """

    tables: Literal["any", "own"] = "any"
    missing: bool = False
    n_networks: int | None = Field(default=None, ge=20)
    n_operator_visits: int | None = Field(default=None, ge=2)
    n_network_visits: int | None = Field(default=None, ge=2)
    n_pools: int | None = Field(default=None, ge=1)
    n_sessions: int | None = Field(default=None, ge=2)
    n_session_networks: int | None = Field(default=None, ge=10)
    least_session_s: int | None = Field(default=None, ge=0)
    spread_s: int | None = Field(default=None, ge=0)
    n_runs: int | None = Field(default=None, ge=1)
    n_warmup: int | None = Field(default=None, ge=0)
    anchor_every: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0)
    networks: NetworksSection = NetworksSection()

    def to_settings(self, space: SearchSpace) -> ProfileSettings:
        """Return the settings that profiling `space` takes."""
        given = self.model_dump(exclude_none=True, exclude={"tables", "missing", "networks"})
        few = {"n_networks": MISSING_NETWORKS} if self.missing else {}
        return ProfileSettings.for_space(space, **few | given)


class SearchSection(StrictModel):
    """Which searcher proposes, how many architectures are evaluated."""

    algorithm: str | None = None
    """A searcher by name; by default ``nsga2``, or what a differentiable search takes."""
    n_evaluations: int = Field(default=200, ge=1)
    n_validation_images: int | None = Field(default=None, ge=1)
    """Accuracy is taken on this many of the validation images; by default on all."""
    candidates: CandidatesSection | None = None
    """Train each candidate alone; by default all share the weights of a supernet."""
    differentiable: DifferentiableSection | None = None
    """The supernet learns which of its choices to prefer, and candidates are drawn from that."""
    predictor: str | None = None
    """A file that predicts the accuracy, which is then not measured; see docs/predictors.md."""
    accuracies: str | None = None
    """A file of accuracies that are known already, JSON lines or CSV; nothing else is evaluated."""
    population: int | None = Field(default=None, ge=2)
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0)
    storage: StorageName | None = None  # by default the run's own; runs that name one share it

    @model_validator(mode="after")
    def _has_one_algorithm(self) -> Self:
        if self.differentiable is not None and self.algorithm not in (None, PROBABILITIES):
            raise ValueError(
                f"algorithm {self.algorithm} beside differentiable, which proposes what it has "
                "learned; leave out the one or the other"
            )
        return self

    @property
    def searcher(self) -> str:
        """The name of the searcher that proposes candidates."""
        return self.algorithm or (DEFAULT if self.differentiable is None else PROBABILITIES)


class FinalistsSection(StrictModel):
    """Members of the front whose files are made and measured before one is picked.

    What a search knows of a network is its accuracy in float32 and its predicted latency. Finalists
    are judged by the accuracy and the measured latency of their files.
    """

    n: int | None = Field(default=None, ge=0)
    """How many; by default none in float32, where the file is the network, and else 8."""
    n_validation_images: int | None = Field(default=None, ge=1)
    """The accuracy of their files is taken on this many; by default on as many as the search's."""


class TensorrtSection(StrictModel):
    """For which GPU the TensorRT engine is built."""

    compute_capability: str | None = Field(default=None, pattern=r"^[0-9]{1,2}\.[0-9]$")
    """As NVIDIA names it, e.g. "8.7"; by default that of the export recipe."""


class ExportSection(StrictModel):
    """Which files to write."""

    targets: tuple[str, ...] = Field(default=("onnx", "tflite"), min_length=1)
    tensorrt: TensorrtSection = TensorrtSection()


class MeasureSection(StrictModel):
    """How front members and exported files are timed again."""

    n_front_networks: int = Field(default=20, ge=0)
    n_visits: int = Field(default=30, ge=2)
    n_runs: int = Field(default=3, ge=1)
    n_warmup: int = Field(default=1, ge=0)
    spread_s: float = Field(default=20.0, ge=0)
    """A machine can stay in a slow state for seconds: shorter measuring may see nothing else."""
    n_processes: int = Field(default=4, ge=1)
    """Over how many measuring processes the visits are shared: a process can be slow as a whole."""
    seed: int = Field(default=1, ge=0)

    def plan(self) -> MeasurementPlan:
        """Return how each file is timed."""
        return MeasurementPlan(
            **self.model_dump(exclude={"n_front_networks"}), timeout_s=VISIT_TIMEOUT_S
        )


class ReportSection(StrictModel):
    """The report."""

    title: str | None = None
    """Heading of the page; by default the job's name."""


class Job(StrictModel):
    """One job: from a data set, a device and a budget to files and proof."""

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    data: DataSection
    device: DeviceSection = DeviceSection()
    space: SpaceSection = SpaceSection()
    objectives: tuple[ObjectiveName, ...] = Field(default=("accuracy", "latency_ms"), min_length=1)
    constraints: tuple[ConstraintText, ...] = ()
    profile: ProfileSection = ProfileSection()
    training: TrainingSection = TrainingSection()
    search: SearchSection = SearchSection()
    pick: PickText = "knee"
    finalists: FinalistsSection = FinalistsSection()
    finetune: PickFinetuneSection = PickFinetuneSection()
    export: ExportSection = ExportSection()
    measure: MeasureSection = MeasureSection()
    report: ReportSection = ReportSection()

    @model_validator(mode="after")
    def _learns_its_choices_alone(self) -> Self:
        section = self.search.differentiable
        if section is None:
            return self
        others = ("predictor", "accuracies")
        beside = [f"search.{name}" for name in others if getattr(self.search, name) is not None]
        phased = ("schedule", "phases", "weights")
        beside += [f"training.{name}" for name in phased if getattr(self.training, name)]
        if beside:
            raise ValueError(
                f"{', '.join(beside)} beside search.differentiable, which trains a supernet of "
                "its own; leave out the one or the other"
            )
        if self.training.n_random_subnets is not None:
            raise ValueError(
                "training.n_random_subnets beside search.differentiable: mixtures are trained, "
                "not drawn subnets; leave it out"
            )
        if section.channel_parts_of() > 1 and self.search.candidates is None:
            raise ValueError(
                f"{section.method} trains a part of every candidate's channels: accuracies with "
                "its weights say nothing; write search.candidates, and each is trained alone"
            )
        return self

    @model_validator(mode="after")
    def _limits_what_it_learns(self) -> Self:
        section = self.search.differentiable
        if section is None:
            return self
        limited = [one for one in self.all_constraints() if one.name != "accuracy"]
        if any(one.limit <= 0 for one in (*limited, *self.sweep_limits())):
            raise ValueError("limits of a differentiable search are above 0")
        for own, asked in product(limited, self.sweep_limits()):
            if _is_of(asked, own) and asked.limit > own.limit:
                raise ValueError(
                    f"search.differentiable.budgets: {asked} is more than the constraint {own} "
                    "allows; lower the one or lift the other"
                )
        has_limits = bool(limited or section.budgets)
        try:
            chosen = section.settings(has_limits=has_limits)
        except UsageError as error:
            raise ValueError(str(error)) from error
        read = section.costs or tuple(name for name in self.objectives if name != "accuracy")
        if chosen.relaxation == "score_function" and read and not has_limits:
            raise ValueError(
                f"{section.method} learns from rewards, which compare costs ({', '.join(read)}) "
                "with limits, and there is none; write constraints or search.differentiable.budgets"
            )
        return self

    @model_validator(mode="after")
    def _has_one_source_of_accuracy(self) -> Self:
        named = ("candidates", "predictor", "accuracies")
        given = [f"search.{name}" for name in named if getattr(self.search, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)}: accuracy comes from one of them; leave out all others"
            )
        if given and self.search.n_validation_images is not None:
            raise ValueError(
                f"search.n_validation_images beside {given[0]}: it is about accuracies with shared "
                "weights, and has no effect here; leave it out"
            )
        if not self.trains_supernet and self.training != TrainingSection():
            raise ValueError(
                f"training beside {given[0]}: it is about the supernet, and none is trained then; "
                "leave out the one or the other"
            )
        return self

    @property
    def shares_weights(self) -> bool:
        """Whether there is a supernet: its weights are the pick's, and as a rule the candidates'.

        None is trained where every candidate is, or where accuracies are known already; the pick
        is trained alone then. Weights that the job names are there in any case.
        """
        if self.search.candidates is not None:
            return False
        return self.search.accuracies is None or self.training.weights is not None

    @property
    def trains_supernet(self) -> bool:
        """Whether a supernet is trained or given: its weights are shared, or its choices learn."""
        return self.shares_weights or self.search.differentiable is not None

    @property
    def n_finalists(self) -> int:
        """How many members of the front are made into files before one is picked."""
        if self.finalists.n is not None:
            return self.finalists.n
        return 0 if self.device.precision == "float32" else N_FINALISTS

    def sweep_limits(self) -> tuple[Constraint, ...]:
        """Return all limits of a differentiable search's sweep, each once."""
        section = self.search.differentiable
        texts = () if section is None else section.budgets
        found = (one for text in texts for one in DifferentiableSection.limits_of(text))
        return tuple(dict.fromkeys(found))

    def searched_names(self) -> frozenset[str]:
        """Return the names of all objectives and costs that the search looks at."""
        section = self.search.differentiable
        read = () if section is None else section.costs or ()
        limits = (one.name for one in (*self.all_constraints(), *self.sweep_limits()))
        return frozenset((*self.objectives, *limits, *read))

    def all_constraints(self) -> tuple[Constraint, ...]:
        """Return the hard constraints of the search."""
        return tuple(Constraint.parse(text) for text in self.constraints)

    def pick_constraints(self) -> tuple[Constraint, ...]:
        """Return the constraints by which the pick is made; none if it is made in another way."""
        if "=" not in self.pick:
            return ()
        return tuple(Constraint.parse(text) for text in self.pick.split(","))

    def budgets(self) -> tuple[Constraint, ...]:
        """Return every limit that the result is held to, the pick's first."""
        return tuple(dict.fromkeys((*self.pick_constraints(), *self.all_constraints())))

    def to_yaml(self) -> str:
        """Return the whole job, defaults written out."""
        return dump_yaml(self)

    def changed(self, **changes: Any) -> Job:
        """Return the job with top-level keys replaced, checked like a file.

        Raises:
            UsageError: a value is not allowed.
        """
        try:
            return Job.model_validate({**self.model_dump(mode="python"), **changes})
        except ValueError as error:
            raise UsageError(_first_problem(error)) from error


def load_job(path: Path) -> Job:
    """Return the job in the file at `path`; paths in it are relative to the working folder.

    Raises:
        SchemaError: the file breaks the schema; the message has lines and what is allowed.
        UsageError: its parts contradict each other.
        StorageError: weights that the job names have no description beside them.
    """
    job = load_yaml(path, Job)
    job = job.model_copy(
        update={
            "data": _absolute(job.data),
            "device": _device(job.device),
            "training": _with_absolute(job.training, "weights"),
            "search": _with_absolute(_with_absolute(job.search, "predictor"), "accuracies"),
        }
    )
    try:
        check_lists(job)
        return job.model_copy(update={"space": _space(job)})
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def check_lists(job: Job) -> None:
    """Refuse objectives and targets that repeat.

    Raises:
        UsageError: one does.
    """
    for what, names in (("objectives", job.objectives), ("export.targets", job.export.targets)):
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise UsageError(f"{what}: {', '.join(doubled)} stands there more than once")


def _space(job: Job) -> SpaceSection:
    """Return the space of the job: with weights, the one that they are of.

    Raises:
        UsageError: the job names another one.
    """
    if job.training.weights is None:
        return job.space
    own = load_description(Path(job.training.weights)).space
    if "preset" in job.space.model_fields_set and job.space.preset != own.preset:
        raise UsageError(
            f"space.preset is {job.space.preset}, but {job.training.weights} holds weights of "
            f"{own.preset}; leave space.preset out"
        )
    return SpaceSection(preset=own.preset, settings={**own.settings, **job.space.settings})


def _absolute(data: DataSection) -> DataSection:
    """A run may be continued from another working folder."""
    changes = {}
    kind, colon, place = data.source.partition(":")
    if colon and place:
        changes["source"] = f"{kind}:{Path(place).expanduser().resolve()}"
    return _with_absolute(data, "calibration").model_copy(update=changes)


def _with_absolute(section: M, name: str) -> M:
    """Return a section whose path `name`, if it is given, holds from anywhere."""
    path = getattr(section, name)
    if path is None:
        return section
    return section.model_copy(update={name: str(Path(path).expanduser().resolve())})


def absolute_tables(tables: Mapping[str, str]) -> dict[str, str]:
    """Return tables by name, those that are files under paths that hold from anywhere."""
    paths = {runtime: Path(name).expanduser() for runtime, name in tables.items()}
    return {
        runtime: str(paths[runtime].resolve()) if paths[runtime].is_file() else name
        for runtime, name in tables.items()
    }


def _device(device: DeviceSection) -> DeviceSection:
    changes: dict[str, Any] = {
        "tables": absolute_tables(device.tables),
        "also": absolute_tables(device.also),
    }
    if device.id.endswith((".yaml", ".yml")):
        changes["id"] = str(Path(device.id).expanduser().resolve())
    return device.model_copy(update=changes)


def _first_problem(error: ValueError) -> str:
    problems = getattr(error, "errors", None)
    if problems is None or isinstance(error, EdgenasError):
        return str(error)
    first = problems(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def limits_of(job: Job) -> list[tuple[Constraint, ...]]:
    """Return the limits of every distribution of a differentiable search, the job's among them."""
    section = job.search.differentiable
    own = tuple(c for c in job.all_constraints() if c.name != "accuracy")
    if section is None or not section.budgets:
        return [own]
    found = []
    for text in section.budgets:
        asked = section.limits_of(text)
        others = (one for one in own if not any(_is_of(one, limit) for limit in asked))
        found.append((*asked, *others))
    return found


def _is_of(one: Constraint, other: Constraint) -> bool:
    """Return whether two limits are of the same cost at the same confidence."""
    return (one.name, one.confidence) == (other.name, other.confidence)
