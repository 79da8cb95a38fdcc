"""Evaluated architectures as text: JSON lines and CSV, and errors that name the line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgenas import spaces
from edgenas.core.errors import UsageError
from edgenas.spaces.base import SearchSpace
from edgenas.study.accuracy_lines import read_accuracies


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return spaces.get("mbv3_tiny")


def test_json_lines_in_every_form(space: SearchSpace) -> None:
    rows = space.sample(3, np.random.default_rng(0))
    lines = [
        {"accuracy": 0.5, "genes": rows[0].tolist()},
        {"accuracy": 1, "config": space.describe(rows[1])},
        {"accuracy": 0.25, **space.describe(rows[2])},
    ]
    text = "\n\n".join(map(json.dumps, lines)) + "\n"
    found, accuracy = read_accuracies(text, space)
    np.testing.assert_array_equal(found, rows)
    np.testing.assert_array_equal(accuracy, [0.5, 1, 0.25])


def test_csv_with_genes_or_a_column_a_gene(space: SearchSpace) -> None:
    rows = space.sample(4, np.random.default_rng(0))
    short = "accuracy,genes\n" + "\n".join(
        f"0.{i + 1},{' '.join(map(str, row))}" for i, row in enumerate(rows)
    )
    names = list(space.index)
    cells = [
        ",".join([f"0.{i + 1}", *(str(space.describe(row).get(name, "")) for name in names)])
        for i, row in enumerate(rows)
    ]
    wide = "\n".join([",".join(["accuracy", *names]), *cells]) + "\n"
    for text in (short, wide):
        found, accuracy = read_accuracies(text, space, as_csv=True)
        np.testing.assert_array_equal(found, rows)
        np.testing.assert_allclose(accuracy, [0.1, 0.2, 0.3, 0.4])


def test_words_are_options_in_csv_too() -> None:
    space = spaces.get("nas_bench_macro")
    row = space.sample(1, np.random.default_rng(0))[0]
    chosen = space.describe(row)
    text = ",".join(["accuracy", *chosen]) + "\n" + ",".join(["0.9", *map(str, chosen.values())])
    np.testing.assert_array_equal(read_accuracies(text, space, as_csv=True)[0], row[None])


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (['{"accuracy": 75.2, "genes": []}'], "line 1: 'accuracy' is 75.2, .* percents"),
        (['{"genes": []}'], "line 1: 'accuracy' is None"),
        (['{"accuracy": true, "genes": []}'], "line 1: 'accuracy' is True"),
        (['{"accuracy": NaN, "genes": []}'], "line 1: 'accuracy' is nan"),
        (["", "[0.5]"], "line 2: an object is expected, found list"),
        (["", "", '{"accuracy": 0.5'], "line 3: "),
        (["", '{"accuracy": 0.5, "genes": [0]}'], "line 2: genes of mbv3_tiny have shape"),
        (["", '{"accuracy": 0.5, "depth": 2}'], "line 2: mbv3_tiny has no gene 'depth'"),
        ([""], "no architecture was given"),
    ],
)
def test_wrong_lines_are_named(space: SearchSpace, lines: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_accuracies("\n".join(lines), space)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "columns are missing"),
        ("genes\n0\n", "columns are genes; allowed: 'accuracy' with 'genes'"),
        ("accuracy\n0.5\n", "columns are accuracy; allowed"),
        ("accuracy,kernel,genes\n0.5,3,0\n", "not: kernel"),
        ("accuracy,genes\n0.5\n", "line 2: 2 columns are expected"),
        ("accuracy,genes\n0.5,0,0\n", "line 2: 2 columns are expected"),
        ("accuracy,genes\nhigh,0\n", "line 2: 'accuracy' is 'high'"),
        ("accuracy,genes\n,0\n", "line 2: 'accuracy' is None"),
        ("accuracy,genes\n0.5,0 x\n", "line 2: 'genes' is a list of"),
        ("accuracy,resolution\n0.5,27\n", "line 2: mbv3_tiny: gene resolution is '27', allowed"),
        ("accuracy,genes\n", "no architecture was given"),
    ],
)
def test_wrong_csv_is_named(space: SearchSpace, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_accuracies(text, space, as_csv=True)
