"""Devices of others' measurements on once-for-all's MobileNetV3 space of width 1.2, as folds.

The Note10 tables are one a resolution. Blocks of the last stages have equal sizes under two
resolutions and were measured twice; every network is costed by its own resolution's table, as the
public code does, so no mean is taken. GPU latencies are of whole networks: their costs are fitted.
"""

from __future__ import annotations

import csv
import gzip
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.costs.fit_table import fit_table
from edgenas.costs.importers import Published, import_table, importer_of
from edgenas.costs.model import LatencyModel
from edgenas.evaluators.predictors import AccuracyPredictor, load_published
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.fold import Fold

SPACE = "ofa_mbv3_w1.2"
RESOLUTIONS = (160, 176, 192, 208, 224)
_GENE = "resolution"
_HELD_OUT = 4  # every fourth network is kept aside


def data() -> Path:
    """Return the folder of recorded data."""
    return Path(os.environ["EDGENAS_BENCH_DATA"]) / "ofa_mbv3"


@cache
def space() -> SearchSpace:
    """Return the space that the tables and the predictor are of."""
    return get(SPACE, resolutions=list(RESOLUTIONS))


def predictor(of: SearchSpace | None = None) -> AccuracyPredictor:
    """Return the published predictor."""
    return load_published(data() / "ofa_acc_predictor_mlp_weights.npz", of or space())


@cache
def note10() -> Fold:
    """Return Note10 latencies, milliseconds."""
    by_resolution = [_note10_at(resolution) for resolution in RESOLUTIONS]
    tables = []
    for number, factor in enumerate(space().factors):
        place = factor.genes.index(_GENE)
        shape = [len(space().genes[space().index[name]].options) for name in factor.genes]
        one = [1 if name == _GENE else n for name, n in zip(factor.genes, shape, strict=True)]
        parts = [fold.tables[number].reshape(one) for fold in by_resolution]
        tables.append(np.concatenate(parts, axis=place).ravel())
    return Fold(space(), tables)


def _note10_at(resolution: int) -> Fold:
    own = get(SPACE, resolutions=[resolution])
    file = data() / "raw" / f"note10_{resolution}.yaml"
    published = Published("Samsung Note10", runtime="tflite", note="once-for-all's tables")
    return LatencyModel(own, import_table(importer_of("ofa"), [file], own, published).table).fold


@cache
def i7() -> Fold:
    """Return Intel i7-8700K latencies, milliseconds (the unit is inferred)."""
    file = data() / "i7_8700k_block_lut_nsganetv2.csv.gz"
    published = Published("Intel i7-8700K", note="NSGANetV2's table")
    found = import_table(importer_of("nsganetv2"), [file], space(), published, partial=True)
    return LatencyModel(space(), found.table).fold


@cache
def gpu(column: str = "v100_64") -> tuple[Fold, dict[str, Any]]:
    """Return latencies of a GPU, fitted to whole networks, and how well it predicts others."""
    genes, times = _timings(column)
    held = np.arange(len(genes)) % _HELD_OUT == 0
    fitted = fit_table(space(), genes[~held], times[~held])
    costs = {row.operator: row.cost for row in fitted.rows}
    fold = Fold.compile(space(), lambda op: costs[op.key], offset=fitted.fitted.overhead_ms)
    errors = np.abs(fold(genes[held]) / times[held] - 1)
    report = {
        "column": column,
        "n_fitted": int((~held).sum()),
        "n_held_out": int(held.sum()),
        "mape": round(float(errors.mean()), 5),
        "within_5_percent": round(float((errors <= 0.05).mean()), 4),
    }
    return fold, report


def _timings(column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return networks of the space's resolutions, shape (n, n_genes), and their times, ms."""
    own = space()
    assert hasattr(own, "from_ofa")
    rows, times = [], []
    with gzip.open(data() / "ofa_mbv3_5000_gpu_latency_help.csv.gz", "rt") as stream:
        for line in csv.DictReader(stream):
            if int(line["r"]) in RESOLUTIONS:
                lists = ([int(text) for text in line[name].split()] for name in ("ks", "e", "d"))
                rows.append(own.from_ofa(*lists, int(line["r"])))
                times.append(float(line[column]))
    return np.stack(rows), np.array(times)
