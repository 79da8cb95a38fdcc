"""Tables: what is written is read, and everything that is wrong with one is an error."""

import errno
import hashlib
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgenas.core.errors import (
    CostError,
    MissingCostError,
    SchemaError,
    StorageError,
    TableError,
    TableMismatchError,
    UsageError,
)
from edgenas.core.ops import parse_key
from edgenas.costs.conditions import ASPECTS, Conditions
from edgenas.costs.rows import columns
from edgenas.costs.table import CostTable, Row, passport_path
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from edgenas.testing.disk import small_disk
from edgenas.testing.space_contract import width_space

MakeTable = Callable[..., CostTable]
ASKED = Conditions("0123456789abcdef", "onnxruntime", "float32")


@pytest.fixture
def path(tmp_path: Path, table: CostTable) -> Path:
    """A table on the disk."""
    table.save(tmp_path / "chip" / "space.csv")
    return tmp_path / "chip" / "space.csv"


def rewrite(path: Path, content: str) -> None:
    """Writes the CSV anew and the right checksum with it: whoever did this did it on purpose."""
    path.write_text(content)
    meta = passport_path(path)
    checksum = hashlib.sha256(content.encode()).hexdigest()
    meta.write_text(re.sub(r"checksum: .*", f"checksum: '{checksum}'", meta.read_text()))


def change(path: Path, *, line: int, column: int, value: str) -> None:
    lines = path.read_text().splitlines()
    # Keys hold commas and are quoted; the numbers behind them are plain.
    key, *numbers = re.match(r'("[^"]*"|[^,]*),(.*)', lines[line]).groups()  # type: ignore[union-attr]
    cells = [key, *numbers[0].split(",")]
    cells[column] = value
    lines[line] = ",".join(cells)
    rewrite(path, "\n".join(lines) + "\n")


def test_what_is_written_is_read_back(path: Path, table: CostTable) -> None:
    again = CostTable.load(path)
    assert again.passport == table.passport
    assert list(again.rows) == list(table.rows)
    for key, row in table.rows.items():
        assert again.rows[key].cost == pytest.approx(row.cost, rel=1e-5)
        assert again.rows[key].std == pytest.approx(row.std, rel=1e-3)
        assert again.rows[key].isolated == pytest.approx(row.isolated, rel=1e-5)
        assert again.rows[key].n_visits == row.n_visits
    assert again.source == str(path)


def test_a_table_that_is_read_and_written_is_the_same_bytes(path: Path, tmp_path: Path) -> None:
    CostTable.load(path).save(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    assert passport_path(tmp_path / "again.csv").read_bytes() == passport_path(path).read_bytes()
    assert path.read_text().splitlines()[0] == ",".join(columns("latency"))


@pytest.mark.parametrize("value", ["0", "0.0", "-1.5", "nan", "inf", "-inf", "1e-999"])
@pytest.mark.parametrize(("column", "name"), [(1, "latency_ms"), (3, "isolated_ms")])
def test_a_cost_that_is_none_is_refused(path: Path, value: str, column: int, name: str) -> None:
    change(path, line=3, column=column, value=value)
    with pytest.raises(TableError, match=f"has {name} = .*a cost is a number above 0"):
        CostTable.load(path)


@pytest.mark.parametrize("value", ["nan", "inf", "-0.1"])
def test_an_uncertainty_that_is_none_is_refused(path: Path, value: str) -> None:
    change(path, line=2, column=2, value=value)
    with pytest.raises(TableError, match="has std_ms ="):
        CostTable.load(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [(1, "fast"), (1, ""), (2, "?"), (4, "2.5"), (4, "many"), (0, "mbconv"), (0, "mbconv(3xx3)")],
)
def test_a_cell_of_another_kind_is_refused_with_its_line(
    path: Path, column: int, value: str
) -> None:
    change(path, line=2, column=column, value=value)
    with pytest.raises(TableError, match="line 3: not a row of a cost table"):
        CostTable.load(path)


def test_a_row_cut_short_is_refused(path: Path) -> None:
    content = path.read_text().rstrip("\n")
    rewrite(path, content[: content.rindex(",")])
    with pytest.raises(TableError, match="not a row of a cost table"):
        CostTable.load(path)


def test_an_operator_with_two_rows_is_refused(path: Path) -> None:
    lines = path.read_text().splitlines()
    rewrite(path, "\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(TableError, match="has two rows"):
        CostTable.load(path)


@pytest.mark.parametrize("size", [0, 10, 100, -1, -20])
def test_a_file_cut_off_is_refused(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(TableError, match=r"the checksum is .*changed or cut off; restore it or"):
        CostTable.load(path)


def test_a_digit_changed_by_hand_is_refused(path: Path) -> None:
    content = path.read_text()
    path.write_text(content.replace("1", "2", 1))
    with pytest.raises(TableError, match="its passport says"):
        CostTable.load(path)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("operator,latency_us,std_ms,isolated_ms,n_visits", "latency_us"),
        ("operator,latency_ms,std_ms,isolated_ms", "found operator"),
        ("latency_ms,operator,std_ms,isolated_ms,n_visits", "found latency_ms, operator"),
    ],
)
def test_other_columns_are_refused(path: Path, header: str, found: str) -> None:
    lines = path.read_text().splitlines()
    rewrite(path, "\n".join([header, *lines[1:]]) + "\n")
    with pytest.raises(TableError, match=f"columns must be operator, latency_ms.*{found}"):
        CostTable.load(path)


@pytest.mark.parametrize(("content", "message"), [("", "found nothing"), ('"a\0', "CSV|columns")])
def test_what_is_no_csv_is_refused(path: Path, content: str, message: str) -> None:
    rewrite(path, content)
    with pytest.raises(TableError, match=message):
        CostTable.load(path)


def test_bytes_that_are_no_text_are_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    meta = passport_path(path)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    meta.write_text(re.sub(r"checksum: .*", f"checksum: '{checksum}'", meta.read_text()))
    with pytest.raises(TableError, match="not a CSV text"):
        CostTable.load(path)


def test_a_missing_file_is_named(path: Path) -> None:
    passport_path(path).unlink()
    with pytest.raises(TableError, match=r"space.meta.yaml: no such file; a table is a CSV file"):
        CostTable.load(path)
    path.unlink()
    with pytest.raises(TableError, match=r"space.csv: no such file"):
        CostTable.load(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("duration_s:", "duration_sec:", "unknown key 'duration_sec'.*nearest: duration_s"),
        ("  match_key:", "  match:", "unknown key 'match' in device"),
        ("unit: ms", "unit: us", "'us' is not allowed"),
        ("schema_version: 1", "schema_version: 2", "schema_version"),
        ("provenance: simulated", "provenance: guessed", "measured.*published.*simulated"),
        ("threads: 1", "threads: 0", "threads"),
        ("slow_share: 0.25", "slow_share: 1.25", "slow_share"),
        ("overhead_ms: 0.02", "overhead_ms: .nan", "overhead_ms"),
        ("precision: float32", "precision: float31", "'float31' is not allowed.*float32"),
    ],
)
def test_a_passport_that_breaks_its_schema_is_refused(
    path: Path, old: str, new: str, message: str
) -> None:
    meta = passport_path(path)
    assert old in meta.read_text()
    meta.write_text(meta.read_text().replace(old, new, 1))
    with pytest.raises(SchemaError, match=f"space.meta.yaml:.*{message}"):
        CostTable.load(path)


@pytest.mark.parametrize("name", ["scores", "session_ratios"])
@pytest.mark.parametrize("left", ["  {}: []\n", ""], ids=["empty", "missing"])
def test_a_passport_that_promises_nothing_is_refused(path: Path, name: str, left: str) -> None:
    meta = passport_path(path)
    text, n_changed = re.subn(rf"  {name}:\n(  - .*\n)+", left.format(name), meta.read_text())
    assert n_changed == 1
    meta.write_text(text)
    with pytest.raises(SchemaError, match=rf"calibration\.{name}|'{name}' is missing"):
        CostTable.load(path)


def test_a_full_disk_leaves_the_old_table(tmp_path: Path, table: CostTable) -> None:
    with small_disk(tmp_path / "disk", kib=256) as disk:
        path = disk.path / "space.csv"
        table.save(path)
        before = path.read_bytes()
        disk.fill()
        with pytest.raises(StorageError, match="No space left"):
            CostTable(table.rows.values(), table.passport).save(path)
        assert path.read_bytes() == before
        assert CostTable.load(path).rows.keys() == table.rows.keys()


def test_an_unfinished_save_is_finished_by_the_next(path: Path, make_table: MakeTable) -> None:
    """Killed after the rows, before the passport: the waiting passport is the right one."""
    rows = list(CostTable.load(path).rows.values())
    meta, waiting = passport_path(path), path.with_name("space.meta.yaml.new")
    old = meta.read_text()
    make_table(rows[:3]).save(path)
    meta.rename(waiting)
    meta.write_text(old)
    assert len(CostTable.load(path).rows) == 3
    meta.unlink()
    assert len(CostTable.load(path).rows) == 3
    make_table(rows[:4]).save(path)
    assert len(CostTable.load(path).rows) == 4
    assert not waiting.exists()
    waiting.write_text(old)  # killed before the rows: the passport that waits is of no rows
    assert len(CostTable.load(path).rows) == 4


def test_a_passport_that_cannot_be_written_leaves_the_old_table(
    path: Path, make_table: MakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    write = Path.write_bytes

    def full_for_passports(self: Path, text: str) -> int:
        if ".meta.yaml" in self.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, text)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_for_passports)
        with pytest.raises(StorageError, match="No space left"):
            make_table(list(CostTable.load(path).rows.values())[:3]).save(path)
    assert path.read_bytes() == before
    assert len(CostTable.load(path).rows) > 3
    assert len(list(path.parent.iterdir())) == 2


# -- whom a table serves -------------------------------------------------------------------


def test_a_table_serves_what_was_measured(space: SearchSpace, table: CostTable) -> None:
    table.check_serves(space, ASKED)
    table.check_serves(space, replace(ASKED, runtime_version="1.2.3", threads=1))
    assert table.missing(space) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"match_key": "ffff"}, r"device is 0123456789abcdef \(chip-2c\), asked: ffff"),
        ({"runtime": "litert"}, "runtime is onnxruntime, asked: litert"),
        ({"precision": "int8"}, "precision is float32, asked: int8"),
        ({"runtime_version": "9.9"}, "runtime version is 1.2.3, asked: 9.9"),
        ({"threads": 2}, "number of threads is 1, asked: 2"),
    ],
)
def test_a_table_serves_nothing_else(
    space: SearchSpace, table: CostTable, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(TableMismatchError, match=f"serves something else: {message}; run 'edgenas"):
        table.check_serves(space, replace(ASKED, **changes))  # type: ignore[arg-type]


def test_the_command_makes_a_table_of_what_is_asked(space: SearchSpace, table: CostTable) -> None:
    with pytest.raises(TableMismatchError, match="--runtime litert --precision int8' on that"):
        table.check_serves(space, replace(ASKED, runtime="litert", precision="int8"))


@pytest.mark.parametrize(
    ("changes", "aspect"),
    [
        ({"match_key": "ffff"}, "device"),
        ({"runtime": "litert"}, "runtime"),
        ({"precision": "int8"}, "precision"),
        ({"runtime_version": "9.9"}, "runtime_version"),
        ({"threads": 2}, "threads"),
        ({"delegate": "gpu"}, "delegate"),
    ],
)
def test_a_difference_can_be_accepted_and_is_told(
    space: SearchSpace, table: CostTable, changes: dict[str, str], aspect: str
) -> None:
    asked = replace(ASKED, **changes)  # type: ignore[arg-type]
    with pytest.raises(TableMismatchError, match=f"--accept-mismatch {aspect}, and every"):
        table.check_serves(space, asked)
    (found,) = table.check_serves(space, asked, accept=[aspect])
    assert (found.aspect, found.asked) == (aspect, str(next(iter(changes.values()))))
    others = set(ASPECTS) - {aspect}
    with pytest.raises(TableMismatchError):
        table.check_serves(space, asked, accept=others)
    assert table.check_serves(space, ASKED, accept=ASPECTS) == ()


def test_settings_that_are_not_told_are_not_the_same(space: SearchSpace, table: CostTable) -> None:
    asked = replace(ASKED, settings={"affinity": "big", "providers": ["A", "B"]})
    expected = (
        r"the engine's affinity is unknown, asked: big; "
        r"the engine's providers is unknown, asked: A, B; run"
    )
    with pytest.raises(TableMismatchError, match=expected):
        table.check_serves(space, asked)
    with pytest.raises(TableMismatchError, match=r"--accept-mismatch settings, and every"):
        table.check_serves(space, asked)
    assert len(table.check_serves(space, asked, accept=["settings"])) == 2


def test_settings_must_be_the_same(space: SearchSpace, table: CostTable) -> None:
    told = {"affinity": [4, 5], "accelerators": ["Orin"]}
    engine = table.passport.runtime.model_copy(update={"settings": told})
    table.passport = table.passport.model_copy(update={"runtime": engine})
    assert table.check_serves(space, replace(ASKED, settings=told)) == ()
    (found,) = table.mismatches(space, replace(ASKED, settings={**told, "affinity": "auto"}))
    assert str(found) == "the engine's affinity is 4, 5, asked: auto"
    (found,) = table.mismatches(space, replace(ASKED, settings={"affinity": [4, 5]}))
    assert str(found) == "the engine's accelerators is Orin, asked: unknown"


def test_only_aspects_can_be_accepted(space: SearchSpace, table: CostTable) -> None:
    with pytest.raises(UsageError, match=r"differ in 'devices'; allowed: .*nearest: device"):
        table.check_serves(space, ASKED, accept=["devices"])


def test_accepting_another_space_needs_its_rows_all_the_same(
    space: SearchSpace, table: CostTable
) -> None:
    with pytest.raises(MissingCostError, match="no row for"):
        table.check_serves(get("mbv3_tiny"), ASKED, accept=["space"])
    twin = width_space()
    twin.name = "twin"
    (found,) = table.check_serves(twin, ASKED, accept=["space"])
    assert str(found) == "space is width-8, asked: twin"


def test_another_space_is_refused_by_name_and_by_what_it_runs(table: CostTable) -> None:
    with pytest.raises(TableMismatchError, match="space is width-8, asked: mbv3_tiny"):
        table.check_serves(get("mbv3_tiny"), ASKED)
    impostor = width_space(6)
    impostor.name = "width-8"
    with pytest.raises(TableMismatchError, match=": space fingerprint is"):
        table.check_serves(impostor, ASKED)


def test_all_that_is_wrong_is_said_at_once(space: SearchSpace, table: CostTable) -> None:
    with pytest.raises(TableMismatchError, match=r"asked: other; runtime is .*; precision is"):
        table.check_serves(space, Conditions("other", "x", "y"))


def test_a_missing_row_is_named_with_the_nearest_and_the_command(
    space: SearchSpace, table: CostTable, make_table: MakeTable
) -> None:
    lost = space.distinct_ops()[2]
    partial = make_table([row for row in table.rows.values() if row.operator != lost.key])
    assert partial.missing(space) == [lost]
    message = rf"no row for {re.escape(lost.key)}; nearest rows: .*; unknown .*run 'edgenas profile"
    with pytest.raises(MissingCostError, match=message):
        partial.check_serves(space, ASKED)
    with pytest.raises(MissingCostError, match=message):
        partial[lost]
    with pytest.raises(CostError):
        partial[parse_key("add(1+1)")]


def test_rows_are_checked_when_a_table_is_made(table: CostTable, make_table: MakeTable) -> None:
    row = next(iter(table.rows.values()))
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(TableError, match="latency_ms"):
            make_table([replace(row, cost=wrong)])
    with pytest.raises(TableError, match="has two rows"):
        make_table([row, Row(row.operator, 9.0, 0.0, 9.0, 1)])
