"""Optuna storages: opened, made atomically, their errors turned into ours."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenas.core.errors import EdgenasError, StorageError
from edgenas.core.files import atomic_path
from edgenas.spaces.base import SearchSpace
from edgenas.study.file_claim import claimed
from edgenas.study.storage_names import SQLITE_URL, place, without_password

if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution
    from optuna.storages import BaseStorage, RDBStorage

_BUSY_TIMEOUT_S = 60
_OPENING_S = 60.0
_MEND = "mend that, or move the storage away to start anew"
_REACH = (
    "check that the server runs and lets you in, then run the same command again: it goes on there"
)
_RACES = 5
"""How often tables are asked for that another process may be making right now."""


@dataclass(frozen=True, slots=True)
class Backend:
    """An open Optuna storage and what users call it.

    Attributes:
        is_exclusive: this process has it alone.
        remedy: what a user can do when it fails.
    """

    storage: BaseStorage
    label: str
    is_exclusive: bool = False
    remedy: str = _MEND

    def __str__(self) -> str:
        return self.label

    def leave_thread(self) -> None:
        """Give back what the present thread holds of it."""
        from optuna.storages import RDBStorage

        if isinstance(self.storage, RDBStorage):
            self.storage.remove_session()


def distributions(space: SearchSpace) -> dict[str, CategoricalDistribution]:
    """Return the parameters that stand for a space's genes in Optuna, by name."""
    from optuna.distributions import CategoricalDistribution

    return {gene.name: CategoricalDistribution(gene.options) for gene in space.genes}


@contextmanager
def opened(storage: str | Path, *, prepare: Callable[[Backend], object]) -> Iterator[Backend]:
    """Open a storage.

    A file is claimed with a lock (``<file>.claim``) that the kernel gives back when the process
    ends, however it ends: a journal until the end of the block, an SQLite file while it is opened.
    A new SQLite file is made under a temporary name, `prepare` included, and renamed: there is
    never a half-made one.

    Raises:
        StorageError: no such kind of storage, a damaged file, a server that cannot be reached, or
            a journal that is in use.
    """
    path, kind = place(storage)
    label = str(path) if path else without_password(str(storage))
    with quiet_optuna():
        if path is None:
            with _database(str(storage), label) as backend:
                yield backend
        elif kind == "journal":
            with claimed(path):
                with guarded(f"cannot open {label}"):
                    backend = _journal(path)
                yield backend
        else:
            with claimed(path, patience_s=_OPENING_S), guarded(f"cannot open {label}"):
                _check_or_make(path, prepare)
            with _database(f"{SQLITE_URL}{path}", label) as backend:
                yield backend


@contextmanager
def guarded(what: str, remedy: str = _MEND) -> Iterator[None]:
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
            f"{what}: {reason}; what was recorded before is untouched; {remedy}"
        ) from error


@contextmanager
def _database(url: str, label: str) -> Iterator[Backend]:
    options: dict[str, Any] = {}
    remedy = _MEND
    if url.startswith("sqlite"):
        # Others may read and write, while we do.
        options = {"connect_args": {"timeout": _BUSY_TIMEOUT_S}}
    else:
        # An evaluation can outlast what a server or a firewall allows an idle connection.
        options, remedy = {"pool_pre_ping": True}, _REACH
    with guarded(f"cannot open {label}", remedy):
        inner = _tables(url, options)
    try:
        yield Backend(inner, label, remedy=remedy)
    finally:
        inner.remove_session()
        inner.engine.dispose()


def _tables(url: str, options: dict[str, Any]) -> RDBStorage:
    """Return the storage with Optuna's tables, also if two processes make them at once.

    Raises:
        StorageError: the package that speaks to this kind of database is missing.
    """
    from optuna.storages import RDBStorage

    try:
        if not url.startswith("sqlite"):  # there the file's claim is held
            _make_tables(url, options)
        return RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        cause = error.__cause__ or error
        raise StorageError(
            f"{without_password(url)} needs a package that is not there ({cause}); run: "
            "pip install 'edgenas[postgresql]' for PostgreSQL (postgresql+psycopg://...), or the "
            "package of your database"
        ) from error


def _make_tables(url: str, options: dict[str, Any]) -> None:
    """Make Optuna's tables; again, if another process made some of them at the same time."""
    import sqlalchemy.exc
    from optuna.storages import RDBStorage
    from sqlalchemy.pool import NullPool

    for attempt in range(_RACES):
        try:
            # A pool would keep the connections of an attempt that failed, and nobody has it then.
            RDBStorage(url, engine_kwargs={**options, "poolclass": NullPool}).remove_session()
        except (sqlalchemy.exc.ProgrammingError, sqlalchemy.exc.IntegrityError):
            if attempt == _RACES - 1:
                raise
            time.sleep(0.2 * (attempt + 1))
        else:
            return


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
    with atomic_path(path) as temporary, _database(f"{SQLITE_URL}{temporary}", str(path)) as made:
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
    return Backend(JournalStorage(JournalFileBackend(str(path))), str(path), is_exclusive=True)


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
