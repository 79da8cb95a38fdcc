"""Files that are either whole or not there: atomic writes, hashes, durable appends."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from edgenas.core.errors import StorageError

FREE = "free space, or set TMPDIR to a folder that has some, then run the same command again"
"""What mends a full temporary folder."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` if the body succeeds.

    Raises:
        StorageError: the folder cannot be written or the disk is full; `path` is as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise StorageError(_cannot_write(path, error)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(_cannot_write(path, error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder that is gone afterwards.

    Raises:
        StorageError: there is none, or it fills up while the body writes into it.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="edgenas-")
    except OSError as error:
        raise StorageError(f"no temporary folder can be made: {error}; {FREE}") from error
    with folder as name:
        try:
            yield Path(name)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            place = error.filename or name
            raise StorageError(f"cannot write {place}: {error.strerror}; {FREE}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically (errors as in `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def move(path: Path, target: Path) -> None:
    """Give a file another name on the same disk, in place of what has it.

    Raises:
        StorageError: it cannot be renamed.
    """
    try:
        path.replace(target)
    except OSError as error:
        raise StorageError(f"cannot rename {path} to {target}: {error.strerror}") from error


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Journal:
    """An append-only file of JSON lines that survives being cut off at any byte.

    A line counts once its newline is on the disk. A torn last line is dropped when the
    journal is opened again; a broken line before the last one is an error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: IO[bytes] | None = None

    def read(self) -> list[dict[str, Any]]:
        """Return all whole records.

        Raises:
            StorageError: the file cannot be read or holds a broken line in its middle.
        """
        if not self.path.exists():
            return []
        try:
            whole, _, _ = self.path.read_bytes().rpartition(b"\n")
            records = [json.loads(line) for line in whole.split(b"\n") if line]
            if not all(isinstance(record, dict) for record in records):
                raise ValueError("a line holds no record")
            return records
        except (OSError, ValueError, RecursionError) as error:
            raise StorageError(
                f"cannot read the journal {self.path}: {error}; move it away to start anew"
            ) from error

    def append(self, *records: dict[str, Any]) -> None:
        """Append `records` in one write and wait until they are on the disk.

        Raises:
            StorageError: the disk is full or the folder is not writable.
        """
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        try:
            stream = self._stream or self._open()
            stream.write(lines.encode())
            stream.flush()
            os.fsync(stream.fileno())
        except OSError as error:
            self.close()
            raise StorageError(_cannot_write(self.path, error)) from error

    def close(self) -> None:
        """Close the file; `append` opens it again."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.close()
            self._stream = None

    def _open(self) -> IO[bytes]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():  # a torn tail would otherwise fuse with the next record
            content = self.path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole != len(content):
                os.truncate(self.path, whole)
        self._stream = self.path.open("ab")
        return self._stream


def _cannot_write(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return (
        f"cannot write {path}: {reason}; what was there before is untouched; "
        "free space or choose another --out, then run the same command again"
    )
