"""The samples beside a table: every visit to every artefact, as they were measured."""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgenas.core.errors import TableError
from edgenas.core.files import write_bytes
from edgenas.costs.kinds import Kind, column_of


@dataclass(frozen=True, slots=True)
class SampledVisit:
    """One visit: its number, seconds since the start, what was run, and what each run cost.

    Costs are in the unit of the table.
    """

    number: int
    at_s: float
    artefact: str
    runs: tuple[float, ...]


def sample_columns(kind: Kind) -> tuple[str, ...]:
    """Return the columns of the samples beside a table of this kind."""
    return ("visit", "at_s", "artefact", "run", column_of(kind))


def write_samples(path: Path, kind: Kind, visits: Iterable[SampledVisit]) -> None:
    """Write `visits` to the file at `path`.

    It is compressed with a fixed timestamp, so equal samples are equal bytes.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(sample_columns(kind))
    for visit in visits:
        for run, cost in enumerate(visit.runs):
            writer.writerow((visit.number, visit.at_s, visit.artefact, run, cost))
    write_bytes(path, gzip.compress(stream.getvalue().encode(), mtime=0))


def read_samples(path: Path, kind: Kind = "latency") -> list[SampledVisit]:
    """Return the visits in the file at `path`, in their order.

    Raises:
        TableError: it cannot be read, or a line is not a run of that kind.
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode()
        lines = list(csv.reader(io.StringIO(text)))
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise TableError(f"{path}: no file of samples: {error}") from error
    wanted = sample_columns(kind)
    if not lines or tuple(lines[0]) != wanted:
        raise TableError(f"{path}: columns must be {', '.join(wanted)}")
    return list(_visits(lines[1:], path))


def _visits(lines: list[list[str]], path: Path) -> Iterator[SampledVisit]:
    head: tuple[int, float, str] | None = None
    runs: list[float] = []
    for place, line in enumerate(lines, start=2):
        try:
            visit, at_s, artefact, run, text = line
            found = (int(visit), float(at_s), artefact)
            number, cost = int(run), float(text)
        except ValueError as error:
            raise TableError(f"{path}, line {place}: not a run: {error}") from error
        if not (math.isfinite(cost) and cost > 0 and math.isfinite(found[1])):
            raise TableError(f"{path}, line {place}: {artefact} cost {text} at {at_s} s")
        if found != head:
            if head is not None:
                yield SampledVisit(*head, tuple(runs))
            if head is not None and found[0] <= head[0]:
                raise TableError(f"{path}, line {place}: visit {visit} comes after {head[0]}")
            head, runs = found, []
        if number != len(runs):
            raise TableError(f"{path}, line {place}: run {run} follows run {len(runs) - 1}")
        runs.append(cost)
    if head is not None:
        yield SampledVisit(*head, tuple(runs))
