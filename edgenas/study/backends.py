"""Optuna storages: opened exclusively, made atomically, their errors turned into ours."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenas.core.errors import EdgenasError, StorageError
from edgenas.core.files import atomic_path
from edgenas.spaces.base import SearchSpace

if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution
    from optuna.storages import BaseStorage

SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
JOURNAL_SUFFIXES = (".journal", ".log")
_BUSY_TIMEOUT_S = 60
_SQLITE_URL = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Backend:
    """An open Optuna storage and what users call it."""

    storage: BaseStorage
    label: str

    def __str__(self) -> str:
        return self.label


def distributions(space: SearchSpace) -> dict[str, CategoricalDistribution]:
    """Return the parameters that stand for a space's genes in Optuna, by name."""
    from optuna.distributions import CategoricalDistribution

    return {gene.name: CategoricalDistribution(gene.options) for gene in space.genes}


@contextmanager
def opened(storage: str | Path, *, prepare: Callable[[Backend], object]) -> Iterator[Backend]:
    """Open a storage for this process alone.

    A file is claimed with a lock (``<file>.claim``) that the kernel gives back when the process
    ends, however it ends. A new SQLite file is made under a temporary name, `prepare`
    included, and renamed: there is never a half-made one. Database servers know no such
    claim; there `StudyStorage.append` notices a second writer.

    Raises:
        StorageError: no such kind of storage, a damaged file, or one that is in use.
    """
    path, kind = _place(storage)
    label = str(path) if path else _without_password(str(storage))
    with quiet_optuna():
        if path is None:
            with _database(str(storage), label) as backend:
                yield backend
            return
        with _claimed(path):
            if kind == "journal":
                with guarded(f"cannot open {label}"):
                    backend = _journal(path)
                yield backend
                return
            with guarded(f"cannot open {label}"):
                _check_or_make(path, prepare)
            with _database(f"{_SQLITE_URL}{path}", label) as backend:
                yield backend


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turn every error of Optuna, SQLAlchemy, SQLite and files into a `StorageError`."""
    import optuna
    import sqlalchemy.exc

    try:
        yield
    except EdgenasError:
        raise
    except (
        optuna.exceptions.OptunaError,
        sqlalchemy.exc.SQLAlchemyError,
        sqlite3.Error,
        OSError,
        RuntimeError,  # a storage of another version of Optuna, a lost lock of its journal
        ImportError,  # no driver for the database
        KeyError,  # rows or journal records that refer to missing ones
        ValueError,  # broken lines of a journal, broken JSON in a column
    ) as error:
        cause = error.__cause__ or error
        reason = str(getattr(cause, "orig", None) or cause).strip().partition("\n")[0]
        raise StorageError(
            f"{what}: {reason}; what was recorded before is untouched; mend that, or move the "
            "storage away to start anew"
        ) from error


def _place(storage: str | Path) -> tuple[Path | None, str]:
    """Return the file of a storage and its kind; None for a database server."""
    text = str(storage)
    if text.startswith(_SQLITE_URL):
        return Path(text.removeprefix(_SQLITE_URL)), "sqlite"
    if "://" in text:
        return None, "server"
    path = Path(text)
    if path.suffix in SQLITE_SUFFIXES:
        return path, "sqlite"
    if path.suffix in JOURNAL_SUFFIXES:
        return path, "journal"
    raise StorageError(
        f"{text}: not a storage; give a file ending in {', '.join(SQLITE_SUFFIXES)} (SQLite) or "
        f"{', '.join(JOURNAL_SUFFIXES)} (journal), or a database URL like postgresql://host/name"
    )


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    claim = path.with_name(f"{path.name}.claim")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(claim, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(
            f"cannot write {claim}: {error.strerror}; choose another --out"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 100).decode(errors="replace").strip()
            raise StorageError(
                f"{path} is in use by process {holder or '(unknown)'}; one process at a time may "
                "search in it: wait for that one, end it, or choose another --out"
            ) from error
        with suppress(OSError):  # the number is for the message above only; the disk may be full
            os.truncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)  # the lock goes with it


@contextmanager
def _database(url: str, label: str) -> Iterator[Backend]:
    from optuna.storages import RDBStorage

    options: dict[str, Any] = {}
    if url.startswith("sqlite"):
        # The dashboard may read while we write.
        options = {"connect_args": {"timeout": _BUSY_TIMEOUT_S}}
    with guarded(f"cannot open {label}"):
        inner = RDBStorage(url, engine_kwargs=options)
    try:
        yield Backend(inner, label)
    finally:
        inner.remove_session()
        inner.engine.dispose()


def _check_or_make(path: Path, prepare: Callable[[Backend], object]) -> None:
    """Check an SQLite file, or make it whole, so that a kill leaves a whole file or none.

    SQLite's own rollback journal is kept (no write-ahead log): after every transaction the one
    file holds everything and may be copied.
    """
    if path.exists():
        if path.stat().st_size == 0:
            raise StorageError(f"{path} is empty; remove it to start anew")
        with closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(f"the file is damaged: {found}")
        return
    with atomic_path(path) as temporary, _database(f"{_SQLITE_URL}{temporary}", str(path)) as made:
        prepare(made)


def _journal(path: Path) -> Backend:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if path.exists():  # a torn last line would fuse with the next one
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            os.truncate(path, whole)
    # Our claim is held, so a lock of Optuna's that is still there belonged to a dead process.
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    return Backend(JournalStorage(JournalFileBackend(str(path))), str(path))


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Hand Optuna's messages to logging, where it would write them to the console itself.

    Its warnings that something is experimental are dropped; tests hold what is used of it.
    """
    import optuna

    optuna.logging.get_verbosity()  # sets its handler up now, not in the middle
    logger = logging.getLogger("optuna")
    handlers, propagate = list(logger.handlers), logger.propagate
    logger.handlers, logger.propagate = [], True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate


def _without_password(url: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError as error:
        raise StorageError(f"not a database URL: {url!r}") from error
