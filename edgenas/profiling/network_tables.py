"""From the journal of measured networks to a table with its passport."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.costs.kinds import UNITS, Kind
from edgenas.costs.merge import parent_record
from edgenas.costs.network_fit import fit_networks
from edgenas.costs.passport import NetworkPlanRecord, Passport
from edgenas.costs.table import CostTable
from edgenas.profiling.campaign import Campaign
from edgenas.profiling.tabulate import Record, made_of
from edgenas.profiling.whole_networks import Values, reduced

Floats = npt.NDArray[np.float64]


def network_table(
    campaign: Campaign, kind: Kind, networks: Genes, record: Record, *, latency: CostTable | None
) -> CostTable:
    """Fit operator costs to the measured networks and describe how good the result is."""
    costs = session_costs(campaign, kind, len(networks), record)
    rows, fit = fit_networks(campaign.space, kind, networks, costs, latency=latency)
    first = record.visits[0]["values"]
    modelled = first.get("provenance") == "modelled"
    passport = Passport(
        **made_of(campaign.space, campaign.device, campaign.device.fingerprint, record),
        kind=kind,
        unit=UNITS[kind],
        provenance="modelled" if modelled else "fitted",
        network_plan=_plan(campaign, len(networks), first),
        network_fit=fit,
        parents=[] if latency is None else [parent_record(latency, len(rows))],
        checksum="",
    )
    return CostTable(rows, passport)


def session_costs(campaign: Campaign, kind: Kind, n_networks: int, record: Record) -> Floats:
    """Return what each network cost in each session, shape (n_sessions, n_networks)."""
    orders = campaign.orders(n_networks)
    costs = np.full((len(orders), n_networks), np.nan)
    first = 0
    for session, order in enumerate(orders):
        seen: list[list[Values]] = [[] for _ in range(n_networks)]
        for k, network in enumerate(order, start=first):
            seen[network].append(record.visits[k]["values"])
        first += len(order)
        costs[session] = [reduced(kind, values) for values in seen]
    return costs


def _plan(campaign: Campaign, n_networks: int, values: Values) -> NetworkPlanRecord:
    """Return the plan as it was carried out."""
    settings, source = campaign.settings, campaign.source
    times: dict[str, dict[str, Any]] = {
        "footprint": {"n_processes": settings.n_processes},
        "energy": {"run_s": settings.run_s, "idle_s": settings.idle_s},
        "endurance": {"run_s": settings.load_s, "tail_s": settings.load_s / 3},
    }
    if values.get("provenance") == "modelled":
        times["energy"] = {}
    return NetworkPlanRecord(
        seed=settings.seed,
        n_networks=n_networks,
        n_sessions=settings.n_sessions or 1,
        meter=values.get("meter"),
        **times[source],
    )
