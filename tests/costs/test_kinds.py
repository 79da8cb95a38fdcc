"""Kinds of costs: names, units and objectives that belong together."""

import pytest

from edgenas.core.errors import UsageError
from edgenas.core.objective import OBJECTIVES
from edgenas.costs.kinds import (
    KIND_OF,
    KINDS,
    ON_LATENCY,
    SOURCES,
    UNITS,
    column_of,
    kind_named,
    profile_command,
)


def test_every_kind_is_an_objective_in_its_unit() -> None:
    for kind in KINDS:
        goal = OBJECTIVES[column_of(kind)]
        assert (goal.unit, goal.direction) == (UNITS[kind], "minimize")
        assert KIND_OF[goal.name] == kind_named(kind) == kind
    assert set(UNITS) == set(SOURCES) == set(KINDS)
    assert "latency" not in ON_LATENCY


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"of the kind 'energie'; allowed: .*nearest: energy"):
        kind_named("energie")


def test_the_command_that_makes_a_table() -> None:
    assert profile_command(
        "--space x", "litert", "latency", precision="float32", more=" --force"
    ) == ("edgenas profile --space x --runtime litert --force")
    assert profile_command("--space x", "litert", "load", precision="int8") == (
        "edgenas profile --space x --runtime litert --kind load --precision int8"
    )
