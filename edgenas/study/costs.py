"""What the verbs about costs call: tables are made, predictions and measurements are returned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from edgenas import spaces
from edgenas.core.architecture import Architecture, population
from edgenas.core.errors import NoTableError, UsageError
from edgenas.core.measurement import Measurement, MeasurementPlan, Prediction
from edgenas.costs.kinds import KINDS, ON_LATENCY, Kind, profile_command
from edgenas.costs.known import NOTHING_KNOWN, known_rows
from edgenas.costs.model import CostModel
from edgenas.costs.store import load_kind, locate, table_path, user_tables
from edgenas.costs.table import CostTable, passport_path
from edgenas.evaluators.base import check_space
from edgenas.hardware.device import Device, load_device
from edgenas.profiling.conditions import conditions_of
from edgenas.profiling.networks import profile_networks
from edgenas.profiling.profile import profile as make_table
from edgenas.profiling.progress import Progress, silent
from edgenas.profiling.retrying import N_RETRIES
from edgenas.profiling.whole_networks import DEFAULT, NetworkSettings
from edgenas.profiling.workload import MISSING_NETWORKS, ProfileSettings
from edgenas.runtimes import RUNTIMES
from edgenas.spaces.base import SearchSpace
from edgenas.study.measuring import measure_model
from edgenas.study.steps.profile import existing_table


def profile(  # noqa: PLR0913
    space: SearchSpace | str,
    *,
    runtime: str = "onnxruntime",
    device: Device | Path | str = "local",
    precision: str = "float32",
    settings: ProfileSettings | None = None,
    out: Path | None = None,
    force: bool = False,
    missing: bool = False,
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
        force: measure anew, whatever tables there are, and forget an unfinished run, but for one
            that was forced itself: after it was cut off, the same call goes on.
        missing: measure alone only those operators that no table of this device and engine, of
            whatever space, has; calibrate them all on fewer networks.
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
    known = NOTHING_KNOWN
    if missing:
        asked = conditions_of(on, runtime, precision=precision)
        known = known_rows(wanted, asked, slug=on.fingerprint.slug)
    few = {"n_networks": MISSING_NETWORKS} if missing else {}
    return make_table(
        on,
        runtime,
        wanted,
        settings or ProfileSettings.for_space(wanted, **few),
        root,
        precision=precision,
        known=known,
        force=force,
        n_retries=N_RETRIES,
        progress=progress,
    )


def profile_costs(  # noqa: PLR0913
    space: SearchSpace | str,
    kinds: Iterable[Kind],
    *,
    runtime: str = "onnxruntime",
    device: Device | Path | str = "local",
    precision: str = "float32",
    settings: NetworkSettings = DEFAULT,
    out: Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> dict[Kind, CostTable]:
    """Return the tables of costs that whole networks show, measured where there are none.

    Args:
        space: a space or the name of one.
        kinds: of costs, all but latency; what shares a measurement is measured once.
        runtime: which engine.
        device: a device, its id, or its description's path.
        precision: of weights and activations.
        settings: how many networks are measured, and how.
        out: folder of tables to measure into, whatever tables there are; default: the user's own.
        force: measure anew, whatever tables there are, and forget an unfinished run, but for one
            that was forced itself: after it was cut off, the same call goes on.
        progress: told how far it is.

    Raises:
        NoTableError: the latency table that some kinds start from is not there.
        UsageError: the device or the engine does not tell such costs.
        DeviceError: the device or the engine failed; what was measured is kept.
        StorageError: an unfinished run with other settings is in the way, or the disk is full.
    """
    wanted = spaces.get(space) if isinstance(space, str) else space
    on = device if isinstance(device, Device) else load_device(device)
    _check_runtime(runtime, precision)
    asked = set(kinds)
    found: dict[Kind, CostTable | None] = dict.fromkeys(kind for kind in KINDS if kind in asked)
    root = out if out is not None else user_tables()
    for kind in found:
        if out is None and not force:
            found[kind] = existing_table(on, runtime, wanted, precision=precision, kind=kind)
    missing = [kind for kind, table in found.items() if table is None]
    made = profile_networks(
        on,
        runtime,
        wanted,
        missing,
        root,
        settings=settings,
        precision=precision,
        latency=_latencies(missing, on, runtime, wanted, precision, root),
        force=force,
        n_retries=N_RETRIES,
        progress=progress,
    )
    return {kind: table or made[kind] for kind, table in found.items()}


def _latencies(  # noqa: PLR0913
    kinds: Sequence[Kind],
    device: Device,
    runtime: str,
    space: SearchSpace,
    precision: str,
    root: Path,
) -> CostTable | None:
    """Return the latency table that kinds start from, None if none of them does."""
    needing = [kind for kind in kinds if kind in ON_LATENCY]
    if not needing:
        return None
    slug = device.fingerprint.slug
    path = table_path(root, slug=slug, runtime=runtime, precision=precision, space=space.name)
    if path.is_file():
        table = load_kind(path, "latency")
        table.check_serves(space, conditions_of(device, runtime, precision=precision))
        return table
    try:
        return _installed(device, runtime, space, precision, "latency")
    except NoTableError as error:
        raise NoTableError(
            f"the fit of {', '.join(needing)} starts from latencies: {error}"
        ) from error


def predict(  # noqa: PLR0913
    space: SearchSpace | str,
    archs: Sequence[Architecture] | np.ndarray,
    *,
    runtime: str = "onnxruntime",
    device: Device | Path | str = "local",
    precision: str = "float32",
    table: CostTable | Path | str | None = None,
    kind: Kind = "latency",
    accept: Sequence[str] = (),
    coverage: float = 0.9,
) -> list[Prediction]:
    """Return a predicted cost of architectures, each with interval and coverage.

    Args:
        space: a space or the name of one.
        archs: architectures, or genes of shape (n, n_genes).
        runtime: which engine.
        device: a device, its id, or its description's path.
        precision: of weights and activations.
        table: a table to use, its path, or its name as `edgenas tables list` has it; by default
            the installed one of this device.
        kind: of the costs; the table has to be of it.
        accept: in which aspects (`edgenas.costs.conditions.ASPECTS`) the table may be of something
            else; every prediction says so.
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
        if accept:
            raise UsageError("what to accept is said of a table: name the table too")
        table = _installed(on, runtime, wanted, precision, kind)
    elif not isinstance(table, CostTable):
        table = load_kind(locate(table), kind)
    asked = conditions_of(on, runtime, precision=precision)
    mismatches = table.check_serves(wanted, asked, accept=accept)
    if not 0 < coverage < 1:
        raise UsageError(f"a coverage lies between 0 and 1, not {coverage}")
    rows = archs if isinstance(archs, np.ndarray) else _rows(wanted, archs)
    wanted.check(rows)
    model = CostModel(wanted, table, coverage=coverage, mismatches=mismatches)
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
    on = device if isinstance(device, Device) else load_device(device)
    return measure_model(Path(model), on, runtime=runtime, plan=plan, progress=progress).latency


def _check_runtime(runtime: str, precision: str) -> None:
    known = RUNTIMES.get(runtime)
    if precision not in known.precisions:
        raise UsageError(
            f"{runtime} has no precision {precision!r}; allowed: {', '.join(known.precisions)}"
        )


def _installed(
    device: Device, runtime: str, space: SearchSpace, precision: str, kind: Kind
) -> CostTable:
    table = existing_table(device, runtime, space, precision=precision, kind=kind)
    if table is None:
        slug = device.fingerprint.slug
        path = table_path(
            user_tables(),
            slug=slug,
            runtime=runtime,
            precision=precision,
            space=space.name,
            kind=kind,
        )
        found = "one for another version is there" if passport_path(path).is_file() else "none"
        command = profile_command(space.command_options, runtime, kind, precision=precision)
        raise NoTableError(
            f"there is no {kind} table of {space.name} for {slug}, {runtime} {precision} as they "
            f"are now ({found}); make it with '{command}'"
        )
    return table


def _rows(space: SearchSpace, archs: Sequence[Architecture]) -> np.ndarray:
    check_space(archs, space)
    return population(list(archs), space.n_genes)
