"""Differences of two tables: rows, whole networks, passports."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgenas.core.errors import UsageError
from edgenas.costs.diff import diff
from edgenas.costs.table import CostTable
from edgenas.spaces.base import SearchSpace
from tests.costs.conftest import priced_rows, table_of_kind

MakeTable = Callable[..., CostTable]


def test_a_table_does_not_differ_from_itself(make_named: MakeTable) -> None:
    found = diff(make_named(), make_named())
    assert found.same_costs
    assert found.passports == ()
    assert set(found.ratios.values()) == {1.0}
    assert found.networks is not None
    assert (found.networks.spearman, found.networks.mape) == (1.0, 0.0)


def test_rows_ratios_and_networks(make_named: MakeTable, named_space: SearchSpace) -> None:
    rows = priced_rows(named_space)
    dearer = [replace(row, cost=row.cost * 1.5) for row in rows]
    dearer[3] = replace(rows[3], cost=rows[3].cost * 3)
    found = diff(make_named(), make_named(rows=dearer, runtime={"version": "1.3.0"}))
    assert not found.same_costs
    assert (found.ratios[0], found.ratios[50]) == pytest.approx((1.5, 1.5))
    assert found.ratios[100] == pytest.approx(3)
    assert found.changes[0].operator == rows[3].operator
    assert found.changes[0].ratio == pytest.approx(3)
    assert found.spearman is not None
    assert found.spearman > 0.9
    assert found.networks is not None
    assert found.networks.n_networks == 1000
    assert 0.4 < found.networks.mape < 1.0
    assert found.networks.bias == pytest.approx(found.networks.mape)
    assert found.passports == (("runtime.version", "1.2.3", "1.3.0"),)


def test_rows_of_one_table_only(make_named: MakeTable, named_space: SearchSpace) -> None:
    rows = priced_rows(named_space)
    found = diff(make_named(rows=rows[2:]), make_named(rows=rows[:-1]))
    assert found.only_first == (rows[-1].operator,)
    assert found.only_second == (rows[0].operator, rows[1].operator)
    assert found.n_common == len(rows) - 3
    assert found.networks is None
    assert found.no_networks is not None
    assert "lacks" in found.no_networks
    explicit = diff(make_named(rows=rows[2:]), make_named(), space=named_space)
    assert explicit.networks is None
    assert "2 operators" in str(explicit.no_networks)


def test_tables_without_a_common_row(make_named: MakeTable, named_space: SearchSpace) -> None:
    rows = priced_rows(named_space)
    found = diff(make_named(rows=rows[:1]), make_named(rows=rows[1:]))
    assert (found.n_common, found.ratios, found.spearman, found.changes) == (0, {}, None, ())


def test_a_difference_is_json(make_named: MakeTable, named_space: SearchSpace) -> None:
    rows = priced_rows(named_space)
    found = json.loads(json.dumps(diff(make_named(), make_named(rows=rows[1:])).as_dict()))
    assert found["only_first"] == [rows[0].operator]
    assert found["same_costs"] is False


def test_passports_in_words(make_named: MakeTable) -> None:
    changes: dict[str, Any] = {
        "device": {"fingerprint": {"cpu": "y", "cores": 4}},
        "plan": {"n_runs": 5},
        "calibration": {"session_ratios": [1.0, 1.5], "scores": [0.0, 1.0]},
    }
    found = {key: (a, b) for key, a, b in diff(make_named(), make_named(**changes)).passports}
    assert found == {
        "device.fingerprint.cpu": ("x", "y"),
        "device.fingerprint.cores": ("not told", "4"),
        "plan.n_runs": ("3", "5"),
        "calibration.session_ratios": ("3 from 0.99 to 1.01", "2 from 1 to 1.5"),
    }


def test_other_kinds_are_not_compared(make_named: MakeTable) -> None:
    with pytest.raises(UsageError, match=r"holds latency, .* energy"):
        diff(make_named(), table_of_kind(make_named(), "energy"))
