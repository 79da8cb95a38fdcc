"""What storages are called: files by their ending, databases by their URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from edgenas.core.errors import StorageError, UsageError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
JOURNAL_SUFFIXES = (".journal", ".log")
SQLITE_URL = "sqlite:///"


def place(storage: str | Path) -> tuple[Path | None, str]:
    """Return the file of a storage and its kind; None for a database server.

    Raises:
        StorageError: no such kind of storage.
    """
    text = str(storage)
    if text.startswith(SQLITE_URL):
        return Path(text.removeprefix(SQLITE_URL)), "sqlite"
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


def from_anywhere(storage: str) -> str:
    """Return a storage's name that holds from any working folder, fit to be written into a job.

    Raises:
        StorageError: no such kind of storage.
        UsageError: a URL with a password.
    """
    path, _ = place(storage)
    if path is not None:
        return str(path.expanduser().resolve())
    if _parsed(storage).password is not None:
        raise UsageError(
            f"{without_password(storage)}: a job file is copied and shown, so it takes no "
            "password; put it into ~/.pgpass or the variable PGPASSWORD"
        )
    return storage


def dashboard_name(storage: str) -> str:
    """Return a storage as `optuna-dashboard` wants to be given it."""
    path, kind = place(storage)
    return f"{SQLITE_URL}{path}" if kind == "sqlite" else storage


def without_password(url: str) -> str:
    """Return the URL of a database as it may be shown.

    Raises:
        StorageError: it is none.
    """
    return _parsed(url).render_as_string(hide_password=True)


def _parsed(url: str) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url)
    except ArgumentError as error:
        raise StorageError(f"not a database URL: {url!r}") from error


def _in_job(text: str) -> str:
    try:
        return from_anywhere(text)
    except (UsageError, StorageError) as error:
        raise ValueError(str(error)) from error


StorageName = Annotated[str, AfterValidator(_in_job)]
"""A storage that a job file names."""
