"""What installed tables know of another space's operators."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgenas.core import paths
from edgenas.core.errors import UsageError
from edgenas.costs.conditions import Conditions
from edgenas.costs.known import NOTHING_KNOWN, Known, known_rows
from edgenas.costs.store import locate, table_path, user_tables
from edgenas.costs.table import CostTable
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from tests.costs.conftest import priced_rows

MakeTable = Callable[..., CostTable]
ASKED = Conditions("0123456789abcdef", "onnxruntime", "float32", "1.2.3", threads=1)


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "installed")
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "installed" / "_data" / "latency_tables"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def wanted() -> SearchSpace:
    """Shares the operators at 20 px with the named space."""
    return get("mbv3_tiny", resolutions=[20, 24], kernels=[3, 5], expansions=[2, 3])


def where(space: str, root: Path | None = None) -> Path:
    return table_path(
        root or user_tables(),
        slug="chip-2c",
        runtime="onnxruntime",
        precision="float32",
        space=space,
    )


def find(space: SearchSpace, **changes: Any) -> Known:
    return known_rows(space, replace(ASKED, **changes), slug="chip-2c")


def test_shared_operators_are_known(
    shipped: Path, make_named: MakeTable, named_space: SearchSpace, wanted: SearchSpace
) -> None:
    assert find(wanted) == NOTHING_KNOWN
    table = make_named(where("tiny", shipped))
    found = find(wanted)
    shared = {op.key for op in wanted.distinct_ops()} & table.rows.keys()
    assert 0 < len(shared) < len(wanted.distinct_ops())
    assert found.rows.keys() == shared
    (parent,) = found.parents
    assert (parent.checksum, parent.n_rows) == (table.passport.checksum, len(shared))
    assert found.digest != NOTHING_KNOWN.digest
    assert find(named_space).rows.keys() == table.rows.keys()


def test_the_newest_row_counts(
    shipped: Path, make_named: MakeTable, named_space: SearchSpace, wanted: SearchSpace
) -> None:
    rows = [replace(row, cost=row.cost * 2) for row in priced_rows(named_space)]
    new = make_named(where("b"), rows=rows[:-2], created="2026-10-05T00:00:00+00:00")
    old = make_named(where("a", shipped), created="2026-10-01T00:00:00+00:00")
    found = find(named_space)
    assert found.rows.keys() == old.rows.keys()
    assert sum(row.cost == new.rows[key].cost for key, row in found.rows.items() if key in new.rows)
    assert {parent.checksum: parent.n_rows for parent in found.parents} == {
        new.passport.checksum: len(rows) - 2,
        old.passport.checksum: 2,
    }


def test_few_visits_do_not_replace_enough(make_named: MakeTable, named_space: SearchSpace) -> None:
    few = [replace(row, n_visits=2, cost=row.cost * 2) for row in priced_rows(named_space)]
    make_named(where("new"), rows=few, created="2026-10-05T00:00:00+00:00")
    assert {row.n_visits for row in find(named_space).rows.values()} == {2}
    make_named(where("old"))
    assert {row.n_visits for row in find(named_space).rows.values()} == {6}


def test_each_table_has_its_own_level(
    make_named: MakeTable, named_space: SearchSpace, caplog: pytest.LogCaptureFixture
) -> None:
    """The two tables are of two days; some of the rows of each are timed again on a third."""
    rows = list(priced_rows(named_space))
    half = len(rows) // 2
    make_named(where("a"), rows=rows[:half], created="2026-10-01T00:00:00+00:00")
    make_named(where("b"), rows=rows[half:], created="2026-10-05T00:00:00+00:00")
    known = find(named_space)
    slower = dict(zip((row.operator for row in rows[:half]), [1.5] * half, strict=True))
    again = {key: (known.rows[key].isolated or 0) * slower.get(key, 1.05) for key in known.retimed}
    of_table = [[key for key in again if known.owners[key] == k] for k in (0, 1)]
    assert [len(keys) for keys in of_table] == [min(10, half // 2)] * 2
    for keys in of_table:  # neither the fastest nor the slowest alone
        times = [known.rows[key].isolated or 0 for key in keys]
        assert times == sorted(times)
    now = known.at_level(again)
    assert now.rows.keys() == known.rows.keys() - again.keys()
    for key, row in now.rows.items():
        assert row.isolated == pytest.approx(
            (known.rows[key].isolated or 0) * slower.get(key, 1.05), rel=1e-6
        )
    levels = {parent.level: parent.n_rows for parent in now.parents}
    left = half - len(of_table[0])
    assert levels == {1.5: left, 1.05: len(rows) - half - len(of_table[1])}
    assert caplog.text.count("brought to this level") == 1
    assert "1.50 times" in caplog.text


def test_nothing_known_stays_nothing() -> None:
    assert NOTHING_KNOWN.retimed == ()
    assert NOTHING_KNOWN.at_level({}) == NOTHING_KNOWN


@pytest.mark.parametrize(
    "changes",
    [{"match_key": "f"}, {"runtime_version": "2"}, {"threads": 2}, {"delegate": "gpu"}],
)
def test_other_devices_and_engines_know_nothing(
    make_named: MakeTable, wanted: SearchSpace, changes: dict[str, Any]
) -> None:
    make_named(where("tiny"))
    assert find(wanted).rows
    assert find(wanted, **changes) == NOTHING_KNOWN


def test_damaged_tables_are_passed_over(make_named: MakeTable, wanted: SearchSpace) -> None:
    make_named(where("tiny"))
    path = where("other")
    make_named(path)
    path.write_text("rubbish")
    assert find(wanted).rows


def test_tables_are_located_by_path_and_by_name(
    tmp_path: Path, shipped: Path, make_named: MakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = where("tiny"), where("tiny", shipped)
    make_named(theirs)
    name = "chip-2c/onnxruntime-float32/tiny"
    assert locate(name) == locate(f"{name}.csv") == theirs
    make_named(ours)
    assert locate(name) == ours
    assert locate(theirs) == theirs
    monkeypatch.chdir(theirs.parent)
    assert locate("tiny") == Path("tiny.csv")
    with pytest.raises(UsageError, match=r"no table 'absent'.*tables list"):
        locate("absent")
