"""Makes tables of costs that only whole networks show: measures networks, resumes, fits."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.core.files import Journal
from edgenas.costs.kinds import KINDS, ON_LATENCY, SOURCES, Kind, Source
from edgenas.costs.samples import SampledVisit, write_samples
from edgenas.costs.store import table_path
from edgenas.costs.table import CostTable, networks_journal_path, samples_path
from edgenas.hardware.device import Device
from edgenas.hardware.throttling import ThrottlingWatch, read_thermal
from edgenas.profiling.campaign import Campaign
from edgenas.profiling.network_tables import network_table
from edgenas.profiling.progress import Progress, silent
from edgenas.profiling.recorder import JournalRecorder
from edgenas.profiling.retrying import with_retries
from edgenas.profiling.whole_networks import (
    DEFAULT,
    MEASURES,
    NetworkSettings,
    check_told,
    single,
)
from edgenas.profiling.workload import write_model
from edgenas.runtimes.bench import engine_version, open_bench
from edgenas.spaces.base import SearchSpace

_TIMEOUT_S = 120.0
_AT_ONCE: dict[Source, int] = {"footprint": 1, "energy": 5, "endurance": 1}
"""Networks between two appends to the journal; energies share the rest between two networks."""


class NetworkRecorder(JournalRecorder):
    """Records what was measured of networks: `values` of each visit, by their names."""

    def __init__(
        self, journal: Journal, identity: dict[str, Any], *, kinds: Sequence[Kind]
    ) -> None:
        self.kinds = kinds
        super().__init__(journal, identity)

    def add(self, k: int, key: str, values: Mapping[str, Any]) -> None:
        """Append a finished visit durably."""
        self._append({"k": k, "key": key, "values": dict(values)})

    def check(self, visit: dict[str, Any]) -> None:
        """Refuse a visit that holds nothing of the kinds that are wanted."""
        for kind in self.kinds:
            single(kind, visit["values"])


def profile_networks(  # noqa: PLR0913
    device: Device,
    runtime: str,
    space: SearchSpace,
    kinds: Iterable[Kind],
    root: Path,
    *,
    settings: NetworkSettings = DEFAULT,
    precision: str = "float32",
    latency: CostTable | None = None,
    force: bool = False,
    n_retries: int = 0,
    progress: Progress = silent,
) -> dict[Kind, CostTable]:
    """Measure networks of `space` on `device` and write a table of each kind under `root`.

    What one measurement tells of several kinds is measured once. Every finished network is in a
    journal beside the tables; a run that was killed continues from there when it is called again
    with the same arguments. A process or connection that is lost is started anew, up to `n_retries`
    times in a row.

    Args:
        device: where to measure.
        runtime: with which engine.
        space: whose networks.
        kinds: of costs, all but latency.
        root: the folder of tables.
        settings: how many networks are measured, and how.
        precision: of weights and activations.
        latency: the space's latency table, which kinds in `ON_LATENCY` need.
        force: forget an unfinished measurement that was not forced itself.
        n_retries: how often to go on after a loss.
        progress: told how far it is.

    Raises:
        UsageError: latencies are asked for; their table is needed and was not given; or the device
            or engine does not tell what is asked for.
        OtherDeviceError: another device answers where this one was; nothing of it is kept.
        DeviceError: the device or the engine failed; what was measured is kept.
        StorageError: the journal belongs to other settings, or the disk is full.
    """
    wanted = [kind for kind in KINDS if kind in set(kinds)]
    _check_kinds(wanted, latency)
    tables: dict[Kind, CostTable] = {}
    for source in dict.fromkeys(SOURCES[kind] for kind in wanted):
        own = [kind for kind in wanted if SOURCES[kind] == source]
        campaign = Campaign(device, runtime, space, own, settings.of(source), precision)
        with device.claim():
            tables |= _make(campaign, root, latency, n_retries, progress, force=force)
    return {kind: tables[kind] for kind in wanted}


def _check_kinds(kinds: Sequence[Kind], latency: CostTable | None) -> None:
    if "latency" in kinds:
        raise UsageError("latencies are measured operator by operator, not network by network")
    needing = [kind for kind in kinds if kind in ON_LATENCY]
    if needing and latency is None:
        raise UsageError(f"{', '.join(needing)} start from a table of latencies; give it")


def _make(  # noqa: PLR0913
    campaign: Campaign,
    root: Path,
    latency: CostTable | None,
    n_retries: int,
    progress: Progress,
    *,
    force: bool,
) -> dict[Kind, CostTable]:
    device, space = campaign.device, campaign.space
    fingerprint = device.fingerprint
    paths = {
        kind: table_path(
            root,
            slug=fingerprint.slug,
            runtime=campaign.runtime,
            precision=campaign.precision,
            space=space.name,
            kind=kind,
        )
        for kind in campaign.kinds
    }
    networks = campaign.networks()
    first = campaign.kinds[0]
    journal = Journal(networks_journal_path(paths[first], first, space=space.name))
    try:
        identity, kinds = campaign.identity(networks), campaign.kinds
        if force:
            version = engine_version(device, campaign.runtime)
            recorder = NetworkRecorder.forced(journal, identity, version, kinds=kinds)
        else:
            recorder = NetworkRecorder(journal, identity, kinds=kinds)
        run = _Run(campaign, networks, recorder, progress)
        with_retries(device, run.attempt, lambda: len(recorder.visits), n_retries=n_retries)
    finally:
        journal.close()
    tables = {}
    for kind, path in paths.items():
        prior = latency if kind in ON_LATENCY else None
        tables[kind] = network_table(campaign, kind, networks, recorder, latency=prior)
        write_samples(samples_path(path), kind, run.samples(kind))
        tables[kind].save(path)
        tables[kind].source = str(path)
    journal.path.unlink()
    return tables


class _Run:
    """A measurement of networks that goes on where it was cut off."""

    def __init__(
        self, campaign: Campaign, networks: Genes, recorder: NetworkRecorder, progress: Progress
    ) -> None:
        self.campaign, self.networks, self.recorder = campaign, networks, recorder
        self.progress = progress
        self.order = [i for order in campaign.orders(len(networks)) for i in order]
        self.archs = campaign.space.architectures(networks)

    def attempt(self) -> None:
        """Measure the networks that are left."""
        left = [k for k in range(len(self.order)) if k not in self.recorder.visits]
        self._tell()
        if not left:
            return
        device = self.campaign.device
        with open_bench(
            device,
            self.campaign.runtime,
            precision=self.campaign.precision,
            timeout_s=_TIMEOUT_S,
        ) as bench:
            self.recorder.engine(bench)
        # Under load for minutes a device may throttle; that is what endurance is to see.
        patient = self.campaign.source != "endurance"
        watch = ThrottlingWatch(device.connector, device.description.throttling)
        for waited in watch.pauses:
            self.recorder.pause(waited)
        if not self.recorder.states:
            self.recorder.state(watch.reference)
        size = _AT_ONCE[self.campaign.source]
        for start in range(0, len(left), size):
            self._visit(left[start : start + size])
            device.check()
            pause = watch.look() if patient else None
            if pause is not None:
                self.recorder.pause(pause)
            self._tell()
        self.recorder.state(read_thermal(device.connector))

    def _tell(self) -> None:
        what = f"{self.campaign.source} of {self.campaign.space.name} on {self.campaign.runtime}"
        self.progress(what, len(self.recorder.visits), len(self.order))

    def _visit(self, numbers: Sequence[int]) -> None:
        """Measure some networks, each in a model file of its own, and record them."""
        campaign = self.campaign
        with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
            paths: dict[str, Path] = {}
            for k in numbers:
                graph = campaign.space.network(self.networks[self.order[k]])
                stem = Path(folder) / str(k)
                paths[str(k)] = write_model(stem, graph, campaign.runtime, campaign.precision)
            measured = MEASURES[campaign.source](
                campaign.device, campaign.runtime, paths, campaign.settings, campaign.precision
            )
        for k in numbers:
            for kind in campaign.kinds:
                check_told(kind, [measured[str(k)]], f"{campaign.device.id}, {campaign.runtime}")
            self.recorder.add(k, f"net:{self.archs[self.order[k]].id}", measured[str(k)])

    def samples(self, kind: Kind) -> Iterator[SampledVisit]:
        """Yield what each visit found of a kind."""
        for k, visit in sorted(self.recorder.visits.items()):
            cost = single(kind, visit["values"])
            if cost is not None:
                yield SampledVisit(k, visit["at_s"], visit["key"], (round(cost, 6),))
