"""Architectures as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.errors import SpaceError, UsageError, choices
from edgenas.spaces.base import SearchSpace
from edgenas.study.run_folder import RunFolder
from edgenas.study.steps.search import EVALUATIONS

_FORMS = "'genes', 'config', 'id', or the options by gene"


def read_lines(text: str, space: SearchSpace, *, run: Path | None = None) -> Genes:
    """Return the architectures in JSON lines, shape (n, n_genes).

    A line holds ``genes`` (option indices), ``config`` (options by gene), ``id`` (of an
    architecture that `run` evaluated) or the options by gene themselves.

    Raises:
        UsageError: a line is none of these; the message has its number.
    """
    known = {} if run is None else _evaluated(run)
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(_row(json.loads(line), space, known))
            except (SpaceError, UsageError, ValueError) as error:
                raise UsageError(f"line {number}: {error}") from error
    if not rows:
        raise UsageError(f"no architecture was given; one a line, as an object with {_FORMS}")
    return np.stack(rows)


def _row(value: Any, space: SearchSpace, known: dict[str, list[int]]) -> Genes:
    if not isinstance(value, dict):
        raise UsageError(f"an object with {_FORMS} is expected, found {type(value).__name__}")
    if "genes" in value:
        return _checked(value["genes"], space)
    if "config" in value:
        if not isinstance(value["config"], dict):
            raise UsageError("'config' is an object: options by gene")
        return space.parse(value["config"])
    if "id" in value:
        name = str(value["id"])
        if name not in known:
            raise UsageError(f"unknown id {name!r} (ids need --run); {choices(name, known)}")
        return _checked(known[name], space)
    return space.parse(value)


def _checked(genes: Any, space: SearchSpace) -> Genes:
    if not isinstance(genes, list) or not all(type(gene) is int for gene in genes):
        raise UsageError(f"'genes' is a list of {space.n_genes} whole numbers")
    row = np.array([genes], dtype=np.int64)
    space.check(row.astype(np.int64))  # before it is narrowed to int8
    canonical: Genes = space.canonical(row.astype(np.int8))[0]
    return canonical


def _evaluated(run: Path) -> dict[str, list[int]]:
    folder = RunFolder(run)
    folder.job()
    try:
        content = json.loads((folder / EVALUATIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{run} has no finished search: {error}") from error
    return {entry["id"]: entry["genes"] for entry in content["evaluations"]}
