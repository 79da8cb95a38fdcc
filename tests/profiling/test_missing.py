"""Profiling only what is missing: operators that other tables know keep their times."""

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgenas.core.errors import AgentError, StorageError
from edgenas.costs.conditions import Conditions
from edgenas.costs.known import NOTHING_KNOWN, Known, known_rows
from edgenas.costs.lint import lint
from edgenas.costs.table import CostTable, journal_path
from edgenas.hardware.device import Device
from edgenas.profiling.profile import profile
from edgenas.profiling.workload import ProfileSettings, Workload
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from edgenas.study import api
from edgenas.study.job import ProfileSection
from edgenas.study.steps import profile as step

SHARED = {"kernels": [3], "expansions": [2, 3]}


@pytest.fixture
def first() -> SearchSpace:
    return get("mbv3_tiny", resolutions=[16, 20], **SHARED)


@pytest.fixture
def second() -> SearchSpace:
    """Has the operators at 20 px in common with the first."""
    return get("mbv3_tiny", resolutions=[20, 24], **SHARED)


@pytest.fixture
def known(
    bench: Any,
    device: Device,
    first: SearchSpace,
    second: SearchSpace,
    few: ProfileSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Known:
    """What the table of the first space, made here, knows of the second."""
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    profile(device, "onnxruntime", first, few, tmp_path / "home" / "latency_tables")
    bench.visited.clear()
    asked = Conditions(device.fingerprint.match_key, "onnxruntime", "float32", "1.0", threads=1)
    return known_rows(second, asked, slug=device.fingerprint.slug)


def test_known_operators_are_not_timed_again_but_for_some(
    bench: Any,
    device: Device,
    first: SearchSpace,
    second: SearchSpace,
    few: ProfileSettings,
    known: Known,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = {op.key for op in second.distinct_ops()}
    shared = keys & {op.key for op in first.distinct_ops()}
    again = set(known.retimed)
    assert known.rows.keys() == shared
    assert again < shared
    assert len(again) == min(20, -(-len(shared) // 2))
    table = profile(device, "onnxruntime", second, few, tmp_path, known=known)
    timed = {key.removeprefix("op:") for key in bench.visited if key.startswith("op:")}
    assert timed == keys - shared | again
    assert table.rows.keys() == keys
    for key in keys:
        assert table.rows[key].isolated == pytest.approx(bench.ms(f"op:{key}"), rel=1e-5)
    (parent,) = table.passport.parents
    assert (parent.space, parent.n_rows) == (first.name, len(shared - again))
    assert parent.level == 1.0
    assert "brought to this level" not in caplog.text
    assert table.passport.provenance == "measured"
    assert table.passport.calibration is not None
    assert table.passport.calibration.n_networks == few.n_networks


def test_a_machine_at_another_level_brings_the_known_times_there(
    bench: Any,
    device: Device,
    second: SearchSpace,
    few: ProfileSettings,
    known: Known,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is a quarter slower on this day; two of the operators happen to be disturbed."""
    disturbed = {f"op:{key}" for key in known.retimed[:2]}
    bench.slowdown = lambda key: 2.0 if key in disturbed else 1.25
    table = profile(device, "onnxruntime", second, few, tmp_path / "missing", known=known)
    for key, row in table.rows.items():
        assert row.isolated == pytest.approx(bench.ms(f"op:{key}"), rel=1e-4)
    (parent,) = table.passport.parents
    assert parent.level == pytest.approx(1.25, rel=1e-4)
    assert "1.25 times as long as when the table of" in caplog.text
    checks = {finding.check: finding for finding in lint(Path(table.source))}
    assert "1.25 times" in checks["level"].message
    assert "samples" not in checks


@pytest.mark.parametrize("level", [1.0, 1.25])
def test_the_costs_are_those_of_a_whole_measurement(
    bench: Any,
    device: Device,
    second: SearchSpace,
    few: ProfileSettings,
    known: Known,
    tmp_path: Path,
    level: float,
) -> None:
    """The made-up engine takes equal times in both, so the fits are equal too."""
    bench.slowdown = lambda key: level
    whole = profile(device, "onnxruntime", second, few, tmp_path / "whole")
    table = profile(device, "onnxruntime", second, few, tmp_path / "missing", known=known)
    for key, row in whole.rows.items():
        assert table.rows[key].cost == pytest.approx(row.cost, rel=1e-5)
    assert whole.passport.parents == []


def test_killed_and_resumed(
    bench: Any,
    device: Device,
    second: SearchSpace,
    few: ProfileSettings,
    known: Known,
    tmp_path: Path,
) -> None:
    bench.dies_after = 60
    with suppress(AgentError):
        profile(device, "onnxruntime", second, few, tmp_path, known=known)
    bench.dies_after = float("inf")
    (journal,) = tmp_path.glob("*/*/*.journal.jsonl")
    with pytest.raises(StorageError, match="begun with another known operators"):
        profile(device, "onnxruntime", second, few, tmp_path, known=NOTHING_KNOWN)
    table = profile(device, "onnxruntime", second, few, tmp_path, known=known)
    assert not journal.exists()
    assert journal == journal_path(Path(table.source))
    assert CostTable.load(Path(table.source)).rows.keys() == table.rows.keys()
    workload = Workload.of(second, few, known)
    assert all(bench.visited.count(key) == 2 for key in workload.timed_op_keys)


def test_the_library_times_only_what_is_missing(
    bench: Any, device: Device, second: SearchSpace, few: ProfileSettings, known: Known
) -> None:
    device.engine_versions["onnxruntime"] = "1.0"  # the fake bench's
    table = api.profile(second, device=device, settings=few, missing=True)
    timed = {key.removeprefix("op:") for key in bench.visited if key.startswith("op:")}
    assert timed == {op.key for op in second.distinct_ops()} - known.rows.keys() | {*known.retimed}
    assert [parent.checksum for parent in table.passport.parents] == [
        parent.checksum for parent in known.parents
    ]


@pytest.mark.parametrize(
    ("section", "knows"),
    [
        (ProfileSection(missing=True), True),
        (ProfileSection(missing=True, tables="own"), True),
        (ProfileSection(), False),
    ],
)
def test_a_job_can_ask_for_only_what_is_missing(
    device: Device, second: SearchSpace, known: Known, section: ProfileSection, knows: bool
) -> None:
    device.engine_versions["onnxruntime"] = "1.0"
    job = SimpleNamespace(profile=section, device=SimpleNamespace(precision="float32"))
    run: Any = SimpleNamespace(job=job, device=device, space=second)
    found = step._known(run, "onnxruntime")
    assert found.digest == (known if knows else NOTHING_KNOWN).digest
