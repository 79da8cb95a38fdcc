"""Tables of other kinds than latency go through everything that tables go through."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgenas.core.errors import MissingCostError, NoTableError, TableError, TableMismatchError
from edgenas.costs.conditions import Conditions
from edgenas.costs.kinds import Kind
from edgenas.costs.lint import lint
from edgenas.costs.merge import merge
from edgenas.costs.model import CostModel
from edgenas.costs.passport import NetworkFitRecord
from edgenas.costs.samples import SampledVisit, read_samples, sample_columns, write_samples
from edgenas.costs.store import find_table, load_kind, table_path
from edgenas.costs.summary import listing
from edgenas.costs.table import CostTable, networks_journal_path, samples_path
from edgenas.spaces import get
from edgenas.spaces.base import SearchSpace
from tests.costs.conftest import table_of_kind

MakeTable = Callable[..., CostTable]
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def visits(n: int) -> list[SampledVisit]:
    return [SampledVisit(k, k / 10, f"net:{k:010x}", (1.0 + k,)) for k in range(n)]


@pytest.fixture
def memory(make_named: MakeTable, tmp_path: Path) -> CostTable:
    """A sound table of peak memories among other tables, its samples beside it."""
    table = table_of_kind(make_named(), "peak_memory")
    path = table_path(
        tmp_path, slug="chip", runtime="ort", precision="p", space="s", kind="peak_memory"
    )
    table.save(path)
    write_samples(samples_path(path), "peak_memory", visits(40))
    return CostTable.load(path)


def findings(path: Path) -> list[tuple[str, str]]:
    return [(finding.check, finding.severity) for finding in lint(path, now=NOW)]


def test_the_unit_is_in_the_columns(memory: CostTable) -> None:
    path = Path(memory.source)
    assert path.name == "s.peak_memory.csv"
    head = path.read_text().splitlines()[0]
    assert head == "operator,peak_memory_mib,std_mib,isolated_mib,n_visits"
    assert sample_columns("sustained_p95")[-1] == "sustained_p95_ms"
    assert read_samples(samples_path(path), "peak_memory") == visits(40)
    with pytest.raises(TableError, match=r"columns must be .*latency_ms"):
        read_samples(samples_path(path))


def test_lint_finds_what_is_wrong(memory: CostTable) -> None:
    path = Path(memory.source)
    assert findings(path) == []
    write_samples(samples_path(path), "peak_memory", visits(39))
    assert findings(path) == [("samples", "error")]
    write_samples(samples_path(path), "load", visits(40))
    assert findings(path) == [("samples", "error")]
    samples_path(path).write_bytes(gzip.compress(b"nothing", mtime=0))
    assert findings(path) == [("samples", "error")]
    samples_path(path).unlink()
    assert findings(path) == [("samples", "warning")]


def test_lint_knows_the_journal_that_kinds_share(memory: CostTable) -> None:
    path, space = Path(memory.source), memory.passport.space.name
    journal = networks_journal_path(path, "peak_memory", space=space)
    assert journal == networks_journal_path(path, "load", space=space)
    assert journal != networks_journal_path(path, "energy", space=space)
    journal.write_text("")
    assert findings(path) == [("unfinished run", "note")]


def test_missing_rows_name_the_command_of_the_kind(memory: CostTable) -> None:
    path = Path(memory.source)
    key = next(iter(memory.rows))
    less = CostTable([row for row in memory.rows.values() if row.operator != key], memory.passport)
    less.save(path)
    (first, *_) = lint(path, now=NOW)
    assert first.check == "missing rows"
    assert "--kind peak_memory" in first.remedy
    with pytest.raises(MissingCostError, match=r"--kind peak_memory --force' to measure it"):
        less.check_serves(
            get("mbv3_tiny", resolutions=[16, 20], kernels=[3, 5], expansions=[2, 3]),
            Conditions(match_key="0123456789abcdef", runtime="onnxruntime", precision="float32"),
        )


def test_listing_tells_the_kind(memory: CostTable) -> None:
    (line,) = listing([Path(memory.source)])
    assert (line.kind, line.provenance) == ("peak_memory", "fitted")


def test_tables_are_found_by_kind(
    space: SearchSpace,
    table: CostTable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path))
    asked = Conditions(match_key="0123456789abcdef", runtime="onnxruntime", precision="float32")

    def where(kind: Kind) -> Path:
        return table_path(
            tmp_path / "latency_tables",
            slug="chip-2c",
            runtime="onnxruntime",
            precision="float32",
            space=space.name,
            kind=kind,
        )

    table.save(where("latency"))
    with pytest.raises(NoTableError, match=r"no energy table of width-8 .*--kind energy'"):
        find_table(space, asked, slug="chip-2c", kind="energy")
    path = where("energy")
    table_of_kind(table, "energy").save(path)
    assert find_table(space, asked, slug="chip-2c", kind="energy").source == str(path)
    assert find_table(space, asked, slug="chip-2c").passport.kind == "latency"
    table_of_kind(table, "load").save(path)
    with pytest.raises(TableError, match="holds load, and energy is asked for"):
        find_table(space, asked, slug="chip-2c", kind="energy")
    with pytest.raises(TableError, match="holds load, and latency is asked for"):
        load_kind(path, "latency")
    with pytest.raises(TableMismatchError, match="--kind load --precision int8' on that device"):
        CostTable.load(path).check_serves(space, replace(asked, precision="int8"))


def test_merging_keeps_the_kind_and_what_was_modelled(make_named: MakeTable) -> None:
    other = get("mbv3_tiny", resolutions=[20, 24], kernels=[3, 5], expansions=[2, 3])
    measured = table_of_kind(make_named(), "energy")
    modelled = table_of_kind(make_named(space=other), "energy", "modelled")
    merged = merge([measured, modelled], prefer="newest")
    own = merged.passport
    assert (own.kind, own.unit, own.provenance) == ("energy", "mJ", "modelled")
    assert isinstance(own.fit, NetworkFitRecord)
    second = table_of_kind(make_named(space=other), "energy")
    assert merge([measured, second]).passport.provenance == "merged"
    wide = get("mbv3_tiny", resolutions=[16, 20, 24], kernels=[3, 5], expansions=[2, 3])
    pooled = merge([measured, modelled], space=wide).passport.fit
    assert isinstance(pooled, NetworkFitRecord)
    assert pooled.n_networks == 80
    with pytest.raises(TableMismatchError, match="kind is energy and load"):
        merge([measured, table_of_kind(make_named(), "load")])


def test_what_is_modelled_is_said_with_every_prediction(
    space: SearchSpace, table: CostTable
) -> None:
    modelled = CostModel(space, table_of_kind(table, "energy", "modelled"))
    assert modelled.caveats == (
        "its energy is modelled from powers in the device's description, not measured",
    )
    assert modelled.predictions(space.largest()[None])[0].provenance == "modelled"
    assert CostModel(space, table_of_kind(table, "energy")).caveats == ()
