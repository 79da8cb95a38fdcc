"""Tables of a small space, made up and whole."""

from collections.abc import Callable
from math import prod
from typing import Any

import pytest

from edgenas.core.counts import n_macs
from edgenas.core.ops import OpSpec
from edgenas.costs.passport import Passport
from edgenas.costs.table import CostTable, Row
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import expand
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
