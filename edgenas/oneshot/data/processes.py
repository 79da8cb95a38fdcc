"""Processes that decode image files, shared by everything in this process that reads some.

They are started afresh (not forked: threads and GPUs of this process would not survive it) and
load no torch; they stay for the next data to be read, and go with this process however it ends.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.util import Finalize
from typing import Any, TypeVar

from edgenas.core.errors import DataError
from edgenas.oneshot.data.decoding import Decoded, DecodingTask, decode

T = TypeVar("T")
_IDLE = -1


class DecodingProcesses:
    """A number of decoding processes.

    Args:
        n: how many.
    """

    def __init__(self, n: int) -> None:
        # One row a process: the number of its task and its place in it.
        context = multiprocessing.get_context("spawn")
        self._places = context.RawArray("q", [_IDLE] * (2 * n))
        n_started = context.Value("i", 0)
        self._pool = ProcessPoolExecutor(n, context, _begin, (self._places, n_started))
        self._numbers = itertools.count()
        self._tasks: dict[int, DecodingTask] = {}

    def decode(
        self, tasks: Iterable[tuple[T, DecodingTask]], *, n_ahead: int
    ) -> Iterator[tuple[T, DecodingTask, Decoded]]:
        """Yield `tasks`, each with its batch; while one is in use, `n_ahead` are prepared.

        What comes with a task stays here and is given back with it.

        Raises:
            DataError: a process died; the message names the files that were being decoded. Or a
                file has changed.
        """
        waiting: deque[tuple[T, int, Future[Decoded]]] = deque()
        try:
            for what, task in tasks:
                waiting.append((what, *self._submit(task)))
                if len(waiting) > n_ahead:
                    yield self._result(waiting)
            while waiting:
                yield self._result(waiting)
        finally:
            for _, number, future in waiting:
                future.cancel()
                self._tasks.pop(number, None)

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, task: DecodingTask) -> tuple[int, Future[Decoded]]:
        number = next(self._numbers)
        self._tasks[number] = task
        try:
            return number, self._pool.submit(_decode, number, task)
        except BrokenProcessPool as error:
            raise self._death() from error

    def _result(
        self, waiting: deque[tuple[T, int, Future[Decoded]]]
    ) -> tuple[T, DecodingTask, Decoded]:
        what, number, future = waiting[0]
        try:
            decoded = future.result()
        except BrokenProcessPool as error:
            raise self._death() from error
        waiting.popleft()
        return what, self._tasks.pop(number), decoded

    def _death(self) -> DataError:
        """Return the error of processes that died, and have later calls start new ones."""
        _forget(self)
        places = zip(self._places[0::2], self._places[1::2], strict=True)
        names = [
            self._tasks[number].paths[place] for number, place in places if number in self._tasks
        ]
        if names:
            return DataError(
                f"a process that decodes images died while these were decoded: {', '.join(names)}; "
                "look at the files, and at the memory (each process holds whole images); to see "
                "the error itself, run with workers: 0"
            )
        return DataError(
            "the processes that decode images died before they decoded anything; a script of your "
            'own needs `if __name__ == "__main__":` around what it runs; or run with workers: 0'
        )


_POOLS: dict[tuple[int, int], DecodingProcesses] = {}
_LOCK = threading.Lock()


def decoding_processes(n: int) -> DecodingProcesses:
    """Return this process's `n` decoding processes; they are started when first used."""
    key = (os.getpid(), n)
    with _LOCK:
        if key not in _POOLS:
            _POOLS[key] = DecodingProcesses(n)
            # A process of multiprocessing (one of several that train) waits for its children before
            # the executor would end them; and it closes the queues to them with priority 10.
            Finalize(None, close_processes, exitpriority=100)
        return _POOLS[key]


def close_processes() -> None:
    """End all decoding processes of this process; the next use starts new ones."""
    with _LOCK:
        mine = [key for key in _POOLS if key[0] == os.getpid()]
        pools = [_POOLS.pop(key) for key in mine]
    for pool in pools:
        pool.close()


def _forget(pool: DecodingProcesses) -> None:
    with _LOCK:
        for key in [key for key, value in _POOLS.items() if value is pool]:
            del _POOLS[key]


_own_row = 0
_own_places: Any = None


def _begin(places: Any, n_started: Any) -> None:
    """Prepare a new process: its row of `places`, and an end together with its parent."""
    global _own_row, _own_places  # noqa: PLW0603 - a process pool has no other place for them
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    with n_started.get_lock():
        _own_row = n_started.value
        n_started.value += 1
    _own_places = places
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _decode(number: int, task: DecodingTask) -> Decoded:
    def on_image(place: int) -> None:
        _own_places[2 * _own_row : 2 * _own_row + 2] = [number, place]

    try:
        return decode(task, on_image)
    finally:
        _own_places[2 * _own_row] = _IDLE
