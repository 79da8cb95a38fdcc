"""Tables of a small space, made up and whole."""

import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest

from edgenas.core.counts import n_macs
from edgenas.core.ops import OpSpec
from edgenas.costs.kinds import UNITS, Kind
from edgenas.costs.passport import Passport
from edgenas.costs.table import CostTable, Row, samples_path
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import expand
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import Fold
from edgenas.testing.space_contract import width_space

MakeTable = Callable[..., CostTable]


def price(op: OpSpec) -> float:
    """Returns made-up milliseconds that differ from operator to operator."""
    graph = expand(op)
    return n_macs(graph) * 1e-6 + prod(graph.in_shape) * 1e-5 + len(op.key) * 1e-4


def made_up_passport(space: SearchSpace) -> dict[str, Any]:
    report = {
        "n_networks": 40,
        "mape": 0.01,
        "within_5_percent": 1.0,
        "within_10_percent": 1.0,
        "spearman": 0.99,
        "bias": 0.0,
    }
    return {
        "provenance": "simulated",
        "created": "2026-01-01T00:00:00+00:00",
        "tool_version": "0.1.0",
        "space": {
            "name": space.name,
            "fingerprint": space.fingerprint,
            "parameters": space.parameters,
        },
        "device": {"slug": "chip-2c", "match_key": "0123456789abcdef", "fingerprint": {"cpu": "x"}},
        "runtime": {
            "name": "onnxruntime",
            "version": "1.2.3",
            "precision": "float32",
            "threads": 1,
            "affinity": [1],
        },
        "plan": {
            "seed": 0,
            "n_operator_visits": 4,
            "n_network_visits": 4,
            "n_sessions": 3,
            "n_session_networks": 10,
            "least_session_s": 0,
            "n_runs": 3,
            "n_warmup": 1,
            "anchor_every": 25,
        },
        "duration_s": 12.5,
        "drift": {
            "n_anchor_visits": 9,
            "anchor_min_ms": 1.0,
            "anchor_median_ms": 1.1,
            "anchor_max_ms": 1.5,
            "slow_share": 0.25,
        },
        "calibration": {
            "n_networks": 40,
            "latency_range_ms": [0.1, 0.3],
            "overhead_ms": 0.02,
            "boundary_ms": 0.001,
            "boundary_in_ms_per_kib": 0.0,
            "boundary_out_ms_per_kib": 0.0,
            "hyperparameters": {"common": 0.1},
            "session_ratios": [1.0, 1.01, 0.99],
            "n_floored": 0,
            "scores": [i / 1000 for i in range(-20, 31)],
            "held_out": report,
            "naive_sum": report,
            "noise_ceiling": report,
        },
        "checksum": "",
    }


@pytest.fixture
def space() -> SearchSpace:
    return width_space()


@pytest.fixture
def make_table(space: SearchSpace) -> MakeTable:
    """A function that makes a table; its arguments change parts of the passport."""

    def make(rows: list[Row] | None = None, **changes: dict[str, Any]) -> CostTable:
        values = made_up_passport(space)
        for part, change in changes.items():
            values[part] = {**values[part], **change}
        if rows is None:
            rows = [
                Row(op.key, price(op), price(op) / 50, price(op) * 1.25, 4)
                for op in space.distinct_ops()
            ]
        return CostTable(rows, Passport.model_validate(values))

    return make


@pytest.fixture
def table(make_table: MakeTable) -> CostTable:
    return make_table()


@pytest.fixture
def named_space() -> SearchSpace:
    """A space that can be made again from its parameters, with blocks enough to compare."""
    return get("mbv3_tiny", resolutions=[16, 20], kernels=[3, 5], expansions=[2, 3])


@pytest.fixture
def make_named(named_space: SearchSpace) -> MakeTable:
    """A function that makes a sound table of that space, saved with samples that agree with it."""

    def make(path: Path | None = None, **changes: Any) -> CostTable:
        space = changes.pop("space", named_space)
        rows = changes.pop("rows", None) or priced_rows(space)
        values = made_up_passport(space) | {"created": "2026-10-01T00:00:00+00:00"}
        fold = Fold.compile(space, price, offset=0.02)
        program = BudgetProgram(fold)
        extent = [program.least()[0], program.greatest()[0]]
        values["calibration"] = values["calibration"] | {"latency_range_ms": extent}
        for part, change in changes.items():
            mapping = isinstance(change, dict)
            values[part] = {**values.get(part, {}), **change} if mapping else change
        table = CostTable(rows, Passport.model_validate(values))
        if path is not None:
            table.save(path)
            write_samples(samples_path(path), table)
            table.source = str(path)
        return table

    return make


def table_of_kind(table: CostTable, kind: Kind, provenance: str = "fitted") -> CostTable:
    """Returns the same figures as if whole networks had shown them, in the kind's unit."""
    values = table.passport.model_dump(mode="json")
    fit = values.pop("calibration")
    values["network_fit"] = {
        "cost_range": fit.pop("latency_range_ms"),
        "overhead_cost": fit.pop("overhead_ms"),
        **{name: value for name, value in fit.items() if not name.startswith("boundary")},
    }
    values["network_plan"] = {"seed": 0, "n_networks": fit["n_networks"], "n_sessions": 1}
    values |= {"kind": kind, "unit": UNITS[kind], "provenance": provenance}
    values |= {"plan": None, "drift": None}
    rows = [replace(row, isolated=None) for row in table.rows.values()]
    return CostTable(rows, Passport.model_validate(values))


def priced_rows(space: SearchSpace) -> list[Row]:
    return [
        Row(op.key, price(op), price(op) / 50, price(op) * 1.25, 6) for op in space.distinct_ops()
    ]


def write_samples(path: Path, table: CostTable) -> None:
    """Writes visits from which the rows could have come, in the format of the profiler."""
    calibration, drift = table.passport.calibration, table.passport.drift
    assert calibration is not None
    assert drift is not None
    keys = ["anchor"] * drift.n_anchor_visits
    keys += [f"net:{i:010x}" for i in range(calibration.n_networks)]
    keys += [f"op:{row.operator}" for row in table.rows.values() for _ in range(row.n_visits)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("visit", "at_s", "artefact", "run", "latency_ms"))
    for visit, key in enumerate(keys):
        row = table.rows.get(key.removeprefix("op:"))
        for run in range(2):
            ms = 1.0 if row is None or row.isolated is None else row.isolated * (1 + run / 10)
            writer.writerow((visit, visit / 10, key, run, f"{ms:.6f}"))
    path.write_bytes(gzip.compress(stream.getvalue().encode(), mtime=0))
