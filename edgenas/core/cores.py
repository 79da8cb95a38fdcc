"""How many of the machine's cores are this process's."""

from __future__ import annotations

import os


def n_usable_cores() -> int:
    """Return on how many logical cores this process may run; at least 1.

    Systems other than Linux do not tell: there it is all of them.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
