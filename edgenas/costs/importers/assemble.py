"""From published entries to a table of a space; what does not fit is named, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from typing import Literal

from edgenas.core.errors import MissingCostError, TableError, UsageError, choices
from edgenas.core.files import sha256_of
from edgenas.core.ops import OpSpec
from edgenas.core.precision import PRECISIONS, Precision
from edgenas.core.version import __version__
from edgenas.costs.importers.base import Entry, Importer
from edgenas.costs.passport import (
    DeviceIdentity,
    Passport,
    RuntimeIdentity,
    SourceFile,
    SourceRecord,
    SpaceIdentity,
)
from edgenas.costs.rows import Row
from edgenas.costs.table import CostTable
from edgenas.spaces.base import SearchSpace

Duplicates = Literal["refuse", "mean"]

DUPLICATES: tuple[Duplicates, ...] = ("refuse", "mean")

_SHOWN = 5
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Published:
    """What is known of how published figures were measured."""

    device: str
    runtime: str = _UNKNOWN
    runtime_version: str = _UNKNOWN
    precision: Precision = "float32"
    threads: int | None = None
    delegate: str | None = None
    note: str = ""
    """Source and licence, in words."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"unknown precision {self.precision!r}; {choices(self.precision, PRECISIONS)}"
            )


@dataclass(frozen=True, slots=True)
class Imported:
    """An imported table, the entries that are of no operator, the operators without an entry."""

    table: CostTable
    unused: tuple[Entry, ...]
    missing: tuple[OpSpec, ...]


def import_table(  # noqa: PLR0913
    importer: Importer,
    files: Sequence[Path],
    space: SearchSpace,
    published: Published,
    *,
    partial: bool = False,
    duplicates: Duplicates = "refuse",
) -> Imported:
    """Return the published costs of a space's operators.

    Args:
        importer: reads the files.
        files: one or more; the parts of one operator have to stand in one file.
        space: whose operators are wanted.
        published: how the figures were measured.
        partial: leave out entries that are of no operator, and operators that have no entry; the
            table then refuses what it lacks.
        duplicates: several files that give one operator different costs are refused, or their
            ``mean`` is taken, weighted by the runs that they rest on; its deviation is known where
            every file tells one.

    Raises:
        TableError: an entry is of no operator, or an operator has several costs.
        MissingCostError: an operator has no entry.
        UsageError: no file, or one twice.
    """
    if duplicates not in DUPLICATES:
        raise UsageError(f"duplicates={duplicates!r}; {choices(duplicates, DUPLICATES)}")
    entries = _entries(importer, files)
    rows: list[Row] = []
    used: set[tuple[str, str]] = set()
    missing: list[OpSpec] = []
    for op in space.distinct_ops():
        found = _costs(importer, op, entries, used)
        if found:
            rows.append(_row(op, found, duplicates))
        else:
            missing.append(op)
    unused = [e for by_key in entries.values() for e in by_key.values()]
    unused = [entry for entry in unused if (entry.file, entry.key) not in used]
    if not partial:
        _check_whole(space, unused, missing)
    if not rows:
        raise MissingCostError(
            f"no entry of {', '.join(path.name for path in files)} is of an operator of "
            f"{space.name}; is it another space?"
        )
    source = SourceRecord(
        format=importer.name,
        files=[SourceFile(name=path.name, sha256=sha256_of(path)) for path in files],
        note=published.note,
        n_unused=len(unused),
    )
    passport = _passport(space, published, source)
    table = CostTable(rows, passport, source=f"the import of {files[0].name}")
    return Imported(table, tuple(unused), tuple(missing))


def _entries(importer: Importer, files: Sequence[Path]) -> dict[str, dict[str, Entry]]:
    """Return entries by file name and key."""
    names = [path.name for path in files]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if not files or doubled:
        wrong = f"two files are called {doubled[0]}" if doubled else "no file was given"
        raise UsageError(f"{wrong}; name each file of the published table once")
    entries: dict[str, dict[str, Entry]] = {}
    for path in files:
        if not path.is_file():
            raise UsageError(f"no such file: {path}")
        by_key = entries.setdefault(path.name, {})
        for entry in importer.read(path):
            if entry.key in by_key:
                raise TableError(f"{path}: {entry.key} stands there twice")
            by_key[entry.key] = entry
    return entries


def _costs(
    importer: Importer,
    op: OpSpec,
    entries: dict[str, dict[str, Entry]],
    used: set[tuple[str, str]],
) -> list[Row]:
    """Return the costs that the files give an operator, one a file that has all its parts."""
    keys = importer.keys(op)
    if not keys:
        return []
    found = []
    for name, by_key in entries.items():
        if not all(key in by_key for key in keys):
            continue
        used |= {(name, key) for key in keys}
        found.append(_summed(op, [by_key[key] for key in keys]))
    return found


def _summed(op: OpSpec, parts: Sequence[Entry]) -> Row:
    known = [part.std_ms for part in parts if part.std_ms is not None]
    std = sqrt(sum(value**2 for value in known)) if len(known) == len(parts) else None
    cost = sum(part.cost_ms for part in parts)
    return Row(op.key, cost, std, None, min(part.n_runs for part in parts))


def _row(op: OpSpec, found: Sequence[Row], duplicates: Duplicates) -> Row:
    costs = {row.cost for row in found}
    if len(costs) == 1:
        return found[0]
    if duplicates == "refuse":
        told = ", ".join(f"{row.cost:.6g}" for row in found)
        raise TableError(
            f"the files give {op.key} several costs: {told} ms; import one file, or take their "
            "mean with '--duplicates mean'"
        )
    weights = [max(row.n_visits, 1) for row in found]
    mean = sum(w * row.cost for w, row in zip(weights, found, strict=True)) / sum(weights)
    n_visits = sum(row.n_visits for row in found)
    within = [row.std for row in found if row.std is not None]
    if len(within) < len(found):
        return Row(op.key, mean, None, None, n_visits)
    # Within the files and between them: what one of the pooled runs differs from the mean.
    spread = sum(
        w * (std**2 + (row.cost - mean) ** 2)
        for w, std, row in zip(weights, within, found, strict=True)
    ) / sum(weights)
    return Row(op.key, mean, sqrt(spread), None, n_visits)


def _check_whole(space: SearchSpace, unused: list[Entry], missing: list[OpSpec]) -> None:
    partial = "'--partial' imports the rest, and the table then refuses what it lacks"
    if unused:
        shown = "; ".join(f"{entry.key} ({entry.file})" for entry in unused[:_SHOWN])
        more = f"; and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
        raise TableError(
            f"{len(unused)} entries are of no operator of {space.name}: {shown}{more}; {partial}"
        )
    if missing:
        shown = "; ".join(op.key for op in missing[:_SHOWN])
        raise MissingCostError(
            f"{len(missing)} operators of {space.name} have no entry: {shown}; {partial}"
        )


def _passport(space: SearchSpace, published: Published, source: SourceRecord) -> Passport:
    return Passport(
        provenance="published",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool_version=__version__,
        space=SpaceIdentity(
            name=space.name, fingerprint=space.fingerprint, parameters=space.parameters
        ),
        device=DeviceIdentity.named(published.device),
        runtime=RuntimeIdentity(
            name=published.runtime,
            version=published.runtime_version,
            delegate=published.delegate,
            precision=published.precision,
            threads=published.threads,
            affinity=None,
        ),
        source=source,
        checksum="",
    )
