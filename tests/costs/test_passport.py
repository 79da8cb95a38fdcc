"""Passports: what each provenance has, and kinds other than latency."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgenas.core.errors import TableError, UsageError
from edgenas.core.paths import data_folder
from edgenas.costs.model import CostModel, LatencyModel
from edgenas.costs.passport import FitRecord, NetworkPlanRecord, Passport
from edgenas.costs.rows import columns
from edgenas.costs.store import table_path
from edgenas.costs.table import CostTable, Row
from edgenas.spaces.base import SearchSpace
from tests.costs.conftest import made_up_passport, table_of_kind

MakeTable = Callable[..., CostTable]
SOURCE = {"format": "ofa", "files": [{"name": "a.yaml", "sha256": "0" * 64}]}


def test_the_shipped_tables_load() -> None:
    paths = sorted(data_folder("latency_tables").glob("*/*/*.csv"))
    assert len(paths) >= 6
    for path in paths:
        table = CostTable.load(path)
        assert table.passport.schema_version == 1
        assert table.passport.fit is table.passport.calibration


@pytest.mark.parametrize(
    ("provenance", "without", "lacking"),
    [
        ("measured", "plan", "plan"),
        ("measured", "drift", "drift"),
        ("simulated", "duration_s", "duration_s"),
        ("measured", "calibration", "calibration"),
        ("fitted", "calibration", "calibration"),
        ("merged", "calibration", "calibration"),
        ("transferred", "plan", None),
        ("fitted", "drift", None),
        ("merged", "duration_s", None),
        ("published", "calibration", "source"),
    ],
)
def test_what_a_provenance_needs(
    space: SearchSpace, provenance: str, without: str, lacking: str | None
) -> None:
    values = made_up_passport(space) | {"provenance": provenance, without: None}
    if lacking is None:
        assert Passport.model_validate(values).provenance == provenance
        return
    with pytest.raises(ValidationError, match=f"'{lacking}' is missing"):
        Passport.model_validate(values)


def test_published_tables_need_their_source_only(space: SearchSpace) -> None:
    values = made_up_passport(space) | {"provenance": "published", "source": SOURCE}
    for name in ("plan", "drift", "duration_s", "calibration"):
        values[name] = None
    values["runtime"] |= {"threads": None}
    assert Passport.model_validate(values).fit is None


def test_kind_and_unit_belong_together(space: SearchSpace) -> None:
    with pytest.raises(ValidationError, match="unit is mJ; latency is told in ms"):
        Passport.model_validate(made_up_passport(space) | {"unit": "mJ"})
    with pytest.raises(ValidationError, match="'network_fit' is missing"):
        Passport.model_validate(made_up_passport(space) | {"kind": "energy", "unit": "mJ"})


def test_a_table_of_energies(tmp_path: Path, space: SearchSpace, table: CostTable) -> None:
    energies = table_of_kind(table, "energy")
    path = table_path(
        tmp_path, slug="x", runtime="y", precision="z", space=space.name, kind="energy"
    )
    assert path.name == "width-8.energy.csv"
    energies.save(path)
    assert path.read_text().splitlines()[0] == "operator,energy_mj,std_mj,isolated_mj,n_visits"
    read = CostTable.load(path)
    assert read.passport.fit == energies.passport.network_fit
    model = CostModel(space, read)
    assert model.kind == "energy"
    row = space.largest()[None]
    assert model.predict(row)[0][0] == pytest.approx(LatencyModel(space, table).predict(row)[0][0])
    with pytest.raises(UsageError, match="holds energy in mJ; a table of latencies"):
        LatencyModel(space, read)


def test_a_fit_belongs_to_its_kind(space: SearchSpace, table: CostTable) -> None:
    energy = table_of_kind(table, "energy").passport.model_dump(mode="json")
    for name in ("network_fit", "network_plan"):
        with pytest.raises(ValidationError, match=f"'{name}' does not belong into a table of lat"):
            Passport.model_validate(made_up_passport(space) | {name: energy[name]})
    own = {"calibration": made_up_passport(space)["calibration"]}
    with pytest.raises(ValidationError, match="'calibration' does not belong into a table of en"):
        Passport.model_validate(energy | own)


def test_a_record_that_says_nothing_of_its_unit_is_none(table: CostTable) -> None:
    fit = table.passport.calibration
    assert fit is not None
    common = {name: getattr(fit, name) for name in FitRecord.model_fields}
    with pytest.raises(TypeError, match="abstract"):
        FitRecord(**common)


def test_a_plan_in_words() -> None:
    plan = {"seed": 0, "n_networks": 40, "n_sessions": 2}
    loads = NetworkPlanRecord(**plan, n_processes=3).in_words()
    assert loads.startswith("40 whole networks, 2 session(s), each loaded in 3 new process(es);")
    energy = NetworkPlanRecord(**plan, run_s=10, idle_s=5, meter="rapl").in_words()
    assert "run back to back for 10 s, with 5 s of rest between, meter: rapl" in energy
    load = NetworkPlanRecord(**plan, run_s=60, tail_s=20).in_words()
    assert "for 60 s, of which the last 20 s count" in load


def test_measured_rows_are_whole(make_table: MakeTable, table: CostTable) -> None:
    row = next(iter(table.rows.values()))
    for broken in (
        Row(row.operator, 1.0, None, 1.0, 3),
        Row(row.operator, 1.0, 0.1, None, 3),
        Row(row.operator, 1.0, 0.1, 1.0, -1),
    ):
        with pytest.raises(TableError):
            make_table([broken])


def test_what_is_none_stays_none(tmp_path: Path, space: SearchSpace, table: CostTable) -> None:
    values: dict[str, Any] = made_up_passport(space) | {"provenance": "fitted"}
    row = next(iter(table.rows.values()))
    fitted = CostTable([Row(row.operator, 0.5, None, None, 0)], Passport.model_validate(values))
    fitted.save(tmp_path / "a.csv")
    assert CostTable.load(tmp_path / "a.csv").rows == fitted.rows
    assert columns("latency")[1] == "latency_ms"


def test_the_command_that_makes_it_again(table: CostTable) -> None:
    assert table.passport.space.command_options == "--space width-8"
