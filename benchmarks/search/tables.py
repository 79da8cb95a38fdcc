"""The problems: published accuracies and latencies, and latencies that edgenas measured here."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.search.problem import Known, of_table
from edgenas import spaces
from edgenas.core.architecture import Genes
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


def read(place: str) -> dict[str, list[str]]:
    """Return the columns of a published table, as they are written."""
    path = Path(os.environ["EDGENAS_BENCH_DATA"]) / place
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        header, *lines = csv.reader(stream)
    return {name: [line[i] for line in lines] for i, name in enumerate(header)}


@cache
def _nas_bench_201() -> tuple[SearchSpace, Genes, dict[str, Floats]]:
    """Return the space, all 15,625 cells as genes, and their accuracies by data set."""
    table = read("nb201_hw/nb201_arch_accuracy.csv.gz")
    space = spaces.get("nas_bench_201")
    rows = np.array([space.from_code(text) for text in table["arch_str"]], dtype=np.int8)
    accuracy = {d: np.array(table[f"test_acc_200ep_{d}"], float) / 100 for d in _DATASETS}
    return space, rows, accuracy


def _cells(name: str, data: str, device: str) -> Known:
    """Return the cells on a device; the 341 that no path leads through are no candidates."""
    space, rows, accuracy = _nas_bench_201()
    latency = np.array(read("nb201_hw/nb201_latency_help_cifar10.csv.gz")[device], float)
    lives = accuracy[data] > (0.11 if data == "cifar10" else 0.011)
    return of_table(name, space, rows[lives], accuracy[data][lives], latency[lives])


def _jetson(name: str, data: str) -> Known:
    """Return the 1,999 cells that were measured on a Jetson Nano."""
    space, rows, accuracy = _nas_bench_201()
    table = read("nb201_hw/nb201_latency_oneproxy_1999_cifar10.csv.gz")
    places = np.array(table["arch_index"], dtype=np.int64)
    chosen = rows[places]
    latency = np.array(table[_JETSON], float)
    return of_table(name, space, chosen, accuracy[data][places], latency, draw=_drawn_from(chosen))


def _macro(name: str) -> Known:
    """Return the networks of NAS-Bench-Macro on this machine (`macro_latency` measures them)."""
    space = spaces.get("nas_bench_macro")
    rows, accuracy = macro_networks(space)
    measured = json.loads(MACRO_LATENCY.read_text(encoding="utf-8"))["latency_ms"]
    latency = np.array([measured[" ".join(map(str, row))] for row in rows], dtype=np.float64)
    return of_table(name, space, rows, accuracy, latency)


def macro_networks(space: SearchSpace) -> tuple[Genes, Floats]:
    """Return the distinct networks and their accuracies, means over equal entries."""
    table = read("nas_bench_macro/nas_bench_macro_cifar10.csv.gz")
    every = np.array([space.from_code(code) for code in table["arch"]], dtype=np.int8)
    rows, places = np.unique(every, axis=0, return_inverse=True)
    counts = np.bincount(places.reshape(-1))
    sums = np.bincount(places.reshape(-1), np.array(table["mean_acc"], float) / 100)
    return rows, sums / counts


def _drawn_from(rows: Genes) -> Callable[[int, np.random.Generator], Genes]:
    return lambda n, rng: rows[rng.integers(0, len(rows), n)]
