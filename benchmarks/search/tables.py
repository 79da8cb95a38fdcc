"""The problems: published accuracies and latencies, and latencies that edgenas measured here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.search.problem import Known, of_table
from edgenas import spaces
from edgenas.core.architecture import Genes
from edgenas.evaluators import published
from edgenas.evaluators.tabular import TabularValues
from edgenas.searchers.problem import Floats
from edgenas.spaces.base import SearchSpace

RESULTS = Path(__file__).parent / "results"
MACRO_LATENCY = RESULTS / "nas_bench_macro_latency.json"

_DATASETS = ("cifar10", "cifar100")
_DEVICES = ("pixel3", "essential_ph_1", "eyeriss", "2080ti_1")
_JETSON = "eagle_jetson"


def names() -> list[str]:
    """Return the names of all problems."""
    cells = [f"nb201-{data}-{device}" for data in _DATASETS for device in _DEVICES]
    return [*cells, *(f"nb201-{data}-jetson" for data in _DATASETS), "macro-cpu", "mnasnet-zcu102"]


@cache
def get(name: str) -> Known:
    """Return a problem.

    Raises:
        KeyError: EDGENAS_BENCH_DATA is not set.
        ValueError: there is no such problem.
    """
    kind, _, rest = name.partition("-")
    if kind == "nb201":
        data, _, device = rest.partition("-")
        return _jetson(name, data) if device == "jetson" else _cells(name, data, device)
    if kind == "macro":
        return _macro(name)
    if kind == "mnasnet":
        from benchmarks.search.accelerators import known

        return known(name, rest)
    raise ValueError(f"no problem {name!r}; allowed: {', '.join(names())}")


def place(name: str) -> Path:
    """Return where a published file lies."""
    return Path(os.environ["EDGENAS_BENCH_DATA"]) / name


@cache
def _cells_of(data: str) -> TabularValues:
    """Return all 15,625 cells."""
    path = place("nb201_hw/nb201_arch_accuracy.csv.gz")
    return published.nas_bench_201(path, spaces.get("nas_bench_201"), data=data)


def _latency(table: str, device: str) -> tuple[Genes, Floats]:
    """Return the cells that were measured on a device, and milliseconds."""
    codes = published.read_columns(place("nb201_hw/nb201_arch_accuracy.csv.gz"))["arch_str"]
    measured = published.read_columns(place(f"nb201_hw/{table}.csv.gz"), ("arch_index", device))
    space = spaces.get("nas_bench_201")
    rows = [space.from_code(codes[int(i)]) for i in measured["arch_index"]]
    return np.array(rows, dtype=np.int8), np.array(measured[device], dtype=np.float64)


def _cells(name: str, data: str, device: str) -> Known:
    """Return the cells on a device; the 341 that no path leads through are no candidates."""
    rows, latency = _latency("nb201_latency_help_cifar10", device)
    accuracy = _cells_of(data)(rows)["accuracy"]
    lives = accuracy > (0.11 if data == "cifar10" else 0.011)
    return of_table(name, _cells_of(data).space, rows[lives], accuracy[lives], latency[lives])


def _jetson(name: str, data: str) -> Known:
    """Return the 1,999 cells that were measured on a Jetson Nano."""
    rows, latency = _latency("nb201_latency_oneproxy_1999_cifar10", _JETSON)
    accuracy = _cells_of(data)(rows)["accuracy"]
    space = _cells_of(data).space
    return of_table(name, space, rows, accuracy, latency, draw=_drawn_from(rows))


def _macro(name: str) -> Known:
    """Return the networks of NAS-Bench-Macro on this machine (`macro_latency` measures them)."""
    space = spaces.get("nas_bench_macro")
    rows, accuracy = macro_networks(space)
    measured = json.loads(MACRO_LATENCY.read_text(encoding="utf-8"))["latency_ms"]
    latency = np.array([measured[" ".join(map(str, row))] for row in rows], dtype=np.float64)
    return of_table(name, space, rows, accuracy, latency)


def macro_networks(space: SearchSpace) -> tuple[Genes, Floats]:
    """Return the distinct networks and their accuracies, means over equal entries."""
    path = place("nas_bench_macro/nas_bench_macro_cifar10.csv.gz")
    table = published.nas_bench_macro(path, space)
    return table.rows, table.values["accuracy"]


def _drawn_from(rows: Genes) -> Callable[[int, np.random.Generator], Genes]:
    return lambda n, rng: rows[rng.integers(0, len(rows), n)]
