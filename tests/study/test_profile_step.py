"""The step that gives a run its tables."""

from pathlib import Path

from edgenas.costs.table import CostTable, passport_path
from edgenas.study.steps import profile as step


def test_a_table_whose_passport_waits_is_copied_whole(tmp_path: Path, repository: Path) -> None:
    """It was cut off between its rows and their passport, and loads all the same."""
    shipped = next((repository / "latency_tables").glob("*/*/mbv3_tiny.csv"))
    source, copy = tmp_path / "mine/x.csv", tmp_path / "run/x.csv"
    source.parent.mkdir()
    copy.parent.mkdir()
    source.write_bytes(shipped.read_bytes())
    passport = passport_path(shipped).read_bytes()
    source.with_name("x.meta.yaml.new").write_bytes(passport)
    table = CostTable.load(source)
    files = step._keep(table, copy)
    assert files == [copy, passport_path(copy)]
    assert CostTable.load(copy).passport == table.passport
