"""Tables of other precisions than float32: the engines time models of just that precision."""

from pathlib import Path

import numpy as np
import pytest

from edgenas.core.measurement import MeasurementPlan
from edgenas.costs.model import LatencyModel
from edgenas.costs.table import CostTable
from edgenas.hardware.device import Device
from edgenas.profiling import workload as workload_module
from edgenas.profiling.measure import measure_networks
from edgenas.profiling.profile import profile
from edgenas.profiling.workload import ProfileSettings
from edgenas.spaces.base import SearchSpace


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The precisions in which models are written."""
    seen: set[str] = set()
    for name, lower in list(workload_module.LOWERINGS.items()):

        def noted(*given: object, precision: str, lower: object = lower) -> bytes:
            seen.add(precision)
            return lower(*given, precision=precision)  # type: ignore[operator, no-any-return]

        monkeypatch.setitem(workload_module.LOWERINGS._parts, name, noted)
    return seen


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [("onnxruntime", "int8"), ("litert", "int8"), ("litert", "float16")],
)
def test_a_table_is_made_in_the_precision_that_it_names(
    runtime: str,
    precision: str,
    device: Device,
    space: SearchSpace,
    few: ProfileSettings,
    tmp_path: Path,
    written: set[str],
) -> None:
    profile(device, runtime, space, few, tmp_path, precision=precision)
    assert written == {precision}
    folder = tmp_path / device.fingerprint.slug / f"{runtime}-{precision}"
    table = CostTable.load(folder / f"{space.name}.csv")
    assert table.passport.runtime.precision == precision
    value, low, high = LatencyModel(space, table).predict(space.sample(9, np.random.default_rng(0)))
    assert (value > 0).all()
    assert (low < high).all()


def test_networks_are_timed_in_the_precision_that_is_asked(
    device: Device, space: SearchSpace, written: set[str]
) -> None:
    rows = space.smallest()[None]
    plan = MeasurementPlan(n_visits=2, n_runs=2)
    (found,) = measure_networks(device, "litert", space, rows, plan, precision="int8")
    assert found.latency_ms > 0
    assert written == {"int8"}
