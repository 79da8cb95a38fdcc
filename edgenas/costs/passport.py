"""A cost table's passport: what was measured, where, how, and how well it predicts.

The format is described in docs/formats.md. A table without a passport, or with one that does not
match the table's content, is refused.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from edgenas.core.errors import UsageError
from edgenas.core.precision import Precision
from edgenas.core.schema import StrictModel
from edgenas.costs.kinds import UNITS, Kind, Unit, profile_command
from edgenas.spaces.base import command_options

Provenance = Literal[
    "measured", "simulated", "published", "fitted", "transferred", "merged", "modelled"
]


class SpaceIdentity(StrictModel):
    """The space whose operators the table holds."""

    name: str
    fingerprint: str
    parameters: dict[str, Any]

    @property
    def command_options(self) -> str:
        """The options by which a command line asks for this space."""
        return command_options(self.name, self.parameters)


class DeviceIdentity(StrictModel):
    """The device that was measured; `match_key` decides whether another one is the same."""

    slug: str
    match_key: str
    fingerprint: dict[str, Any]

    @classmethod
    def named(cls, name: str) -> DeviceIdentity:
        """Return the identity of a device that nobody can ask; no hardware shows its match key.

        Raises:
            UsageError: `name` holds no letter and no digit.
        """
        slug = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
        if not slug:
            raise UsageError(f"the device's name {name!r} holds no letter and no digit")
        key = sha256(f"named {slug}".encode()).hexdigest()[:16]
        return cls(slug=slug, match_key=key, fingerprint={"name": name})


class RuntimeIdentity(StrictModel):
    """The engine that ran the operators; published tables may not tell its threads."""

    name: str
    version: str
    delegate: str | None = None
    precision: Precision
    threads: int | None = Field(ge=1)
    affinity: list[int] | None
    settings: dict[str, Any] | None = None
    """What else decides the times, as it was asked of the engine: affinity, providers, the
    accelerator; None: not told."""


class PlanRecord(StrictModel):
    """How the measurement was laid out."""

    seed: int
    n_operator_visits: int
    n_network_visits: int
    n_pools: int = 1
    """Processes among which the networks that not every process timed were shared out."""
    n_sessions: int
    """Measuring processes; each timed the same `n_session_networks` networks."""
    n_session_networks: int
    least_session_s: int
    spread_s: int = 0
    """Least time from the start of the first process to that of the last."""
    n_runs: int
    n_warmup: int
    anchor_every: int
    order: str = "every round is a random permutation of all artefacts; anchor in between"


class DriftRecord(StrictModel):
    """What the anchor network showed of the machine while the table was made."""

    n_anchor_visits: int
    anchor_min_ms: float
    anchor_median_ms: float
    anchor_max_ms: float
    slow_share: float = Field(ge=0, le=1)
    """Share of anchor visits more than 10 % above the fastest."""
    autocorrelation: float | None = None
    """Of neighbouring visits' residuals (lag 1), the median process; 0 is a machine at rest."""
    autocorrelation_without_drift: float | None = None
    """The same with the fitted drift taken out."""
    removed: bool = False
    """Whether the networks' times are those without drift, rather than the least runs."""


class ErrorReport(StrictModel):
    """Prediction against measurement of whole networks that the fit did not see.

    `n_networks` counts timings: a network timed in several sessions counts in each.
    """

    n_networks: int
    mape: float
    within_5_percent: float
    within_10_percent: float
    spearman: float
    bias: float
    """Mean of (predicted - measured) / measured."""


class FitRecord(StrictModel):
    """How operator costs were fitted to whole networks, whatever the costs are of."""

    n_networks: int
    space: str | None = None
    """The networks' space, where that is not the table's."""
    hyperparameters: dict[str, float]
    n_floored: int
    session_ratios: Annotated[list[float], Field(min_length=2)] | None
    """How much slower than the typical process each one ran the networks that all of them timed;
    None: there was one."""
    scores: list[float] = Field(min_length=2)
    """Sorted (measured - predicted) / predicted of networks left out of their fit, in a session
    that was not seen: see `edgenas.costs.conformal.with_sessions`."""
    held_out: ErrorReport
    """Of those same networks and timings."""
    naive_sum: ErrorReport | None
    """The sum of isolated operator times against those timings; None: none were measured alone."""
    noise_ceiling: ErrorReport | None
    """The same networks in each process against the process before; None: timed only once."""
    autocorrelation: float | None = None
    """Of the errors on held-out networks that were timed one after the other (lag 1), where the fit
    was told when they were timed; of measured tables the passport's `drift` tells it."""
    autocorrelation_without_drift: float | None = None
    """The same with the fitted drift taken out."""

    @property
    @abstractmethod
    def value_range(self) -> tuple[float, float]:
        """Least and greatest cost of the networks, in the table's unit."""

    @property
    @abstractmethod
    def overhead(self) -> float:
        """What every network costs beside its operators, in the table's unit."""


class CalibrationRecord(FitRecord):
    """The fit of latencies."""

    latency_range_ms: tuple[float, float]
    overhead_ms: float
    boundary_ms: float
    boundary_in_ms_per_kib: float
    boundary_out_ms_per_kib: float

    @property
    def value_range(self) -> tuple[float, float]:
        """Least and greatest latency of the networks, ms."""
        return self.latency_range_ms

    @property
    def overhead(self) -> float:
        """What every network takes beside its operators, ms."""
        return self.overhead_ms


class NetworkFitRecord(FitRecord):
    """The fit of costs that only whole networks show, in the table's unit."""

    cost_range: tuple[float, float]
    overhead_cost: float

    @property
    def value_range(self) -> tuple[float, float]:
        """Least and greatest cost of the networks, in the table's unit."""
        return self.cost_range

    @property
    def overhead(self) -> float:
        """What every network costs beside its operators, in the table's unit."""
        return self.overhead_cost


class NetworkPlanRecord(StrictModel):
    """How whole networks were measured where operators cannot be.

    What is None is not part of that measurement.
    """

    seed: int
    n_networks: int
    n_sessions: int
    """How often every network was measured, far apart."""
    n_processes: int | None = None
    """Processes that had loaded nothing before, to each network and session."""
    run_s: float | None = None
    """How long each network ran back to back, for its energy or for the load's end."""
    idle_s: float | None = None
    """Rest between them that counts as idle."""
    tail_s: float | None = None
    """How much of the end of the load counts."""
    meter: str | None = None
    order: str = "every session is a random permutation of the networks"

    def in_words(self) -> str:
        """Return the plan as a sentence without its end."""
        parts = [f"{self.n_networks} whole networks, {self.n_sessions} session(s)"]
        if self.n_processes is not None:
            parts.append(f"each loaded in {self.n_processes} new process(es)")
        if self.run_s is not None:
            parts.append(f"each run back to back for {self.run_s:g} s")
        if self.tail_s is not None:
            parts.append(f"of which the last {self.tail_s:g} s count")
        if self.idle_s is not None:
            parts.append(f"with {self.idle_s:g} s of rest between")
        if self.meter is not None:
            parts.append(f"meter: {self.meter}")
        return "; ".join([", ".join(parts), self.order])


class StateRecord(StrictModel):
    """What the device's sensors showed at one moment; empty or None where it has none."""

    temperatures_c: dict[str, float] = Field(default_factory=dict)
    clocks_mhz: dict[str, float] = Field(default_factory=dict)
    governor: str | None = None


class ThrottlePause(StrictModel):
    """A pause until the device had cooled."""

    at_s: float = Field(ge=0)
    """Since the start of the measurement."""
    duration_s: float = Field(ge=0)
    reason: str


class EnvironmentRecord(StrictModel):
    """The device at both ends of the measurement, and where it was waited for."""

    start: StateRecord = StateRecord()
    end: StateRecord = StateRecord()
    throttle_pauses: list[ThrottlePause] = Field(default_factory=list)


class ParentRecord(StrictModel):
    """A table that rows were taken from."""

    checksum: str
    provenance: Provenance
    created: str
    space: str
    n_rows: int = Field(ge=0)
    """How many of its rows are in this table."""
    level: float | None = Field(default=None, gt=0)
    """How much longer its operators took when some were timed again; the times alone of its rows
    are multiplied by it. None: none was timed again."""


class SourceFile(StrictModel):
    """A file that was imported."""

    name: str
    sha256: str


class SourceRecord(StrictModel):
    """Where a published table comes from."""

    format: str
    files: list[SourceFile] = Field(min_length=1)
    note: str = ""
    n_unused: int = Field(default=0, ge=0)
    """Entries of the files that are of no operator of the space."""


class Passport(StrictModel):
    """Everything that must hold for the table to be used.

    Only operators that were measured have a plan and a drift; only what is published was never
    fitted to networks. Latencies have a `calibration`, other kinds a `network_fit`, and a
    `network_plan` where their networks were measured for them.
    """

    schema_version: Literal[1] = 1
    kind: Kind = "latency"
    unit: Unit = "ms"
    provenance: Provenance
    created: str
    tool_version: str
    space: SpaceIdentity
    device: DeviceIdentity
    runtime: RuntimeIdentity
    plan: PlanRecord | None = None
    duration_s: float | None = None
    drift: DriftRecord | None = None
    environment: EnvironmentRecord | None = None
    calibration: CalibrationRecord | None = None
    network_plan: NetworkPlanRecord | None = None
    network_fit: NetworkFitRecord | None = None
    parents: list[ParentRecord] = Field(default_factory=list)
    source: SourceRecord | None = None
    checksum: str
    """SHA-256 of the CSV file's bytes."""

    def command(self, more: str, space_options: str | None = None) -> str:
        """Return the command that makes such a table, of its own space or of the one asked for.

        `more` goes to the command's end, with a space before it.
        """
        return profile_command(
            self.space.command_options if space_options is None else space_options,
            self.runtime.name,
            self.kind,
            precision=self.runtime.precision,
            more=more,
        )

    @property
    def fit(self) -> FitRecord | None:
        """How the costs were fitted to whole networks; None: they never were."""
        return self.calibration if self.kind == "latency" else self.network_fit

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.unit != UNITS[self.kind]:
            raise ValueError(f"unit is {self.unit}; {self.kind} is told in {UNITS[self.kind]}")
        lacking = [name for name in self._needed() if getattr(self, name) is None]
        if lacking:
            raise ValueError(
                f"'{lacking[0]}' is missing; a {self.kind} table that is {self.provenance} has it"
            )
        foreign = ("network_fit", "network_plan") if self.kind == "latency" else ("calibration",)
        for name in foreign:
            if getattr(self, name) is not None:
                raise ValueError(f"'{name}' does not belong into a table of {self.kind}")
        return self

    def _needed(self) -> tuple[str, ...]:
        """Return the keys that may be left out by other tables, and not by this one."""
        if self.provenance == "published":
            return ("source",)
        fit = "calibration" if self.kind == "latency" else "network_fit"
        if self.provenance in ("measured", "simulated"):
            return ("plan", "duration_s", "drift", fit)
        return (fit,)
