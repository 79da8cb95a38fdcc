"""What tables of other spaces already know about the operators of a space."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import median

from edgenas.core.errors import EdgenasError
from edgenas.costs.conditions import Conditions
from edgenas.costs.merge import parent_record
from edgenas.costs.passport import ParentRecord
from edgenas.costs.rows import Row
from edgenas.costs.store import table_folders
from edgenas.costs.table import CostTable
from edgenas.spaces.base import SearchSpace

_log = logging.getLogger(__name__)
_ENOUGH_VISITS = 5
_N_RETIMED, _LEAST_RETIMED = 20, 5
OTHER_LEVEL = 0.1
"""A machine that is off by more than this since a table was made is warned of."""


@dataclass(frozen=True, slots=True)
class Known:
    """Rows of operators that need not be measured again, and the tables that they are from.

    `owners` has, for every row, its table's place in `parents`. The machine may run at another
    level than when a table was made: some of its operators, `retimed`, are timed again to see it.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    parents: tuple[ParentRecord, ...] = ()
    owners: Mapping[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash of the rows: a measurement that was begun with others cannot go on with these."""
        digest = hashlib.sha256()
        for key in sorted(self.rows):
            digest.update(f"{self.rows[key]!r} of {self.owners[key]}".encode())
        return digest.hexdigest()[:12]

    @property
    def retimed(self) -> tuple[str, ...]:
        """Operators to time again: about 20, spread evenly over the times of each table's rows.

        Of a table with few rows it is half of them.
        """
        n_each = max(_LEAST_RETIMED, _N_RETIMED // max(1, len(self.parents)))
        found: list[str] = []
        for owner in range(len(self.parents)):
            own = sorted(
                (key for key in self.rows if self.owners[key] == owner),
                key=lambda key: (self.rows[key].isolated or 0.0, key),
            )
            n = min(n_each, -(-len(own) // 2))
            found += [own[(2 * k + 1) * len(own) // (2 * n)] for k in range(n)]
        return tuple(found)

    def at_level(self, isolated_ms: Mapping[str, float]) -> Known:
        """Return the rows that were not timed again, their times as the machine is now.

        Each table's times are multiplied by the median ratio of its retimed operators, new over
        old, which its record then has as `level`.

        Args:
            isolated_ms: what every one of `retimed` takes alone now.
        """
        ratios: list[list[float]] = [[] for _ in self.parents]
        for key in self.retimed:
            old_ms = self.rows[key].isolated
            if old_ms is not None:
                ratios[self.owners[key]].append(isolated_ms[key] / old_ms)
        levels = [median(some) if some else 1.0 for some in ratios]
        rows = {
            key: replace(row, isolated=row.isolated * levels[self.owners[key]])
            for key, row in self.rows.items()
            if key not in isolated_ms and row.isolated is not None
        }
        n_rows = Counter(self.owners[key] for key in rows)
        parents = tuple(
            parent.model_copy(update={"n_rows": n_rows[k], "level": round(levels[k], 6)})
            for k, parent in enumerate(self.parents)
        )
        for parent, level in zip(parents, levels, strict=True):
            if abs(level - 1) > OTHER_LEVEL:
                _log.warning(
                    "operators run %.2f times as long as when the table of %s was made (%s); the "
                    "%d rows from there are brought to this level. See with 'edgenas doctor' what "
                    "has changed (clocks, cooling, load), or measure all with --force",
                    level, parent.space, parent.created, parent.n_rows,
                )  # fmt: skip
        return Known(rows, parents, {key: self.owners[key] for key in rows})


NOTHING_KNOWN = Known()


def known_rows(space: SearchSpace, asked: Conditions, *, slug: str, shipped: bool = True) -> Known:
    """Return the measured rows of `space` in the installed tables of this device and engine.

    Operators are shared between spaces by their keys. Of several rows the newest table's counts,
    but one that rests on few visits does not replace one that rests on enough.
    Tables that are damaged, or of another device, engine or setting, are passed over.

    Args:
        space: whose operators are wanted.
        asked: what the tables must be of, the space aside.
        slug: the device's folder.
        shipped: whether tables that came with edgenas count.
    """
    wanted = {op.key for op in space.distinct_ops()}
    rows: dict[str, Row] = {}
    owners: dict[str, CostTable] = {}
    tables = _tables(space, asked, slug, shipped=shipped)
    for table in sorted(tables, key=lambda t: datetime.fromisoformat(t.passport.created)):
        for key, row in table.rows.items():
            if key in wanted and row.isolated is not None and not _poorer(row, rows.get(key)):
                rows[key], owners[key] = row, table
    used = list({id(table): table for table in owners.values()}.values())
    place = {id(table): k for k, table in enumerate(used)}
    places = {key: place[id(table)] for key, table in owners.items()}
    n_rows = Counter(places.values())
    parents = tuple(parent_record(table, n_rows[k]) for k, table in enumerate(used))
    return Known(rows, parents, places)


def _poorer(row: Row, there: Row | None) -> bool:
    return there is not None and row.n_visits < min(there.n_visits, _ENOUGH_VISITS)


def _tables(
    space: SearchSpace, asked: Conditions, slug: str, *, shipped: bool
) -> Iterator[CostTable]:
    for folder in table_folders(shipped=shipped):
        for path in sorted((folder / slug / f"{asked.runtime}-{asked.precision}").glob("*.csv")):
            try:
                table = CostTable.load(path)
            except EdgenasError as error:
                _log.info("passed over: %s", error)
                continue
            wrong = [m for m in table.mismatches(space, asked) if m.aspect != "space"]
            if not wrong and table.passport.kind == "latency":
                yield table
