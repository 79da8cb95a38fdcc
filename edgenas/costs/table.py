"""Cost tables: CSV rows beside a YAML passport, read strictly."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from edgenas.core.errors import MissingCostError, SpaceError, TableError, TableMismatchError
from edgenas.core.files import atomic_path
from edgenas.core.ops import OpSpec, parse_key
from edgenas.core.schema import dump_yaml, load_yaml
from edgenas.costs.passport import Passport
from edgenas.spaces.base import SearchSpace, command_options

COLUMNS = ("operator", "latency_ms", "std_ms", "isolated_ms", "n_visits")


@dataclass(frozen=True, slots=True)
class Row:
    """One operator: its cost inside a network, its uncertainty, and its time alone."""

    operator: str
    latency_ms: float
    std_ms: float
    isolated_ms: float
    n_visits: int


class CostTable:
    """Rows by operator key, and the passport that says what they are worth."""

    def __init__(self, rows: Iterable[Row], passport: Passport, *, source: str = "table") -> None:
        self.source = source
        self.passport = passport
        self.rows: dict[str, Row] = {}
        for row in rows:
            if row.operator in self.rows:
                raise TableError(f"{source}: operator {row.operator} has two rows")
            self.rows[row.operator] = _checked(row, source)

    def __getitem__(self, op: OpSpec) -> Row:
        """Return the row of `op`.

        Raises:
            MissingCostError: there is none; the message names the nearest rows and the command.
        """
        row = self.rows.get(op.key)
        if row is None:
            near = get_close_matches(op.key, self.rows, n=2, cutoff=0.6)
            nearest = f"; nearest rows: {', '.join(near)}" if near else ""
            raise MissingCostError(
                f"{self.source} has no row for {op.key}{nearest}; unknown operators are not "
                f"guessed: run 'edgenas profile {_measured_again(self.passport)} "
                f"--runtime {self.passport.runtime.name} --force' to measure it"
            )
        return row

    def missing(self, space: SearchSpace) -> list[OpSpec]:
        """Return the operators of `space` that have no row."""
        return [op for op in space.distinct_ops() if op.key not in self.rows]

    def check_serves(  # noqa: PLR0913
        self,
        space: SearchSpace,
        *,
        match_key: str,
        runtime: str,
        precision: str,
        runtime_version: str | None = None,
        threads: int | None = None,
    ) -> None:
        """Refuse to answer for anything but what was measured.

        Raises:
            TableMismatchError: it is a table of another space, device, runtime or precision.
            MissingCostError: an operator of the space has no row.
        """
        own = self.passport
        facts = [
            ("space", space.name, own.space.name),
            ("space fingerprint", space.fingerprint, own.space.fingerprint),
            ("device", match_key, own.device.match_key),
            ("runtime", runtime, own.runtime.name),
            ("precision", precision, own.runtime.precision),
        ]
        if runtime_version is not None:
            facts.append(("runtime version", runtime_version, own.runtime.version))
        if threads is not None:
            facts.append(("number of threads", str(threads), str(own.runtime.threads)))
        wrong = [f"{what} is {has}, asked: {asked}" for what, asked, has in facts if asked != has]
        if wrong:
            asked_for = command_options(space.name, space.parameters)
            raise TableMismatchError(
                f"{self.source} serves something else: {'; '.join(wrong)}; "
                f"run 'edgenas profile {asked_for} --runtime {runtime}' "
                "on that device"
            )
        missing = self.missing(space)
        if missing:
            self[missing[0]]

    # -- files -----------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write `path` (CSV) and its passport beside it: both are on the disk before either counts.

        Raises:
            StorageError: the folder cannot be written; the table that was there is as it was.
        """
        text = _to_csv(self.rows.values())
        checksum = hashlib.sha256(text.encode()).hexdigest()
        self.passport = self.passport.model_copy(update={"checksum": checksum})
        passport = dump_yaml(self.passport.model_dump(mode="json"))
        with atomic_path(passport_path(path)) as new_passport, atomic_path(path) as new_rows:
            new_passport.write_text(passport)
            new_rows.write_text(text)

    @classmethod
    def load(cls, path: Path) -> CostTable:
        """Read a table and its passport.

        Raises:
            TableError: a file is missing or broken, the checksum is wrong, or a value is 0,
                negative or not a number.
            SchemaError: the passport breaks its schema.
        """
        meta = passport_path(path)
        for needed in (path, meta):
            if not needed.is_file():
                raise TableError(f"{needed}: no such file; a table is a CSV file and its passport")
        passport = load_yaml(meta, Passport)
        content = path.read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        if checksum != passport.checksum:
            raise TableError(
                f"{path}: the checksum is {checksum[:12]}, its passport says "
                f"{passport.checksum[:12]}: the file was changed or cut off; restore it or "
                "measure again with 'edgenas profile --force'"
            )
        return cls(_from_csv(content, path), passport, source=str(path))


def _measured_again(passport: Passport) -> str:
    return command_options(passport.space.name, passport.space.parameters)


def passport_path(path: Path) -> Path:
    """Return where the passport of the table at `path` is."""
    return path.with_name(f"{path.name.removesuffix('.csv')}.meta.yaml")


def _to_csv(rows: Iterable[Row]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(
            (
                row.operator,
                f"{row.latency_ms:.6g}",
                f"{row.std_ms:.4g}",
                f"{row.isolated_ms:.6g}",
                row.n_visits,
            )
        )
    return stream.getvalue()


def _from_csv(content: bytes, path: Path) -> list[Row]:
    try:
        lines = list(csv.reader(io.StringIO(content.decode())))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: not a CSV text: {error}") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        found = ", ".join(lines[0]) if lines else "nothing"
        raise TableError(f"{path}: columns must be {', '.join(COLUMNS)}; found {found}")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            operator, latency, std, isolated, visits = line
            parse_key(operator)
            rows.append(Row(operator, float(latency), float(std), float(isolated), int(visits)))
        except (ValueError, SpaceError) as error:
            raise TableError(
                f"{path}, line {number}: not a row of a cost table: {error}"
            ) from error
    return rows


def _checked(row: Row, source: str) -> Row:
    for name in ("latency_ms", "isolated_ms"):
        value = getattr(row, name)
        if not (math.isfinite(value) and value > 0):
            raise TableError(
                f"{source}: {row.operator} has {name} = {value}; a cost is a number above 0"
            )
    if not (math.isfinite(row.std_ms) and row.std_ms >= 0):
        raise TableError(f"{source}: {row.operator} has std_ms = {row.std_ms}")
    return row
