"""Threads that each run whole networks on one core, in place of threads within each operator.

Operators of small networks take well under a millisecond: splitting every one of them between
cores loses to waiting, badly so where something else runs on one of the cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from edgenas.oneshot.memory import keep_freed_memory


@contextmanager
def worker_threads(n: int) -> Iterator[Executor]:
    """Yield a pool of `n` threads in which every torch operator runs on one core.

    Numbers too small to matter (denormals), which processors handle slowly, count as zero there.
    """
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(n, "edgenas-worker", _prepare) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _prepare() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
