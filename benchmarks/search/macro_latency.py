"""Latency of every network of NAS-Bench-Macro on this machine, whole networks, measured.

``python -m benchmarks.search.macro_latency``: 3,969 networks on onnxruntime, in lots. All are
visited in several passes, far apart in time and each in lots of its own, and a lot's slowness is
taken out (`level`), so that lots in slow moments are no slower.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.environment import environment
from benchmarks.search.tables import MACRO_LATENCY, RESULTS, macro_networks
from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.core.files import write_json
from edgenas.core.measurement import MeasurementPlan
from edgenas.hardware.device import load_device
from edgenas.profiling.measure import measure_files
from edgenas.profiling.workload import model_bytes
from edgenas.spaces.base import SearchSpace

RUNTIME = "onnxruntime"
LOT = 40
_N_ROUNDS = 30
PASSES = RESULTS / "macro_passes"
PLAN = MeasurementPlan(n_visits=4, n_runs=5, n_warmup=2, spread_s=0.0, n_processes=1, seed=0)


def lots(rows: Genes, number: int) -> list[Genes]:
    """Return all networks in lots of a random order, another one in every pass."""
    order = np.random.default_rng(number).permutation(len(rows))
    return [rows[order[i : i + LOT]] for i in range(0, len(rows), LOT)]


def measure(space: SearchSpace, rows: Genes) -> dict[str, float]:
    """Return milliseconds of a lot."""
    device = load_device("local")
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder, device.claim():
        paths = {}
        for key, row in ((key_of(row), row) for row in rows):
            paths[key] = Path(folder) / f"{key.replace(' ', '-')}.onnx"
            paths[key].write_bytes(model_bytes(space.network(row), "onnx", "float32"))
        measured = measure_files(device, RUNTIME, paths, PLAN)
    return {key: one.latency_ms for key, one in measured.items()}


def key_of(row: Genes) -> str:
    """Return genes as text."""
    return " ".join(map(str, row.tolist()))


def one_pass(number: int) -> None:
    """Measure all networks once more; goes on where it was stopped."""
    space = spaces.get("nas_bench_macro")
    rows, _ = macro_networks(space)
    path = PASSES / f"pass{number}.json"
    done = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    everything = lots(rows, number)
    for i in range(len(done), len(everything)):
        start = time.monotonic()
        done.append(measure(space, everything[i]))
        write_json(path, done)
        took_s = time.monotonic() - start
        print(f"pass {number}, lot {i + 1} of {len(everything)}: {took_s:.1f} s", flush=True)


def level(passes: list[list[dict[str, float]]]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the networks, their log milliseconds, and what is left of every pass, (n_passes, n).

    Tukey's median polish: a lot's slowness is the median of how much slower its networks are than
    in other lots, a network's time the median of its passes without that.
    """
    keys = sorted(key for lot in passes[0] for key in lot)
    place = {key: i for i, key in enumerate(keys)}
    times = np.zeros((len(passes), len(keys)))
    lot_of = np.zeros(times.shape, dtype=np.int64)
    for number, done in enumerate(passes):
        for i, lot in enumerate(done):
            for key, value in lot.items():
                times[number, place[key]] = np.log(value)
                lot_of[number, place[key]] = i
    slowness = np.zeros((len(passes), max(map(len, passes))))
    for _ in range(_N_ROUNDS):
        networks = np.median(times - np.take_along_axis(slowness, lot_of, 1), axis=0)
        for number, i in np.ndindex(slowness.shape):
            slowness[number, i] = np.median((times[number] - networks)[lot_of[number] == i])
        slowness -= np.median(slowness)
    return keys, networks, times - np.take_along_axis(slowness, lot_of, 1) - networks


def summarise() -> None:
    """Write each network's time, the slowness of lots taken out."""
    passes = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(PASSES.glob("*.json"))]
    keys, networks, rest = level(passes)
    differ = np.abs(rest[0] - rest[-1])
    write_json(
        MACRO_LATENCY,
        {
            "runtime": RUNTIME,
            "n_passes": len(passes),
            "first_and_last_pass_differ": {
                "median": round(float(np.median(differ)), 4),
                "of_90_percent_at_most": round(float(np.quantile(differ, 0.9)), 4),
                "correlation": round(
                    float(np.corrcoef(networks + rest[0], networks + rest[-1])[0, 1]), 4
                ),
            },
            "latency_ms": dict(zip(keys, np.exp(networks).round(5).tolist(), strict=True)),
            "environment": environment(),
        },
    )


def main() -> None:
    """Measure passes, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=3)
    for number in range(parser.parse_args().passes):
        one_pass(number)
    summarise()


if __name__ == "__main__":
    main()
