"""Which process of which host: what tells one from another that had its number before."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def this_host() -> str:
    """Return what tells this host, since it was booted, from all others."""
    boot = _BOOT_ID.read_text().strip() if _BOOT_ID.is_file() else ""
    return f"{platform.node()} {boot}"


def started(process: psutil.Process) -> str:
    """Return when a process of this host was started, on a clock that nobody sets."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text("utf-8", "replace")
        return fields.rpartition(")")[2].split()[19]
    except (OSError, IndexError):  # no Linux
        return f"{process.create_time():.0f}"
