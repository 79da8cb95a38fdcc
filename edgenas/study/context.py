"""What the steps of a run share: its job, folder, data, space, device, tables; each loaded once."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgenas import spaces
from edgenas.core.errors import (
    EdgenasError,
    MissingExtraError,
    StorageError,
    UsageError,
)
from edgenas.core.extras import unavailable_reason
from edgenas.core.objective import Constraint, Objective, objective
from edgenas.costs.conditions import Mismatch
from edgenas.costs.kinds import KIND_OF, KINDS, Kind, column_of
from edgenas.costs.model import CostModel, LatencyModel
from edgenas.costs.store import load_kind, locate
from edgenas.costs.table import CostTable
from edgenas.evaluators.costs import CheapCosts
from edgenas.evaluators.predictors import AccuracyPredictor, load_predictor
from edgenas.evaluators.tabular import TabularValues
from edgenas.exporters import EXPORTERS, Exporter
from edgenas.exporters import get as get_exporter
from edgenas.exporters.tensorrt import ONE_GPU, TensorRTExporter, TensorRTRecipe, check_capabilities
from edgenas.hardware.device import Device, load_device
from edgenas.oneshot.data import ImageDataset, load_dataset
from edgenas.profiling.conditions import conditions_of
from edgenas.profiling.energy import power_of
from edgenas.profiling.engine_place import DevicePlace, engine_runtime
from edgenas.runtimes import RUNTIMES, Runtime
from edgenas.runtimes.base import runtimes_on
from edgenas.spaces.base import SearchSpace
from edgenas.study.job import Job, limits_of
from edgenas.study.job_checks import check_job
from edgenas.study.other_devices import other_table
from edgenas.study.run_folder import RunFolder
from edgenas.study.table_names import TableName

if TYPE_CHECKING:
    from edgenas.oneshot.supernet import Supernet

M = TypeVar("M", bound=CostModel)

SUPERNET = "train/supernet.safetensors"
INTERVAL_COVERAGE = 0.9
"""Two-sided coverage of the latency intervals that runs show."""


class Run:
    """One run: a job in a folder. What is heavy is loaded when first asked for."""

    def __init__(self, folder: RunFolder, job: Job) -> None:
        self.folder, self.job = folder, job
        self._is_possible = False

    # -- what the job names ----------------------------------------------------------------

    @cached_property
    def dataset(self) -> ImageDataset:
        """The images."""
        data = self.job.data
        return load_dataset(data.source, **data.model_dump(exclude={"source"}))

    @cached_property
    def space(self) -> SearchSpace:
        """The space; channels and classes are those of the data unless the job says otherwise."""
        section = self.job.space
        # Weights that come from elsewhere bring their channels and classes with them.
        dataset = None if self.job.training.weights else self.dataset
        return make_space(section.preset, section.settings, dataset)

    @cached_property
    def device(self) -> Device:
        """The device."""
        return load_device(self.job.device.id)

    @cached_property
    def exporters(self) -> dict[str, Exporter]:
        """Exporters by target, their recipes changed as the job says."""
        found: dict[str, Exporter] = {}
        for target in self.job.export.targets:
            exporter = get_exporter(target, self.job.device.precision)
            if isinstance(exporter, TensorRTExporter):
                exporter = self._tensorrt(exporter.recipe)
            found[target] = exporter
        return found

    def _tensorrt(self, recipe: TensorRTRecipe) -> Exporter:
        """Return the exporter of engines, built where the job says.

        Raises:
            UsageError: the device is to build them and has no TensorRT by its description, or is
                to build one engine for several kinds of GPUs.
        """
        section = self.job.export.tensorrt
        changes = section.model_dump(exclude_none=True)
        if (section.build or recipe.build) != "device":
            return TensorRTExporter(recipe.model_copy(update=changes))
        if recipe.build != "device":  # the GPU that it names is another engine's
            changes["compute_capability"] = section.compute_capability
        changed = recipe.model_copy(update=changes)
        if len(changed.compute_capabilities) > 1:
            raise UsageError(f"export.tensorrt: {ONE_GPU}")
        runtime = engine_runtime(self.device, changed.runtime, self.job.device.runtime)
        place = DevicePlace(self.device, runtime)
        return TensorRTExporter(changed.model_copy(update={"runtime": runtime}), place)

    @cached_property
    def runtimes(self) -> tuple[str, ...]:
        """The runtime of the objective, then those that run the exported files."""
        found = runtimes_on(self.device.description)
        others = [name for name in found if any(self._runs(name, one) for one in self.exporters)]
        return tuple(dict.fromkeys((self.job.device.runtime, *others)))

    def runtime_of(self, target: str) -> str | None:
        """Return the runtime that times the files of `target`, None if there is none."""
        return next((name for name in self.runtimes if self._runs(name, target)), None)

    def _runs(self, runtime: str, target: str) -> bool:
        """Return whether a runtime runs the files of a target: engines, the one that built them."""
        exporter, kind = self.exporters[target], RUNTIMES.get(runtime)
        if exporter.place is not None:
            return exporter.place.runtime == runtime
        if kind.symmetric and exporter.recipe.precision == "int8":
            return False  # other files have ONNX Runtime's 8 bits
        return kind.format == target

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """What the search improves."""
        return tuple(objective(name) for name in self.job.objectives)

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """What the search must keep."""
        return self.job.all_constraints()

    @property
    def searched_kinds(self) -> tuple[Kind, ...]:
        """Kinds of costs that the search looks at: latency, and what objectives and limits name."""
        names = self.job.searched_names()
        return tuple(k for k in KINDS if k == "latency" or column_of(k) in names)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Those, and what the pick is limited in: the costs that the proof is about."""
        named = {KIND_OF[b.name] for b in self.job.budgets() if b.name in KIND_OF}
        return tuple(kind for kind in KINDS if kind in {*self.searched_kinds, *named})

    @property
    def shares_weights(self) -> bool:
        """Whether there is a supernet (see `Job.shares_weights`)."""
        return self.job.shares_weights

    @property
    def needed_tables(self) -> tuple[TableName, ...]:
        """Every table of the run: latencies on all runtimes, other kinds on the job's own."""
        own = self.job.device.runtime
        others = [TableName(own, kind) for kind in self.kinds if kind != "latency"]
        return (*(TableName(name) for name in self.runtimes), *others)

    @cached_property
    def predictor(self) -> AccuracyPredictor | None:
        """What predicts the accuracy, None if it is measured.

        Raises:
            StorageError, SpaceError: the file that the job names cannot be read, or predicts for
                another space.
        """
        path = self.job.search.predictor
        return None if path is None else load_predictor(Path(path), self.space)

    @cached_property
    def accuracies(self) -> TabularValues | None:
        """Accuracies that are known already, None if the job names no file of them.

        Raises:
            UsageError: the file cannot be read, or holds something else.
        """
        if self.job.search.accuracies is None:
            return None
        from edgenas.study.accuracy_lines import read_accuracies  # which reads runs, too

        path = Path(self.job.search.accuracies)
        try:
            text = path.read_text(encoding="utf-8")
            rows, found = read_accuracies(text, self.space, as_csv=path.suffix == ".csv")
        except (OSError, UnicodeDecodeError, EdgenasError) as error:
            raise UsageError(f"search.accuracies: {path}: {error}") from error
        if not len(rows):
            raise UsageError(f"search.accuracies: {path} holds no architecture")
        return TabularValues(self.space, rows, {"accuracy": found})

    # -- what earlier steps made -----------------------------------------------------------

    def table_path(self, runtime: str, kind: Kind = "latency") -> Path:
        """Return where the run keeps the table that it uses."""
        ending = "" if kind == "latency" else f".{kind}"
        return self.folder / f"tables/{runtime}-{self.job.device.precision}{ending}.csv"

    def table(self, name: TableName) -> CostTable:
        """Return the run's own copy of a table, checked (errors as `CostTable.load`)."""
        table = load_kind(self.table_path(name.runtime, name.kind), name.kind)
        self._mismatches(table, name)
        return table

    def given_table(self, name: TableName) -> CostTable:
        """Return the table that the job names, checked.

        Raises:
            UsageError: it is not there.
            CostError, SchemaError: it is damaged, or of something else than the job accepts.
        """
        table = load_kind(locate(self.job.device.tables[str(name)]), name.kind)
        self._mismatches(table, name)
        return table

    def _mismatches(self, table: CostTable, name: TableName) -> tuple[Mismatch, ...]:
        """Return in what a table is of something else; only what the job names may be so.

        Raises:
            CostError: it is of something else than the job accepts.
        """
        device = self.job.device
        asked = conditions_of(self.device, name.runtime, precision=device.precision)
        accept = device.accept_mismatch if str(name) in device.tables else ()
        return table.check_serves(self.space, asked, accept=accept)

    @cached_property
    def models(self) -> dict[str, LatencyModel]:
        """Latency models by runtime, from the run's own tables."""
        return {name: self._model(LatencyModel, TableName(name)) for name in self.runtimes}

    @cached_property
    def cost_models(self) -> dict[str, CostModel]:
        """Models of the job's own runtime by objective, latency first."""
        own = self.job.device.runtime
        found: dict[str, CostModel] = {column_of("latency"): self.model}
        for name in self.needed_tables:
            if name.kind != "latency":
                found[column_of(name.kind)] = self._model(CostModel, TableName(own, name.kind))
        return found

    @cached_property
    def other_devices(self) -> dict[str, CostModel]:
        """Models of the tables of other devices, by objective: ``latency_ms.LABEL``.

        Raises:
            UsageError: a table that the job names is not there.
            CostError, SchemaError: it is damaged, or lacks operators of the space.
        """
        found: dict[str, CostModel] = {}
        for label, name in self.job.device.also.items():
            table = other_table(self.folder, label, name)
            model = CostModel(self.space, table, coverage=INTERVAL_COVERAGE)
            found[f"{column_of(model.kind)}.{label}"] = model
        return found

    @property
    def searched_models(self) -> dict[str, CostModel]:
        """Models that decide a search, by objective: latency, and what it improves and limits.

        What only the pick is limited in, or nobody asked for, changes no search.
        """
        every = {**self.cost_models, **self.other_devices}
        names = {column_of("latency"), *self.job.searched_names()}
        return {name: model for name, model in every.items() if name in names}

    @property
    def all_models(self) -> dict[str, CostModel]:
        """Every model of the run by the name of its table: latencies by runtime, then others."""
        own = self.job.device.runtime
        others = {
            str(TableName(own, model.kind)): model
            for model in self.cost_models.values()
            if model.kind != "latency"
        }
        return {**self.models, **others}

    @property
    def caveats(self) -> dict[str, tuple[str, ...]]:
        """What anyone who reads the result must be told, by table; those of other devices last."""
        every = {**self.all_models, **self.other_devices}
        return {name: model.caveats for name, model in every.items()}

    def _model(self, kind: type[M], name: TableName) -> M:
        table = self.table(name)
        mismatches = self._mismatches(table, name)
        return kind(self.space, table, coverage=INTERVAL_COVERAGE, mismatches=mismatches)

    def forget_tables(self) -> None:
        """Read the tables again when they are next asked for."""
        self.__dict__.pop("models", None)
        self.__dict__.pop("cost_models", None)

    @property
    def model(self) -> LatencyModel:
        """The latency model of the objective."""
        return self.models[self.job.device.runtime]

    def costs(
        self, constraints: tuple[Constraint, ...], *, models: dict[str, CostModel] | None = None
    ) -> CheapCosts:
        """Return counts and predictions of whole populations, and these limits on them.

        Predictions are those of `models`; by default of every table of the run.
        """
        if models is None:
            models = {**self.cost_models, **self.other_devices}
        counts = ("n_macs", "n_params", "peak_activation_kib")
        names = tuple(dict.fromkeys((*self.job.objectives, *models, *counts)))
        return CheapCosts(self.space, names, models=models, constraints=constraints)

    @cached_property
    def supernet(self) -> Supernet:
        """The trained supernet."""
        from edgenas.oneshot.supernet import load_supernet

        return load_supernet(self.space, self.folder / SUPERNET)

    def read(self, name: str) -> Any:
        """Return the JSON document `name` of the run.

        Raises:
            StorageError: it is not there or damaged.
        """
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(
                f"cannot read {path}: {error}; run the command that makes it again: "
                f"edgenas compile {self.folder / 'job.yaml'} --out {self.folder.path}"
            ) from error

    # -- whether it can be done here -------------------------------------------------------

    def check_names(self) -> None:
        """Refuse a job that names what does not exist, or settings that fight each other.

        Raises:
            RegistryError: an unknown space, device, runtime, searcher or target.
            DeviceError: energy is asked for, and the device's description says nothing of power.
            EdgenasError: data, space, settings or a table that the job names are unusable, or
                do not go together (`edgenas.study.job_checks`).
        """
        spaces.SPACES.get(self.job.space.preset)
        runtime: type[Runtime] = RUNTIMES.get(self.job.device.runtime)
        if self.job.device.precision not in runtime.precisions:
            raise UsageError(
                f"{runtime.name} has no precision {self.job.device.precision}; "
                f"allowed: {', '.join(runtime.precisions)}"
            )
        for target in self.job.export.targets:
            EXPORTERS.get(target)
        _ = self.device, self.dataset, self.space, self.runtimes, self.predictor, self.accuracies
        if "energy" in self.kinds:
            power_of(self.device)
        for text in self.job.device.tables:
            name = TableName.parse(text)
            RUNTIMES.get(name.runtime)
            self.given_table(name)
        check_job(self)

    def check_possible(self, steps: frozenset[str]) -> None:
        """Refuse before any work what cannot be finished.

        Raises:
            MissingExtraError: it is not installed; the message names the extra.
            ExportError: an engine for GPUs that the installed TensorRT does not know.
        """
        if self._is_possible:
            return
        reasons = [RUNTIMES.get(name)().unavailable_reason() for name in self.runtimes]
        if "export" in steps:
            reasons += [exporter.unavailable_reason() for exporter in self.exporters.values()]
        if "train" in steps:
            reasons += [unavailable_reason("torch"), unavailable_reason("safetensors")]
        missing = list(dict.fromkeys(reason for reason in reasons if reason))
        if missing:
            raise MissingExtraError("\n".join(missing))
        if "export" in steps and "tensorrt" in self.exporters:
            self._check_gpu()
        self._is_possible = True

    def _check_gpu(self) -> None:
        """Refuse to build for GPUs that TensorRT does not know, now and not after training."""
        recipe = self.exporters["tensorrt"].recipe
        if isinstance(recipe, TensorRTRecipe) and recipe.build == "ahead":
            check_capabilities(recipe.compute_capabilities)

    def check_feasible(self) -> None:
        """Refuse budgets that nothing in the space keeps; needs the tables.

        Raises:
            InfeasibleError: the message has the least value that the space reaches.
        """
        import numpy as np

        asked = [self.job.budgets()]
        if self.job.search.differentiable is not None:
            asked += limits_of(self.job)
        for budgets in asked:
            costs = self.costs(budgets)
            costs.check_feasible()
            costs.draw(1, np.random.default_rng(0))  # limits that fight each other


def make_space(preset: str, settings: dict[str, Any], dataset: ImageDataset | None) -> SearchSpace:
    """Return a space with changed settings, its input and output those of `dataset`.

    Raises:
        RegistryError: no such space.
        SpaceError: no such setting.
    """
    changes = dict(settings)
    if dataset is not None:
        changes.setdefault("input_channels", dataset.image_shape[0])
        changes.setdefault("n_classes", dataset.n_classes)
    return spaces.get(preset, **changes)
