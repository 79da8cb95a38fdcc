"""The claim of a storage's file: a lock beside it, which the kernel gives back."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgenas.core.errors import StorageError

_POLL_S = 0.02


@contextmanager
def claimed(path: Path, *, patience_s: float = 0.0) -> Iterator[None]:
    """Hold ``<path>.claim`` alone; wait for it up to `patience_s`.

    Raises:
        StorageError: another process holds it, or the folder cannot be written.
    """
    claim = path.with_name(f"{path.name}.claim")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(claim, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(
            f"cannot write {claim}: {error.strerror}; choose another --out"
        ) from error
    try:
        _lock(handle, path, patience_s)
        with suppress(OSError):  # the number is for a message only; the disk may be full
            os.truncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)  # the lock goes with it


def _lock(handle: int, path: Path, patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() >= end:
                holder = os.pread(handle, 100, 0).decode(errors="replace").strip()
                raise StorageError(
                    f"{path} is in use by process {holder or '(unknown)'}; wait for that one, end "
                    "it, or choose another --out. Processes that search together share an SQLite "
                    "file (.db) or a database server, never a journal"
                ) from error
            time.sleep(_POLL_S)
        else:
            return
