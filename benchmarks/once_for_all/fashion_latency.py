"""Latency of all networks of the comparison: whole networks, in turn, on one runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.once_for_all.fashion_networks import Network
from edgenas.core.measurement import Measurement, MeasurementPlan
from edgenas.hardware.device import load_device
from edgenas.profiling.measure import measure_files
from edgenas.profiling.workload import model_bytes
from edgenas.runtimes import RUNTIMES

PLAN = MeasurementPlan(n_visits=60, n_runs=3, n_warmup=1, spread_s=120.0, n_processes=4, seed=1)
"""Visits to all networks in random order, over two minutes and four processes."""


def latencies(networks: Sequence[Network], runtime: str) -> dict[str, dict[str, object]]:
    """Time networks of any spaces on this machine, each as a file with random weights."""
    device, model_format = load_device("local"), RUNTIMES.get(runtime).format
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder, device.claim():
        paths = {}
        for network in networks:
            paths[network.id] = Path(folder) / f"{network.id}.{model_format}"
            graph = network.space.network(network.row)
            paths[network.id].write_bytes(model_bytes(graph, model_format, "float32"))
        measured = measure_files(device, runtime, paths, PLAN)
    return {key: _timing(measurement) for key, measurement in measured.items()}


def _timing(measurement: Measurement) -> dict[str, object]:
    return {
        "latency_ms": round(measurement.latency_ms, 5),
        "median_ms": round(measurement.percentile_ms(50), 5),
        "process_ms": [round(value, 5) for value in measurement.process_ms],
    }
