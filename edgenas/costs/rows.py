"""The rows of a cost table and their CSV text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgenas.core.errors import SpaceError, TableError
from edgenas.core.ops import parse_key
from edgenas.costs.kinds import UNITS, Kind, column_of
from edgenas.costs.passport import Passport


@dataclass(frozen=True, slots=True)
class Row:
    """One operator, in the unit of its table.

    Attributes:
        operator: its key.
        cost: inside a network.
        std: standard deviation of that cost; None where the source does not tell.
        isolated: what it cost when it ran alone; None where it never did.
        n_visits: how many visits that rests on.
    """

    operator: str
    cost: float
    std: float | None
    isolated: float | None
    n_visits: int


def columns(kind: Kind) -> tuple[str, ...]:
    """Return the columns of a table of this kind, the unit in their names."""
    unit = UNITS[kind].lower()
    return ("operator", column_of(kind), f"std_{unit}", f"isolated_{unit}", "n_visits")


def to_csv(rows: Iterable[Row], kind: Kind) -> str:
    """Return rows as CSV text; what is None is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns(kind))
    for row in rows:
        writer.writerow(
            (
                row.operator,
                f"{row.cost:.6g}",
                "" if row.std is None else f"{row.std:.4g}",
                "" if row.isolated is None else f"{row.isolated:.6g}",
                row.n_visits,
            )
        )
    return stream.getvalue()


def from_csv(content: bytes, kind: Kind, source: str) -> list[Row]:
    """Return the rows that `to_csv` wrote.

    Raises:
        TableError: not such a text; the message has the first line that is not.
    """
    rows = []
    for found in scan_csv(content, kind, source):
        if isinstance(found, TableError):
            raise found
        rows.append(found)
    return rows


def scan_csv(content: bytes, kind: Kind, source: str) -> Iterator[Row | TableError]:
    """Yield every row, or what is wrong with its line; a broken head is the only thing yielded."""
    try:
        lines = list(csv.reader(io.StringIO(content.decode())))
    except (UnicodeDecodeError, csv.Error) as error:
        yield _caused(TableError(f"{source}: not a CSV text: {error}"), error)
        return
    wanted = columns(kind)
    if not lines or tuple(lines[0]) != wanted:
        found = ", ".join(lines[0]) if lines else "nothing"
        yield TableError(f"{source}: columns must be {', '.join(wanted)}; found {found}")
        return
    for number, line in enumerate(lines[1:], start=2):
        try:
            operator, cost, std, isolated, visits = line
            parse_key(operator)
            yield Row(operator, float(cost), _number(std), _number(isolated), int(visits))
        except (ValueError, SpaceError) as error:
            message = f"{source}, line {number}: not a row of a cost table: {error}"
            yield _caused(TableError(message), error)


def checked(row: Row, passport: Passport, source: str) -> Row:
    """Return `row` if its numbers can be costs.

    Raises:
        TableError: a number is 0, negative or not finite, or one that was measured is missing.
    """
    _, cost, std, isolated, _ = columns(passport.kind)
    for name, value in ((cost, row.cost), (isolated, row.isolated)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise TableError(
                f"{source}: {row.operator} has {name} = {value}; a cost is a number above 0"
            )
    if row.std is not None and not (math.isfinite(row.std) and row.std >= 0):
        raise TableError(f"{source}: {row.operator} has {std} = {row.std}")
    if row.n_visits < 0:
        raise TableError(f"{source}: {row.operator} has n_visits = {row.n_visits}")
    if passport.provenance in ("measured", "simulated") and None in (row.std, row.isolated):
        raise TableError(
            f"{source}: {row.operator} has no {std if row.std is None else isolated}; "
            f"a table that is {passport.provenance} has it for every operator"
        )
    return row


def _number(text: str) -> float | None:
    return float(text) if text else None


def _caused(error: TableError, cause: Exception) -> TableError:
    error.__cause__ = cause
    return error
