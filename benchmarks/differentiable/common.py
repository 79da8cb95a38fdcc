"""What the benchmarks of differentiable search share: tables, budgets over a range, timings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.timing import timed
from edgenas import spaces
from edgenas.core.measurement import MeasurementPlan
from edgenas.costs.model import LatencyModel
from edgenas.costs.store import find_table
from edgenas.hardware.device import load_device
from edgenas.oneshot.mixed.budget import settle
from edgenas.oneshot.mixed.expected import ExpectedCost
from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.profiling.conditions import conditions_of
from edgenas.searchers.probabilities import Probabilities
from edgenas.spaces.base import SearchSpace

RUNTIME = "onnxruntime"
PLAN = MeasurementPlan(n_visits=40, n_runs=3, n_warmup=1, spread_s=90.0, n_processes=4, seed=1)
"""Visits to all networks in random order."""


def latency_model(space_name: str) -> LatencyModel:
    """Return this machine's own table of a space as a model.

    Raises:
        NoTableError: there is none; `edgenas profile` makes it.
    """
    space, device = spaces.get(space_name), load_device("local")
    asked = conditions_of(device, RUNTIME, precision="float32")
    return LatencyModel(space, find_table(space, asked, slug=device.fingerprint.slug))


def budgets_of(model: LatencyModel, shares: Sequence[float]) -> list[float]:
    """Return latencies in ms so far from the least to the greatest, on a logarithmic scale."""
    low, high = np.log(model.budget.least()[0]), np.log(model.budget.greatest()[0])
    return [round(float(np.exp(low + share * (high - low))), 6) for share in shares]


def settled(logits: GeneLogits, model: LatencyModel, budget_ms: float) -> Probabilities:
    """Put logits on a budget, in place; return what is proposed from, as in a run of edgenas."""
    settle(logits, {"latency_ms": ExpectedCost(model.fold)}, {"latency_ms": budget_ms})
    return Probabilities(logits.options(), (f"latency_ms <= {budget_ms}",), least_use=0.95)


def measured_ms(
    space: SearchSpace, rows: Iterable[tuple[int, ...]]
) -> dict[tuple[int, ...], float]:
    """Return measured latencies of whole networks, all visited in turn, in ms."""
    names = {f"network{i}": row for i, row in enumerate(sorted(set(rows)))}
    graphs = {name: space.network(np.array(row, dtype=np.int8)) for name, row in names.items()}
    found = timed(graphs, RUNTIME, PLAN)
    return {row: round(found[name].latency_ms, 6) for name, row in names.items()}
