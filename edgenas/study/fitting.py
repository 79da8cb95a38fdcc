"""Tables from whole networks' timings: fitted, or carried over from another table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.precision import Precision
from edgenas.core.version import __version__
from edgenas.costs.active import Criterion, next_networks
from edgenas.costs.counts import operator_counts
from edgenas.costs.fit_table import FittedTable, fit_table, transfer_table
from edgenas.costs.merge import parent_record
from edgenas.costs.passport import DeviceIdentity, Passport, RuntimeIdentity, SpaceIdentity
from edgenas.costs.table import CostTable
from edgenas.hardware.device import Device
from edgenas.profiling.conditions import conditions_of
from edgenas.spaces.base import SearchSpace
from edgenas.study.architecture_lines import read_lines

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Timings:
    """Networks, shape (n, n_genes); times, shape (n_sessions, n); when, shape (n,), or None."""

    networks: Genes
    times_ms: Floats
    at_s: Floats | None


def read_timings(text: str, space: SearchSpace) -> Timings:
    """Return the timings in JSON lines.

    A line is an architecture (see `read_lines`) with ``latency_ms``, a number or a list with one
    number a session, and ``at_s`` on every line or on none.

    Raises:
        UsageError: a line is none of these; the message has its number.
    """
    times: list[list[float]] = []
    at: list[float | None] = []
    bare: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            value = json.loads(line) if line.strip() else None
        except ValueError as error:
            raise UsageError(f"line {number}: {error}") from error
        if value is None:
            bare.append("")
            continue
        if not isinstance(value, dict):
            raise UsageError(f"line {number}: an object is expected, found {type(value).__name__}")
        times.append(_times(value.pop("latency_ms", None), number))
        moment = value.pop("at_s", None)
        at.append(None if moment is None else _number(moment, "at_s", number))
        bare.append(json.dumps(value))
    networks = read_lines("\n".join(bare), space)
    if len({len(row) for row in times}) > 1:
        raise UsageError("latency_ms has as many numbers on every line: one a session")
    moments = [moment for moment in at if moment is not None]
    if moments and len(moments) != len(at):
        raise UsageError("at_s stands on every line or on none")
    return Timings(networks, np.array(times).T, np.array(moments) if moments else None)


def identity_of(  # noqa: PLR0913
    device: Device | str,
    runtime: str,
    *,
    version: str | None,
    precision: Precision,
    threads: int | None,
    delegate: str | None,
) -> tuple[DeviceIdentity, RuntimeIdentity]:
    """Return what a table is of.

    Of a device that can be asked, settings come from its description unless they are given; of
    a name, what is not given is not known.
    """
    if isinstance(device, Device):
        asked = conditions_of(device, runtime, precision=precision)
        fingerprint = device.fingerprint
        identity = DeviceIdentity(
            slug=fingerprint.slug,
            match_key=fingerprint.match_key,
            fingerprint=asdict(fingerprint),
        )
        version = version or asked.runtime_version
        threads, delegate = threads or asked.threads, delegate or asked.delegate
        settings = None if asked.settings is None else dict(asked.settings)
    else:
        identity, settings = DeviceIdentity.named(device), None
    engine = RuntimeIdentity(
        name=runtime,
        version=version or "unknown",
        delegate=delegate,
        precision=precision,
        threads=threads,
        affinity=None,
        settings=settings,
    )
    return identity, engine


def table_from_timings(
    space: SearchSpace,
    timings: Timings,
    identity: tuple[DeviceIdentity, RuntimeIdentity],
    *,
    prior: CostTable | None = None,
    transfer: bool = False,
) -> CostTable:
    """Return a table whose costs come from whole networks: `fit_timings`, then `table_of`."""
    found = fit_timings(space, timings, prior=prior, transfer=transfer)
    return table_of(space, found, identity, prior=prior)


def fit_timings(
    space: SearchSpace,
    timings: Timings,
    *,
    prior: CostTable | None = None,
    transfer: bool = False,
) -> FittedTable:
    """Fit the costs of a space's operators to whole networks.

    Args:
        space: the networks' space.
        timings: what they took.
        prior: the latencies that are believed before.
        transfer: carry `prior` over to this device or engine with few networks, in place of
            fitting every cost.

    Raises:
        UsageError: a transfer without a table, too few networks, or a `prior` of something else
            than latencies.
        MissingCostError: `prior` lacks an operator of the space.
    """
    if transfer and prior is None:
        raise UsageError("--transfer carries a table over; name it with --prior")
    if transfer and timings.at_s is not None:
        raise UsageError("a transfer rests on too few networks to see drift; leave out at_s")
    if prior is not None and transfer:
        return transfer_table(prior, space, timings.networks, timings.times_ms)
    return fit_table(
        space,
        timings.networks,
        timings.times_ms,
        prior_table=prior,
        times_at=timings.at_s,
    )


def networks_to_time(  # noqa: PLR0913
    space: SearchSpace,
    timings: Timings,
    found: FittedTable,
    n: int,
    *,
    by: Criterion = "variance",
    n_pool: int = 1000,
    seed: int = 0,
) -> Genes:
    """Return the networks whose timing would teach a fit most, the first one most.

    Args:
        space: the networks' space.
        timings: what the fit saw.
        found: the fit.
        n: how many networks are wanted.
        by: `variance`: those that the fit is least sure of, or `reduction`: those that make it
            surest of all others; see `edgenas.costs.active.next_networks`.
        n_pool: how many random networks they are chosen from, beside the two extremes.
        seed: decides which those are.

    Returns:
        Distinct networks that were not timed, shape (n, n_genes).

    Raises:
        UsageError: there are fewer than `n` to choose from.
    """
    extremes = np.stack([space.smallest(), space.largest()])
    drawn = np.concatenate([extremes, space.sample(n_pool, np.random.default_rng(seed))])
    both = np.concatenate([space.canonical(timings.networks), drawn])
    _, first = np.unique(both, axis=0, return_index=True)
    pool = both[np.sort(first[first >= len(timings.networks)])]
    if len(pool) < n:
        raise UsageError(
            f"{n} networks to time next are asked for; of the {len(drawn)} drawn from {space.name} "
            f"{len(pool)} are distinct and not timed yet: ask for fewer, or draw more with --pool"
        )
    counts = operator_counts(space, pool, space.distinct_ops())
    chosen: Genes = pool[next_networks(found.fitted, counts, n, by=by)]
    return chosen


def entries_of(space: SearchSpace, networks: Genes) -> list[dict[str, Any]]:
    """Return networks as objects that `read_timings` reads once ``latency_ms`` is in them."""
    return [
        {"id": arch.id, "genes": list(arch.genes), "config": space.describe(arch.row)}
        for arch in space.architectures(networks)
    ]


def table_of(
    space: SearchSpace,
    found: FittedTable,
    identity: tuple[DeviceIdentity, RuntimeIdentity],
    *,
    prior: CostTable | None = None,
) -> CostTable:
    """Return a fit as a table.

    Args:
        space: the networks' space.
        found: the fit.
        identity: of what the table is.
        prior: what was believed before it.
    """
    device, runtime = identity
    passport = Passport(
        provenance="fitted" if found.ratio is None else "transferred",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool_version=__version__,
        space=SpaceIdentity(
            name=space.name, fingerprint=space.fingerprint, parameters=space.parameters
        ),
        device=device,
        runtime=runtime,
        calibration=found.calibration,
        parents=[] if prior is None else [parent_record(prior, len(found.rows))],
        checksum="",
    )
    return CostTable(found.rows, passport, source="the fitted table")


def _times(value: Any, number: int) -> list[float]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UsageError(f"line {number}: latency_ms is empty")
    return [_number(item, "latency_ms", number, above=0.0) for item in values]


def _number(value: Any, name: str, number: int, *, above: float = -np.inf) -> float:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not known or not np.isfinite(value) or value <= above:
        limit = "" if above < 0 else f" above {above:g}"
        raise UsageError(f"line {number}: {name} is {value!r}; a number{limit} is expected")
    return float(value)
