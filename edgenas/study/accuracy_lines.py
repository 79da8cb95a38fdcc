"""Evaluated architectures as text: JSON lines, or CSV with a column a gene."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.core.architecture import Genes
from edgenas.core.errors import UsageError
from edgenas.spaces.base import SearchSpace
from edgenas.study.architecture_lines import read_lines

ACCURACY = "accuracy"


def read_accuracies(
    text: str, space: SearchSpace, *, as_csv: bool = False
) -> tuple[Genes, npt.NDArray[np.float64]]:
    """Return architectures, shape (n, n_genes), and their accuracies, fractions, shape (n,).

    A JSON line is an object with ``accuracy`` and an architecture as `read_lines` takes it. A CSV
    file has a column ``accuracy`` and either ``genes`` (option indices, separated by blanks) or a
    column a gene, empty where the gene is inactive.

    Raises:
        UsageError: a line is none of these, or its accuracy is no number from 0 to 1; the
            message has its number.
    """
    lines = _csv_objects(text, space) if as_csv else _json_objects(text)
    accuracies = [_accuracy(number, line) for number, line in lines]
    n_lines = max((number for number, _ in lines), default=0)
    # Every architecture keeps its line, so that messages name the right one.
    places = [""] * n_lines
    for number, line in lines:
        places[number - 1] = json.dumps(line)
    return read_lines("\n".join(places), space), np.array(accuracies)


def _json_objects(text: str) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError as error:
                raise UsageError(f"line {number}: {error}") from error
            if not isinstance(value, dict):
                raise UsageError(
                    f"line {number}: an object is expected, found {type(value).__name__}"
                )
            found.append((number, value))
    return found


def _csv_objects(text: str, space: SearchSpace) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    columns = set(reader.fieldnames or ())
    allowed = {ACCURACY, "genes", *space.index}
    strange = sorted(str(name) for name in columns - allowed)
    if strange or ACCURACY not in columns or len(columns) < 2:
        raise UsageError(
            f"line 1: columns are {', '.join(map(str, reader.fieldnames or ())) or 'missing'}; "
            f"allowed: '{ACCURACY}' with 'genes', or with the genes of {space.name}"
            + (f"; not: {', '.join(strange)}" if strange else "")
        )
    found = []
    for row in reader:
        if None in row or None in row.values():
            raise UsageError(f"line {reader.line_num}: {len(columns)} columns are expected")
        found.append((reader.line_num, {key: _value(key, row[key], space) for key in row}))
    return [
        (number, {key: value for key, value in line.items() if value is not None})
        for number, line in found
    ]


def _value(key: str, text: str, space: SearchSpace) -> Any:
    """Return what a cell holds; None if it is empty, the text itself if it is nothing known."""
    if not text.strip():
        return None
    if key == "genes":
        return [int(part) if part.isdecimal() else part for part in text.split()]
    if key in space.index:
        options = space.genes[space.index[key]].options
        return {str(option): option for option in options}.get(text.strip(), text)
    try:
        return float(text)
    except ValueError:
        return text


def _accuracy(number: int, line: dict[str, Any]) -> float:
    """Take the accuracy out of a line."""
    value = line.pop(ACCURACY, None)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise UsageError(
            f"line {number}: '{ACCURACY}' is {value!r}, allowed: a number from 0 to 1 "
            "(a fraction; divide percents by 100)"
        )
    return float(value)
