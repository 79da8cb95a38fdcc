"""A disk that can be filled: a small one of its own where that is allowed, else a pretended one."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A folder whose disk is full between `fill` and `free`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full = False

    def fill(self) -> None:
        """Leave no room for another byte."""
        self.full = True

    def free(self) -> None:
        """Give the room back."""
        self.full = False


class _MountedDisk(SmallDisk):
    """A file system in memory; a file beside the tested ones takes what is left of it."""

    def fill(self) -> None:
        super().fill()
        filler = os.open(self.path / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (4096, 1):
                while True:
                    os.write(filler, b"\0" * size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(filler)

    def free(self) -> None:
        (self.path / "filler").unlink(missing_ok=True)
        super().free()


@contextmanager
def small_disk(folder: Path, *, kib: int = 64) -> Iterator[SmallDisk]:
    """Mount a disk of `kib` KiB on `folder`; where that is not allowed, pretend when it is full.

    The pretended one fails where data is forced to the disk, as a full one does at the latest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "edgenas-test", str(folder)]
    try:
        mounted = (
            subprocess.run(mount, capture_output=True, timeout=30, check=False).returncode == 0
        )
    except OSError:
        mounted = False
    if mounted:
        try:
            yield _MountedDisk(folder)
        finally:
            umount = ["umount", "-l", str(folder)]
            subprocess.run(umount, timeout=30, check=True)
        return
    disk = SmallDisk(folder)
    force = os.fsync

    def force_unless_full(descriptor: int) -> None:
        if disk.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        force(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", force_unless_full)
        yield disk
