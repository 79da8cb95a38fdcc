"""Latencies of whole networks with random weights, all visited in turn, on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgenas.core.measurement import Measurement, MeasurementPlan
from edgenas.core.ops import Graph
from edgenas.hardware.device import load_device
from edgenas.profiling.measure import measure_files
from edgenas.profiling.workload import model_bytes
from edgenas.runtimes import RUNTIMES


def timed(
    graphs: Mapping[str, Graph], runtime: str, plan: MeasurementPlan
) -> Mapping[str, Measurement]:
    """Return measurements by name, each network run as a float32 file."""
    device, model_format = load_device("local"), RUNTIMES.get(runtime).format
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder, device.claim():
        paths = {name: Path(folder) / f"{name}.{model_format}" for name in graphs}
        for name, graph in graphs.items():
            paths[name].write_bytes(model_bytes(graph, model_format, "float32"))
        return measure_files(device, runtime, paths, plan)
