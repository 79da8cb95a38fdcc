"""Cost tables: CSV rows beside a YAML passport, read strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path

from edgenas.core.errors import (
    MissingCostError,
    SchemaError,
    StorageError,
    TableError,
    TableMismatchError,
)
from edgenas.core.files import write_text
from edgenas.core.ops import OpSpec
from edgenas.core.schema import dump_yaml, load_yaml
from edgenas.costs.conditions import Conditions, Mismatch, check_aspects, setting_text
from edgenas.costs.kinds import SOURCES, Kind, profile_command
from edgenas.costs.passport import Passport
from edgenas.costs.rows import Row, checked, from_csv, to_csv
from edgenas.spaces.base import SearchSpace

__all__ = [
    "CostTable",
    "Row",
    "journal_path",
    "networks_journal_path",
    "passport_path",
    "read_files",
    "samples_path",
]


class CostTable:
    """Rows by operator key, and the passport that says what they are worth."""

    def __init__(self, rows: Iterable[Row], passport: Passport, *, source: str = "table") -> None:
        self.source = source
        self.passport = passport
        self.rows: dict[str, Row] = {}
        for row in rows:
            if row.operator in self.rows:
                raise TableError(f"{source}: operator {row.operator} has two rows")
            self.rows[row.operator] = checked(row, passport, source)

    def __getitem__(self, op: OpSpec) -> Row:
        """Return the row of `op`.

        Raises:
            MissingCostError: there is none; the message names the nearest rows and the command.
        """
        row = self.rows.get(op.key)
        if row is None:
            near = get_close_matches(op.key, self.rows, n=2, cutoff=0.6)
            nearest = f"; nearest rows: {', '.join(near)}" if near else ""
            more = " --missing" if self.passport.kind == "latency" else " --force"
            command = self.passport.command(more)
            raise MissingCostError(
                f"{self.source} has no row for {op.key}{nearest}; unknown operators are not "
                f"guessed: run '{command}' to measure it"
            )
        return row

    def missing(self, space: SearchSpace) -> list[OpSpec]:
        """Return the operators of `space` that have no row."""
        return [op for op in space.distinct_ops() if op.key not in self.rows]

    def mismatches(self, space: SearchSpace, asked: Conditions) -> tuple[Mismatch, ...]:
        """Return in what the table is of something else than what is asked for."""
        own = self.passport
        engine = own.runtime
        facts: list[tuple[str, str, object, object]] = [
            ("space", "space", space.name, own.space.name),
            ("space", "space fingerprint", space.fingerprint, own.space.fingerprint),
            ("device", "device", asked.match_key, own.device.match_key),
            ("runtime", "runtime", asked.runtime, engine.name),
            ("precision", "precision", asked.precision, engine.precision),
        ]
        optional = [
            ("runtime_version", "runtime version", asked.runtime_version, engine.version),
            ("threads", "number of threads", asked.threads, engine.threads),
            ("delegate", "delegate", asked.delegate, engine.delegate),
        ]
        facts += [fact for fact in optional if fact[2] is not None]
        if asked.settings is not None:
            has = engine.settings or {}
            facts += [
                (
                    "settings",
                    f"the engine's {name}",
                    setting_text(asked.settings.get(name, "unknown")),
                    setting_text(has.get(name, "unknown")),
                )
                for name in sorted({*asked.settings, *has})
            ]
        named = {own.device.match_key: f"{own.device.match_key} ({own.device.slug})"}
        return tuple(
            Mismatch(aspect, what, str(wanted), named.get(str(has), str(has or "unknown")))
            for aspect, what, wanted, has in facts
            if wanted != has
        )

    def check_serves(
        self, space: SearchSpace, asked: Conditions, *, accept: Collection[str] = ()
    ) -> tuple[Mismatch, ...]:
        """Refuse to answer for anything but what was measured.

        Args:
            space: the space that is asked about.
            asked: the device and engine that are asked about.
            accept: aspects (`edgenas.costs.conditions.ASPECTS`) in which the table may be of
                something else; every result has to say so.

        Returns:
            The differences that were accepted.

        Raises:
            TableMismatchError: it is a table of another space, device, runtime or precision.
            MissingCostError: an operator of the space has no row; accepting helps nothing there.
            UsageError: `accept` names no aspect.
        """
        accepted = check_aspects(accept)
        found = self.mismatches(space, asked)
        wrong = [mismatch for mismatch in found if mismatch.aspect not in accepted]
        if wrong:
            aspects = ",".join(dict.fromkeys(mismatch.aspect for mismatch in found))
            command = profile_command(
                space.command_options,
                asked.runtime,
                self.passport.kind,
                precision=asked.precision,
            )
            raise TableMismatchError(
                f"{self.source} serves something else: {'; '.join(map(str, wrong))}; "
                f"run '{command}' on that device; to use this table all the same: "
                f"--accept-mismatch {aspects}, and every result says so"
            )
        missing = self.missing(space)
        if missing:
            self[missing[0]]
        return found

    # -- files -----------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write `path` (CSV) and its passport beside it; killed at any moment, nothing is lost.

        The new passport waits under a name of its own until the rows are in place: whichever rows
        are there, a passport with their checksum is there too, and `load` finds it.

        Raises:
            StorageError: the folder cannot be written; the table that was there is as it was.
        """
        text = to_csv(self.rows.values(), self.passport.kind)
        checksum = _checksum(text.encode())
        self.passport = self.passport.model_copy(update={"checksum": checksum})
        waiting = _waiting_path(path)
        _settle(path)
        write_text(waiting, dump_yaml(self.passport.model_dump(mode="json")))
        try:
            write_text(path, text)
        except StorageError:
            waiting.unlink(missing_ok=True)
            raise
        _settle(path)

    @classmethod
    def load(cls, path: Path) -> CostTable:
        """Read a table and its passport.

        Raises:
            TableError: a file is missing or broken, the checksum is wrong, or a value is 0,
                negative or not a number.
            SchemaError: the passport breaks its schema.
        """
        content, passport = read_files(path)
        if _checksum(content) != passport.checksum:
            raise TableError(
                f"{path}: the checksum is {_checksum(content)[:12]}, its passport says "
                f"{passport.checksum[:12]}: the file was changed or cut off; restore it or "
                "measure again with 'edgenas profile --force'"
            )
        return cls(from_csv(content, passport.kind, str(path)), passport, source=str(path))


def read_files(path: Path) -> tuple[bytes, Passport]:
    """Return the rows' bytes and the passport that belongs to them, unchecked against each other.

    Raises:
        TableError: a file is missing.
        SchemaError: the passport breaks its schema.
    """
    meta, waiting = passport_path(path), _waiting_path(path)
    if not path.is_file():
        raise TableError(f"{path}: no such file; a table is a CSV file and its passport")
    content = path.read_bytes()
    if waiting.is_file():  # whoever saved the table was killed between the two files
        passport = load_yaml(waiting, Passport)
        if passport.checksum == _checksum(content):
            return content, passport
    if not meta.is_file():
        raise TableError(f"{meta}: no such file; a table is a CSV file and its passport")
    return content, load_yaml(meta, Passport)


def passport_path(path: Path) -> Path:
    """Return where the passport of the table at `path` is."""
    return _beside(path, ".meta.yaml")


def samples_path(path: Path) -> Path:
    """Return where the timed runs of the table at `path` are."""
    return _beside(path, ".samples.csv.gz")


def journal_path(path: Path) -> Path:
    """Return where an unfinished measurement of the table at `path` is."""
    return _beside(path, ".journal.jsonl")


def networks_journal_path(path: Path, kind: Kind, *, space: str) -> Path:
    """Return where the unfinished measurement is of networks for a table at `path`.

    Kinds that are measured at once share it.
    """
    return path.with_name(f"{space}.{SOURCES[kind]}.journal.jsonl")


def _waiting_path(path: Path) -> Path:
    return _beside(path, ".meta.yaml.new")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name.removesuffix('.csv')}{ending}")


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _settle(path: Path) -> None:
    """Give the waiting passport its name if the rows that it belongs to are in place.

    Raises:
        StorageError: the folder cannot be written.
    """
    waiting = _waiting_path(path)
    if not (waiting.is_file() and path.is_file()):
        return
    try:
        if load_yaml(waiting, Passport).checksum == _checksum(path.read_bytes()):
            waiting.replace(passport_path(path))
    except SchemaError:
        return
    except OSError as error:
        raise StorageError(
            f"cannot write {passport_path(path)}: {error.strerror or error}; the passport waits in "
            f"{waiting} and is used from there"
        ) from error
