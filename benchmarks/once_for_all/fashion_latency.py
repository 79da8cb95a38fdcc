"""Latency of all networks of the comparison: whole networks, in turn, on one runtime."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.once_for_all.fashion_networks import Network
from benchmarks.timing import timed
from edgenas.core.measurement import Measurement, MeasurementPlan

PLAN = MeasurementPlan(n_visits=60, n_runs=3, n_warmup=1, spread_s=120.0, n_processes=4, seed=1)
"""Visits to all networks in random order, over two minutes and four processes."""


def latencies(networks: Sequence[Network], runtime: str) -> dict[str, dict[str, object]]:
    """Time networks of any spaces on this machine, each as a file with random weights."""
    graphs = {network.id: network.space.network(network.row) for network in networks}
    measured = timed(graphs, runtime, PLAN)
    return {key: _timing(measurement) for key, measurement in measured.items()}


def _timing(measurement: Measurement) -> dict[str, object]:
    return {
        "latency_ms": round(measurement.latency_ms, 5),
        "median_ms": round(measurement.percentile_ms(50), 5),
        "process_ms": [round(value, 5) for value in measurement.process_ms],
    }
